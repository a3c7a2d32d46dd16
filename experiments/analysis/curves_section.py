"""Curves over adapters and steps, as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.analysis.curves import CurvePoint, Over
from experiments.analysis.section import Columns, Section, sheet
from experiments.analysis.specificity import Inside

_SIDES = {Inside.BOTH: "both", Inside.OUTPUT: "output", Inside.INPUT: "input"}
_AXES: dict[Over, str] = {"adapters": "adapters that are mined", "steps": "steps of training"}
_COLUMNS: Columns[CurvePoint] = (
    ("over", lambda point: point.over),
    ("at", lambda point: point.at),
    ("part", lambda point: point.row.part),
    ("sides", lambda point: _SIDES[point.row.inside]),
    ("in its own", lambda point: point.row.own),
    ("in others", lambda point: point.row.others),
    ("by chance", lambda point: point.row.chance),
    ("share of the energy", lambda point: point.row.energy),
)


def curves_section(points: Sequence[CurvePoint]) -> Section:
    """A picture with a panel for each side, and the numbers as a file."""
    made = sheet(points, _COLUMNS)
    return Section(
        "Does more help?",
        [
            "What a held-out adapter has in its own attribute's subspace, mined from more and more adapters, or from adapters "
            "that were trained for longer."
        ],
        figures={
            "curves": (
                _draw(points),
                "Share of the energy of held-out adapters in a part of the model. Solid: in the subspace of their own "
                "attribute, mined without them. Dashed: in another attribute's. Dotted: random subspaces of the same size.",
            )
        },
        sheets={"curves": made},
        numbers=made.records(),
    )


def _draw(points: Sequence[CurvePoint]) -> Figure:
    shown: list[Over] = [over for over in _AXES if any(point.over == over for point in points)]
    figure = Figure(figsize=(10, 3 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), len(_SIDES), squeeze=False)
    for over, line in zip(shown, panels, strict=True):
        for (inside, side), panel in zip(_SIDES.items(), line, strict=True):
            _panel(panel, [point for point in points if point.over == over and point.row.inside == inside])
            panel.set_xlabel(_AXES[over])
            panel.set_title(f"{side} side" if side != "both" else "both sides", fontsize=9)
    panels[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _panel(panel: Axes, points: Sequence[CurvePoint]) -> None:
    for part in dict.fromkeys(point.row.part for point in points):
        own = [point for point in points if point.row.part == part]
        at = [point.at for point in own]
        (drawn,) = panel.plot(at, [point.row.own for point in own], "o-", ms=3, lw=1.2, label=part)
        for style, values in (("--", [p.row.others for p in own]), (":", [p.row.chance for p in own])):
            panel.plot(at, values, style, marker=".", ms=3, lw=1, color=drawn.get_color())
        panel.set_xticks(at)
    panel.set_ylim(0, None)
    panel.spines[["top", "right"]].set_visible(False)
