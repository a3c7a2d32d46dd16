"""Halves and shuffled labels as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.analysis.empirical import Comparison, comparison_rows, comparison_summary
from experiments.analysis.matrices import by_group
from experiments.analysis.overlap import SIDES
from experiments.analysis.panels import CHANCE, group_panels, layer_axis, legend_below, log_axis
from experiments.analysis.topic import Topic, table_of

_SAME, _DIFFERENT, _SHUFFLED, _ACTUAL = "#1f6f43", "#c8322b", "#2b62c4", "#111111"


def empirical_topic(comparison: Comparison) -> Topic:
    """Does the same attribute overlap with itself, and does the label matter?"""
    summary = comparison_summary(comparison)
    sizes = sorted(set(comparison.half_sizes.values()))
    splits, deals = (len(getattr(comparison.sides["output"], name)) for name in ("same", "shuffled"))
    labels = (
        f"All adapters were also dealt anew to as many groups as there are attributes, {deals} times."
        if deals
        else "Labels were not shuffled: the attributes' adapters differ in rank, which would tell them apart."
    )
    return Topic(
        "Does an attribute overlap with itself?",
        [
            "Random subspaces are a weak comparison, because training one base model prefers some directions whatever the "
            f"data. So the adapters of each attribute were divided into two halves of {' or '.join(map(str, sizes))} adapters "
            f"at random, {splits} times, and a subspace was mined from each half. If halves of one attribute overlap no more "
            "than halves of different attributes, orthogonality between attributes means nothing. "
            + labels
            + " If the "
            "attributes overlap as much as such groups do, the attribute makes no difference to the subspace.",
            table_of(
                summary,
                "Medians over the matrices of mean overlaps, first between halves, then of all adapters. Same above different: "
                "share of the matrices in which halves of one attribute overlap more than halves of two in every division. "
                "Below shuffled: share of the matrices in which the attributes overlap less than groups with shuffled labels.",
                {
                    "side": "side",
                    "halves of one attribute": "one attribute",
                    "halves of two attributes": "two",
                    "chance (halves)": "by chance",
                    "same above different": "same above different",
                    "attributes": "attributes",
                    "shuffled labels": "shuffled",
                    "attributes below shuffled": "below shuffled",
                    "chance": "by chance",
                },
            ),
        ],
        {
            "same_attribute": (
                _draw(comparison),
                "Mean overlap over the layers: of the two halves of one attribute's adapters, of halves of different "
                "attributes, of the attributes themselves (from all their adapters), and of groups of all adapters with "
                "shuffled labels, as large as the attributes. Bands: lowest and highest of the random draws. Dotted: chance, "
                "d'/n. Overlap is the mean squared cosine of the principal angles; outputs above, inputs below.",
            )
        },
        {"resampled_overlaps": list(comparison_rows(comparison)), "resampled_summary": summary},
        summary,
    )


def _draw(comparison: Comparison) -> Figure:
    figure, panels = group_panels(comparison.matrices, SIDES)
    entries: dict[str, Artist] = {}
    lowest = 1.0
    for name, members in by_group(comparison.matrices).items():
        x = np.arange(len(members))
        for side in SIDES:
            panel, found = panels[side, name], comparison.sides[side]
            curves = {
                "halves of one attribute": (found.same, _SAME),
                "halves of two attributes": (found.different, _DIFFERENT),
                "shuffled labels": (found.shuffled, _SHUFFLED),
                "attributes": (found.actual[None], _ACTUAL),
            }
            for label, (values, color) in curves.items():
                if not len(values):
                    continue
                draws = values[:, members].mean(axis=2)
                panel.fill_between(x, draws.min(axis=0), draws.max(axis=0), color=color, alpha=0.2, lw=0)
                (entries[label],) = panel.plot(x, draws.mean(axis=0), "o-", ms=2.5, lw=1.1, color=color)
                lowest = min(lowest, max(draws.min(), 1e-4))
            (entries["chance"],) = panel.plot(x, found.chance[members], ":", color=CHANCE)
            lowest = min(lowest, found.chance[members].min())
            layer_axis(panel, comparison.matrices, members)
    for side in SIDES:
        panels[side, comparison.matrices[0].group].set_ylabel("overlap", fontsize=8)
    log_axis(panels, lowest / 1.5, 1.3)
    legend_below(figure, entries, columns=5)
    return figure
