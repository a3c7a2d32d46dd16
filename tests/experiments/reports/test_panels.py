"""Grids of panels: which group is where, shared axes, the legend."""

import numpy as np
import pytest

from experiments.reports.panels import group_panels, legend_below, log_axis

GROUPS = {f"group {i}": i + 1 for i in range(6)}


@pytest.mark.parametrize(("groups", "lines", "columns"), [(1, 1, 1), (4, 1, 4), (5, 2, 4)])
def test_groups_fill_lines_of_four(groups, lines, columns):
    figure, panels = group_panels(dict(list(GROUPS.items())[:groups]))
    assert list(panels) == [("", f"group {i}") for i in range(groups)] and len(figure.axes) == groups
    assert panels["", "group 0"].get_title() == "group 0 (1)"
    found = {tuple(np.round(panel.get_position().get_points()[0], 6)) for panel in panels.values()}
    assert len({x for x, _ in found}) == columns and len({y for _, y in found}) == lines


def test_every_row_has_its_groups_and_all_share_one_axis():
    figure, panels = group_panels(GROUPS, ["output", "input"])
    assert list(panels)[5:7] == [("output", "group 5"), ("input", "group 0")]
    assert panels["input", "group 0"].get_title() == "group 0, input"
    log_axis(panels, 0.1, 10)
    assert {panel.get_ylim() for panel in panels.values()} == {(0.1, 10)}
    assert {panel.get_yscale() for panel in panels.values()} == {"log"}
    lines = {name: panels["output", "group 0"].plot([1, 2], [1, 2])[0] for name in ("first", "second")}
    legend_below(figure, lines)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "second"]


def test_panels_may_have_axes_of_their_own():
    _, panels = group_panels(GROUPS, share_y=False)
    panels["", "group 0"].set_ylim(0, 1)
    panels["", "group 1"].set_ylim(0, 2)
    assert panels["", "group 0"].get_ylim() == (0, 1)
