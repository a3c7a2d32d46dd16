"""Figures with one panel for each group of curves, in lines of four, and one legend for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

COLORS = [matplotlib.colormaps["tab10"](i) for i in (0, 1, 2, 3, 4, 6, 8, 9, 5)]
"""Colours of curves in their order; grey is left for chance."""
CHANCE = "#8a8a8a"
"""The colour of what chance alone gives."""
_WIDTH, _HEIGHT, _COLUMNS = 3.0, 2.2, 4
"""Inches of a panel with its labels, and panels in a line."""
_LEFT, _RIGHT, _TOP, _BOTTOM, _LEGEND = 0.6, 0.1, 0.4, 0.4, 0.5
"""Inches around them. A layout that is computed would cost more than the drawing."""
_ENTRY = 1.5
"""Inches of a legend's column."""

Panels = dict[tuple[str, str], Axes]
"""(row, group) → panel."""


def group_panels(
    groups: Mapping[str, int], rows: Sequence[str] = ("",), *, share_y: bool = True
) -> tuple[Figure, Panels]:
    """A panel for every row (a side, say) and group; the groups of one row may fill several lines.

    Args:
        groups: name → number of its curves or points, for the titles.
        rows: names of the rows; "" for a single one that needs no name.
        share_y: give all panels one y-axis.
    """
    columns = min(_COLUMNS, len(groups))
    lines = -(-len(groups) // columns) * len(rows)
    width, height = _LEFT + _RIGHT + _WIDTH * columns, _TOP + _BOTTOM + _LEGEND + _HEIGHT * lines
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=share_y)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=(_BOTTOM + _LEGEND) / height,
        wspace=0.08 if share_y else 0.22,
        hspace=0.42,
    )
    panels: Panels = {}
    for own, row in zip(np.split(grid, len(rows)), rows, strict=True):
        for (name, count), panel in zip(groups.items(), own.ravel(), strict=False):
            panels[row, name] = panel
            panel.set_title(f"{name}, {row}" if row else f"{name} ({count})", fontsize=8)
            panel.tick_params(labelsize=7, which="both")
            panel.spines[["top", "right"]].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for panel in own.ravel()[len(groups) :]:
            panel.remove()
    return figure, panels


def logarithmic(panels: Iterable[Axes]) -> None:
    """Make y-axes logarithmic, without minor ticks, which take half the time of drawing."""
    for panel in panels:
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())


def log_axis(panels: Panels, bottom: float, top: float) -> None:
    """The shared y-axis from ``bottom`` to ``top``, logarithmic."""
    logarithmic(panels.values())
    next(iter(panels.values())).set_ylim(bottom, top)


def legend_below(figure: Figure, entries: Mapping[str, Artist], columns: int = 4) -> None:
    """One legend for all panels, in at most ``columns`` columns."""
    fitting = max(1, int(figure.get_figwidth() // _ENTRY))
    figure.legend(
        list(entries.values()), list(entries), loc="lower center", ncol=min(columns, fitting), fontsize=8, frameon=False
    )
