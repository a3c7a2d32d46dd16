"""The basis as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.analysis.basis import BasisNumbers, basis_rows, union_summary
from experiments.analysis.matrices import by_group
from experiments.analysis.panels import CHANCE, COLORS, group_panels, layer_axis, legend_below
from experiments.analysis.topic import Topic, table_of
from subspace.basis import TOLERANCE


def basis_topic(numbers: BasisNumbers) -> Topic:
    """D after merging, three allocations, and what M costs."""
    summary = union_summary(numbers)
    counts = [{"trained": name, "parameters": count} for name, count in numbers.counts.items()]
    return Topic(
        "The union as a basis",
        [
            "Fine-tuning in dW = Ā M B̄ᵀ needs one basis of all attributes: their orthonormal bases side by side, made "
            f"orthonormal, with directions dropped that the others span to within {TOLERANCE:g} of the largest singular value "
            "(Sec. 3). A singular value of 1 is a direction of one attribute alone, √2 one that two share, and near 0 what "
            "is there already: hardly anything is exactly so, even where subspaces overlap. Dimensions may be given to layers "
            "in proportion to the effective rank of C: as printed in supplement 2.2 (importance: with a floor, so that "
            "layers below the mean get none and the budget is not spent), or so that the budget is spent exactly.",
            table_of(
                summary,
                "Means over matrices. Brought: directions of all attributes together. Dropped: share of them that merging "
                "removes. Smallest σ: of the bases side by side. Energy kept: of the attributes' shared updates. Left out: "
                f"matrices to which no attribute brings a direction. d = {numbers.budget} is half of what was mined, so that a "
                "layer can get more than the mean.",
                {
                    "dimensions": "dimensions",
                    "mean brought": "brought",
                    "mean D output": "D, output",
                    "mean D input": "D, input",
                    "dropped, output": "dropped, output",
                    "dropped, input": "dropped, input",
                    "smallest singular value": "smallest σ",
                    "energy kept": "energy kept",
                    "matrices left out": "left out",
                    "parameters of M": "parameters",
                },
            ),
            table_of(counts, "Trainable parameters of the matrices adapted here."),
        ],
        {
            "allocation": (
                _draw(numbers),
                f"Dimensions of every attribute in every layer at a mean of d = {numbers.budget}. Solid: proportional to the "
                "effective rank, budget spent exactly (Sainte-Laguë). Dashed: the floor formula of supplement 2.2, cut to "
                "the d' that was mined. Grey: uniform.",
            )
        },
        {"basis": list(basis_rows(numbers)), "basis_summary": summary, "parameters": counts},
        {"unions": summary, "parameters": numbers.counts},
    )


def _draw(numbers: BasisNumbers) -> Figure:
    figure, panels = group_panels(numbers.matrices, [""])
    entries: dict[str, Artist] = {}
    for name, members in by_group(numbers.matrices).items():
        x, panel = np.arange(len(members)), panels["", name]
        (entries["uniform"],) = panel.plot(x, numbers.allocations["uniform"].dims[0, members], "-", color=CHANCE, lw=3)
        for a, attribute in enumerate(numbers.names):
            color = COLORS[a % len(COLORS)]
            exact, floor = (numbers.allocations[which].dims[a, members] for which in ("exact budget", "importance"))
            (entries[attribute],) = panel.plot(x, exact, "o-", ms=2.5, lw=1, color=color)
            panel.plot(x, floor, "--", lw=0.9, color=color)
        layer_axis(panel, numbers.matrices, members)
    panels["", numbers.matrices[0].group].set_ylabel("dimensions", fontsize=8)
    panels["", numbers.matrices[0].group].set_ylim(bottom=-0.3)
    legend_below(figure, entries, columns=5)
    return figure
