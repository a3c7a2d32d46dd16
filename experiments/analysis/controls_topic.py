"""Controls as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.analysis.controls import (
    ControlNumbers,
    control_rows,
    control_summary,
    overlap_rows,
    overlap_summary,
)
from experiments.analysis.matrices import by_group
from experiments.analysis.overlap import SIDES
from experiments.analysis.panels import CHANCE, COLORS, group_panels, layer_axis, legend_below, log_axis
from experiments.analysis.topic import Topic, table_of
from experiments.mining.figures import above_rounding
from subspace.angles import Side

_RUN, _CONTROL = "#111111", "#c8322b"


def controls_topic(numbers: ControlNumbers) -> Topic:
    """How much of the drop and of the overlap survives other initialisations and shuffled targets."""
    summary, overlaps = control_summary(numbers), overlap_summary(numbers)
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
    text = [
        f"The runs under study have {numbers.condition_of_main}. A drop at r may come from one random input factor that all "
        "adapters start from, and an overlap from directions that training prefers whatever its targets: what is there "
        "under a control as well does not come from the attribute.",
        table_of(
            summary,
            "Drops: matrices with a drop at r, and its median size in decades, in the run and in the control. Remains: median "
            "of control / run over the matrices in which the run has one. Outputs, inputs: how many times chance the control's "
            "subspace and the run's overlap. Captured: share of the run's adapters' energy inside the control's subspace.",
            {
                "attribute": "attribute",
                "condition": "condition",
                "drops in the run": "drops",
                "drops in the control": "in control",
                "median drop": "decades",
                "median drop under control": "in control",
                "drop that remains": "remains",
                "outputs: overlap with the run / chance": "outputs",
                "inputs: overlap with the run / chance": "inputs",
                "run's energy captured": "captured",
            },
        ),
    ]
    if overlaps:
        text.append(
            table_of(
                overlaps,
                "Overlap between different attributes over that of random subspaces, medians over matrices and pairs. Excess "
                "that remains: overlap beyond chance in the controls over that in the runs, all matrices together.",
            )
        )
        figures["controls_overlap"] = (
            _draw_overlaps(numbers),
            "Mean overlap between different attributes over the layers, of the runs under study and of the controls. "
            "Dotted: chance.",
        )
    return Topic(
        "Where do drop and overlap come from?",
        text,
        figures,
        {"controls": list(control_rows(numbers))}
        | ({"controls_overlaps": list(overlap_rows(numbers))} if overlaps else {}),
        {"controls": summary, "overlaps": overlaps},
    )


def _draw_spectra(numbers: ControlNumbers) -> Figure:
    conditions = list(dict.fromkeys(control.condition for control in numbers.controls))
    figure, panels = group_panels(numbers.matrices, conditions)
    lowest, longest = 1.0, dict.fromkeys(panels, 2)
    for control in numbers.controls:
        for name, members in by_group(numbers.matrices).items():
            panel = panels[control.condition, name]
            panel.set_title(f"{name}\n{control.condition}", fontsize=6.5)
            for mined, color in ((numbers.main[control.attribute], _RUN), (control.mined, _CONTROL)):
                curves = [
                    _relative(mined.statistics, numbers.matrices[i].path, numbers.matrices[i].layer) for i in members
                ]
                points = [np.column_stack([np.arange(1, curve.size + 1), curve]) for curve in curves]
                panel.add_collection(LineCollection(points, colors=color, linewidths=0.6, alpha=0.4))
                lowest = min(lowest, *(np.nanmin(curve) for curve in curves))
                longest[control.condition, name] = max(
                    longest[control.condition, name], *(curve.size for curve in curves)
                )
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
    conditions = list(dict.fromkeys(control.condition for control in numbers.controls))
    figure, panels = group_panels(numbers.matrices, conditions)
    entries: dict[str, Artist] = {}
    names = list(numbers.main)
    for name, members in by_group(numbers.matrices).items():
        for control in numbers.controls:
            panel, color = panels[control.condition, name], COLORS[names.index(control.attribute) % len(COLORS)]
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
    rows: list[tuple[str, Side]] = [(name, side) for name in numbers.overlaps for side in SIDES]
    figure, panels = group_panels(numbers.matrices, [f"{side}, {name}" for name, side in rows])
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
