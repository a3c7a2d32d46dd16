"""Halves and shuffled labels as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.analysis.empirical import (
    Comparison,
    ComparisonRow,
    ComparisonSummary,
    Resampled,
    comparison_rows,
    comparison_summary,
)
from experiments.analysis.overlap import SIDES
from experiments.analysis.panels import layer_axis, matrix_panels
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.mining.summary import by_group
from experiments.reports.panels import CHANCE, legend_below, log_axis

_NAMES = {
    Comparison.HALVES_OF_ONE: "halves of one attribute",
    Comparison.HALVES_OF_TWO: "halves of two attributes",
    Comparison.SHUFFLED: "shuffled labels",
    Comparison.ATTRIBUTES: "attributes",
}
_COLORS = {
    Comparison.HALVES_OF_ONE: "#1f6f43",
    Comparison.HALVES_OF_TWO: "#c8322b",
    Comparison.SHUFFLED: "#2b62c4",
    Comparison.ATTRIBUTES: "#111111",
}
_ROWS: Columns[ComparisonRow] = (
    ("side", lambda row: row.side),
    *OF_MATRIX,
    ("comparison", lambda row: _NAMES[row.comparison]),
    ("first", lambda row: row.first),
    ("second", lambda row: row.second),
    ("overlap", lambda row: row.overlap),
    ("lowest", lambda row: row.lowest),
    ("highest", lambda row: row.highest),
    ("overlap by chance", lambda row: row.chance),
)
_SUMMARY: Columns[ComparisonSummary] = (
    ("side", lambda row: row.side),
    ("halves of one attribute", lambda row: row.same),
    ("halves of two attributes", lambda row: row.different),
    ("chance (halves)", lambda row: row.half_chance),
    ("same above different", lambda row: row.same_above_different),
    ("attributes", lambda row: row.actual),
    ("shuffled labels", lambda row: row.shuffled),
    ("attributes below shuffled", lambda row: row.below_shuffled),
    ("chance", lambda row: row.chance),
)
_SHOWN: Columns[ComparisonSummary] = (
    ("side", lambda row: row.side),
    ("one attribute", lambda row: row.same),
    ("two", lambda row: row.different),
    ("by chance", lambda row: row.half_chance),
    ("same above different", lambda row: row.same_above_different),
    ("attributes", lambda row: row.actual),
    ("shuffled", lambda row: row.shuffled),
    ("below shuffled", lambda row: row.below_shuffled),
    ("by chance", lambda row: row.chance),
)


def empirical_section(resampled: Resampled) -> Section:
    """Does the same attribute overlap with itself, and does the label matter?"""
    summary = comparison_summary(resampled)
    shown = sheet(summary, _SUMMARY)
    sizes = sorted(set(resampled.half_sizes.values()))
    output = resampled.sides["output"]
    labels = (
        f"All adapters were also dealt anew to as many groups as there are attributes, {len(output.shuffled)} times."
        if len(output.shuffled)
        else "Labels were not shuffled: the attributes' adapters differ in rank, which would tell them apart."
    )
    return Section(
        title="Does an attribute overlap with itself?",
        text=[
            "Random subspaces are a weak comparison, because training one base model prefers some directions whatever the "
            f"data. So the adapters of each attribute were divided into two halves of {' or '.join(map(str, sizes))} adapters "
            f"at random, {len(output.same)} times, and a subspace was mined from each half. If halves of one attribute overlap "
            f"no more than halves of different attributes, orthogonality between attributes means nothing. {labels} If the "
            "attributes overlap as much as such groups do, the attribute makes no difference to the subspace.",
            table(
                summary,
                _SHOWN,
                "Medians over the matrices of mean overlaps, first between halves, then of all adapters. Same above different: "
                "share of the matrices in which halves of one attribute overlap more than halves of two in every division. "
                "Below shuffled: share of the matrices in which the attributes overlap less than groups with shuffled labels.",
            ),
        ],
        figures={
            "same_attribute": (
                _draw(resampled),
                "Mean overlap over the layers: of the two halves of one attribute's adapters, of halves of different "
                "attributes, of the attributes themselves (from all their adapters), and of groups of all adapters with "
                "shuffled labels, as large as the attributes. Bands: lowest and highest of the random draws. Dotted: chance, "
                "d'/n. Overlap is the mean squared cosine of the principal angles; outputs above, inputs below.",
            )
        },
        sheets={"resampled_overlaps": sheet(comparison_rows(resampled), _ROWS), "resampled_summary": shown},
        numbers=shown.records(),
    )


def _draw(resampled: Resampled) -> Figure:
    figure, panels = matrix_panels(resampled.matrices, SIDES)
    entries: dict[str, Artist] = {}
    lowest = 1.0
    for name, members in by_group(resampled.matrices).items():
        x = np.arange(len(members))
        for side in SIDES:
            panel, found = panels[side, name], resampled.sides[side]
            for comparison, values in found.values.items():
                color, draws = _COLORS[comparison], values[:, members].mean(axis=2)
                panel.fill_between(x, draws.min(axis=0), draws.max(axis=0), color=color, alpha=0.2, lw=0)
                (entries[_NAMES[comparison]],) = panel.plot(x, draws.mean(axis=0), "o-", ms=2.5, lw=1.1, color=color)
                lowest = min(lowest, max(draws.min(), 1e-4))
            (entries["chance"],) = panel.plot(x, found.chance[members], ":", color=CHANCE)
            lowest = min(lowest, found.chance[members].min())
            layer_axis(panel, resampled.matrices, members)
    for side in SIDES:
        panels[side, resampled.matrices[0].group].set_ylabel("overlap", fontsize=8)
    log_axis(panels, lowest / 1.5, 1.3)
    legend_below(figure, entries, columns=5)
    return figure
