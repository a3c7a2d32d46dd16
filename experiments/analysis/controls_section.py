"""Controls as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.analysis.conditions import Condition
from experiments.analysis.controls import (
    ControlNumbers,
    ControlRow,
    ControlSummary,
    OverlapRow,
    OverlapSummary,
    control_rows,
    control_summary,
    overlap_rows,
    overlap_summary,
)
from experiments.analysis.overlap import SIDES
from experiments.analysis.panels import layer_axis, matrix_panels
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.mining.figures import above_rounding
from experiments.mining.summary import by_group
from experiments.reports.panels import CHANCE, COLORS, legend_below, log_axis
from subspace.angles import Side

_RUN, _CONTROL = "#111111", "#c8322b"
_ROWS: Columns[ControlRow] = (
    ("attribute", lambda row: row.attribute),
    ("condition", lambda row: str(row.condition)),
    *OF_MATRIX,
    ("drop at r, decades", lambda row: row.drop),
    ("drop under control", lambda row: row.control_drop),
    ("drop that remains", lambda row: row.remains),
    *((f"overlap with the run, {side}", lambda row, side=side: row.overlap[side]) for side in SIDES),
    *((f"by chance, {side}", lambda row, side=side: row.chance[side]) for side in SIDES),
)
_OVERLAPS: Columns[OverlapRow] = (
    ("condition", lambda row: str(row.condition)),
    ("side", lambda row: row.side),
    *OF_MATRIX,
    ("first", lambda row: row.first),
    ("second", lambda row: row.second),
    ("overlap", lambda row: row.overlap),
    ("overlap under control", lambda row: row.control_overlap),
    ("overlap by chance", lambda row: row.chance),
    ("excess that remains", lambda row: row.remains),
)
_SUMMARY: Columns[ControlSummary] = (
    ("attribute", lambda row: row.attribute),
    ("condition", lambda row: str(row.condition)),
    ("drops in the run", lambda row: row.drops),
    ("drops in the control", lambda row: row.control_drops),
    ("median drop", lambda row: row.drop),
    ("median drop under control", lambda row: row.control_drop),
    ("drop that remains", lambda row: row.remains),
    *((f"{side}s: overlap with the run / chance", lambda row, side=side: row.times_chance[side]) for side in SIDES),
    ("run's energy captured", lambda row: row.captured),
)
_SHOWN: Columns[ControlSummary] = (
    ("attribute", lambda row: row.attribute),
    ("condition", lambda row: str(row.condition)),
    ("drops", lambda row: row.drops),
    ("in control", lambda row: row.control_drops),
    ("decades", lambda row: row.drop),
    ("in control", lambda row: row.control_drop),
    ("remains", lambda row: row.remains),
    *((f"{side}s", lambda row, side=side: row.times_chance[side]) for side in SIDES),
    ("captured", lambda row: row.captured),
)
_BETWEEN: Columns[OverlapSummary] = (
    ("condition", lambda row: str(row.condition)),
    ("side", lambda row: row.side),
    ("pairs", lambda row: row.pairs),
    ("overlap / chance", lambda row: row.times_chance),
    ("control / chance", lambda row: row.control_times_chance),
    ("excess that remains", lambda row: row.remains),
)


def controls_section(numbers: ControlNumbers) -> Section:
    """How much of the drop and of the overlap survives other initialisations and shuffled targets."""
    summary, between = control_summary(numbers), overlap_summary(numbers)
    figures = {
        "controls_spectra": (
            _draw_spectra(numbers),
            "Singular values of C in the first IRLS iteration over the largest, every matrix of a kind and every attribute: "
            "the runs under study and the controls. Dotted: r.",
        ),
        "controls_drops": (
            _draw_drops(numbers),
            "Decades by which C's spectrum falls at r over the layers, 0 without a drop. Solid: the run under study. Dashed: "
            "the control. What the dashed line keeps of the solid one is not the attribute's.",
        ),
    }
    sheets = {"controls": sheet(control_rows(numbers), _ROWS)}
    text = [
        f"The runs under study have {numbers.condition_of_main}. A drop at r may come from one random input factor that all "
        "adapters start from, and an overlap from directions that training prefers whatever its targets: what is there "
        "under a control as well does not come from the attribute.",
        table(
            summary,
            _SHOWN,
            "Drops: matrices with a drop at r, and its median size in decades, in the run and in the control. Remains: median "
            "of control / run over the matrices in which the run has one. Outputs, inputs: how many times chance the control's "
            "subspace and the run's overlap. Captured: share of the run's adapters' energy inside the control's subspace.",
        ),
    ]
    if between:
        text.append(
            table(
                between,
                _BETWEEN,
                "Overlap between different attributes over that of random subspaces, medians over matrices and pairs. Excess "
                "that remains: overlap beyond chance in the controls over that in the runs, all matrices together.",
            )
        )
        figures["controls_overlap"] = (
            _draw_overlaps(numbers),
            "Mean overlap between different attributes over the layers, of the runs under study and of the controls. "
            "Dotted: chance.",
        )
        sheets["controls_overlaps"] = sheet(overlap_rows(numbers), _OVERLAPS)
    return Section(
        title="Where do drop and overlap come from?",
        text=text,
        figures=figures,
        sheets=sheets,
        numbers={
            "controls": sheet(summary, _SUMMARY).records(),
            "overlaps": sheet(between, _BETWEEN).records(),
        },
    )


def _draw_spectra(numbers: ControlNumbers) -> Figure:
    conditions = [str(condition) for condition in numbers.conditions]
    figure, panels = matrix_panels(numbers.matrices, conditions)
    lowest, longest = 1.0, dict.fromkeys(panels, 2)
    for control in numbers.controls:
        for name, members in by_group(numbers.matrices).items():
            key = str(control.condition), name
            panel = panels[key]
            panel.set_title(f"{name}\n{control.condition}", fontsize=6.5)
            for mined, color in ((numbers.main[control.attribute], _RUN), (control.mined, _CONTROL)):
                curves = [
                    _relative(mined.statistics, numbers.matrices[i].path, numbers.matrices[i].layer) for i in members
                ]
                points = [np.column_stack([np.arange(1, curve.size + 1), curve]) for curve in curves]
                panel.add_collection(LineCollection(points, colors=color, linewidths=0.6, alpha=0.4))
                lowest = min(lowest, *(np.nanmin(curve) for curve in curves))
                longest[key] = max(longest[key], *(curve.size for curve in curves))
            panel.axvline(control.mined.ranks[numbers.matrices[members[0]].path], color=CHANCE, ls=":", lw=0.8)
    for key, panel in panels.items():
        panel.set_xlim(0.5, longest[key] + 0.5)
    log_axis(panels, max(lowest, 1e-8) / 1.5, 1.5)
    entries: dict[str, Artist] = {
        "runs under study": Line2D([], [], color=_RUN),
        "controls": Line2D([], [], color=_CONTROL),
    }
    legend_below(figure, entries)
    return figure


def _relative(statistics, path: str, layer: int | None) -> np.ndarray:
    sigma = statistics[path]["initial_singular_values"]
    sigma = sigma if layer is None else sigma[layer]
    return above_rounding(sigma) / (sigma[0] if sigma[0] > 0 else 1)


def _draw_drops(numbers: ControlNumbers) -> Figure:
    conditions = [str(condition) for condition in numbers.conditions]
    figure, panels = matrix_panels(numbers.matrices, conditions)
    entries: dict[str, Artist] = {}
    names = list(numbers.main)
    for name, members in by_group(numbers.matrices).items():
        for control in numbers.controls:
            panel = panels[str(control.condition), name]
            color = COLORS[names.index(control.attribute) % len(COLORS)]
            x = np.arange(len(members))
            (entries[control.attribute],) = panel.plot(x, control.drops[members, 0], "o-", ms=2.5, lw=1, color=color)
            panel.plot(x, control.drops[members, 1], "o--", ms=2.5, lw=1, color=color, mfc="none")
            layer_axis(panel, numbers.matrices, members)
    for row in conditions:
        for name in by_group(numbers.matrices):
            panels[row, name].set_title(f"{name}\n{row}", fontsize=6.5)
        panels[row, numbers.matrices[0].group].set_ylabel("drop at r, decades", fontsize=8)
    legend_below(figure, entries)
    return figure


def _draw_overlaps(numbers: ControlNumbers) -> Figure:
    rows: list[tuple[Condition, Side]] = [(condition, side) for condition in numbers.overlaps for side in SIDES]
    figure, panels = matrix_panels(numbers.matrices, [f"{side}, {condition}" for condition, side in rows])
    entries: dict[str, Artist] = {}
    lowest = 1.0
    for condition, side in rows:
        found = numbers.overlaps[condition]
        for name, members in by_group(numbers.matrices).items():
            panel, x = panels[f"{side}, {condition}", name], np.arange(len(members))
            panel.set_title(f"{name}, {side}\n{condition}", fontsize=6.5)
            for label, values, color in (
                ("runs under study", found.main[side], _RUN),
                ("controls", found.controls[side], _CONTROL),
            ):
                curve = values[members].mean(axis=1)
                (entries[label],) = panel.plot(x, curve, "o-", ms=2.5, lw=1, color=color)
                lowest = min(lowest, max(curve.min(), 1e-4))
            (entries["chance"],) = panel.plot(x, numbers.chance[side][members], ":", color=CHANCE)
            lowest = min(lowest, numbers.chance[side][members].min())
            layer_axis(panel, numbers.matrices, members)
        panels[f"{side}, {condition}", numbers.matrices[0].group].set_ylabel("overlap", fontsize=8)
    log_axis(panels, lowest / 1.5, 1.3)
    legend_below(figure, entries)
    return figure
