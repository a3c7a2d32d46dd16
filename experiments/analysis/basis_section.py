"""The basis as a section of the report."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from experiments.analysis.basis import (
    BasisNumbers,
    BasisRow,
    ParameterCounts,
    UnionSummary,
    basis_rows,
    union_summary,
)
from experiments.analysis.panels import layer_axis, matrix_panels
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.mining.allocation import Allocation
from experiments.mining.summary import by_group
from experiments.reports.panels import CHANCE, COLORS, legend_below
from subspace.basis import TOLERANCE

_ALLOCATIONS: dict[Allocation, str] = {"uniform": "uniform", "importance": "importance", "exact": "exact budget"}
_SUMMARY: Columns[UnionSummary] = (
    (
        "dimensions",
        lambda row: f"{_ALLOCATIONS[row.allocation]}, d = {row.dim}" if row.allocation else f"all d' = {row.dim}",
    ),
    ("mean brought", lambda row: row.brought),
    ("mean D output", lambda row: row.output),
    ("mean D input", lambda row: row.input),
    ("dropped, output", lambda row: row.dropped_output),
    ("dropped, input", lambda row: row.dropped_input),
    ("smallest singular value", lambda row: row.smallest),
    ("energy kept", lambda row: row.kept),
    ("matrices left out", lambda row: row.left_out),
    ("parameters of M", lambda row: row.parameters),
)
_HEADINGS = (
    "dimensions",
    "brought",
    "D, output",
    "D, input",
    "dropped, output",
    "dropped, input",
    "smallest σ",
    "energy kept",
    "left out",
    "parameters",
)
"""The same columns on the page."""
_COUNTS: Columns[tuple[str, int]] = (("trained", lambda row: row[0]), ("parameters", lambda row: row[1]))


def basis_section(numbers: BasisNumbers) -> Section:
    """D after merging, three allocations, and what M costs."""
    summary = union_summary(numbers)
    unions, counts = sheet(summary, _SUMMARY), _named(numbers.counts)
    rows: Columns[BasisRow] = (
        ("dimensions", lambda row: _ALLOCATIONS[row.allocation] if row.allocation else "all directions"),
        *OF_MATRIX,
        *((f"of {name}", lambda row, a=a: row.dims[a]) for a, name in enumerate(numbers.names)),
        ("together", lambda row: sum(row.dims)),
        ("D output", lambda row: row.output),
        ("D input", lambda row: row.input),
        ("smallest singular value, output", lambda row: row.smallest_output),
        ("smallest singular value, input", lambda row: row.smallest_input),
    )
    return Section(
        title="The union as a basis",
        text=[
            "Fine-tuning in dW = Ā M B̄ᵀ needs one basis of all attributes: their orthonormal bases side by side, made "
            f"orthonormal, with directions dropped that the others span to within {TOLERANCE:g} of the largest singular value "
            "(Sec. 3). A singular value of 1 is a direction of one attribute alone, √2 one that two share, and near 0 what "
            "is there already: hardly anything is exactly so, even where subspaces overlap. Dimensions may be given to layers "
            "in proportion to the effective rank of C: as printed in supplement 2.2 (importance: with a floor, so that "
            "layers below the mean get none and the budget is not spent), or so that the budget is spent exactly.",
            table(
                summary,
                [(heading, value) for heading, (_, value) in zip(_HEADINGS, _SUMMARY, strict=True)],
                "Means over matrices. Brought: directions of all attributes together. Dropped: share of them that merging "
                "removes. Smallest σ: of the bases side by side. Energy kept: of the attributes' shared updates. Left out: "
                f"matrices to which no attribute brings a direction. d = {numbers.budget} is half of what was mined, so that a "
                "layer can get more than the mean.",
            ),
            table(counts.items(), _COUNTS, "Trainable parameters of the matrices adapted here."),
        ],
        figures={
            "allocation": (
                _draw(numbers),
                f"Dimensions of every attribute in every layer at a mean of d = {numbers.budget}. Solid: proportional to the "
                "effective rank, budget spent exactly (Sainte-Laguë). Dashed: the floor formula of supplement 2.2, cut to "
                "the d' that was mined. Grey: uniform.",
            )
        },
        sheets={
            "basis": sheet(basis_rows(numbers), rows),
            "basis_summary": unions,
            "parameters": sheet(counts.items(), _COUNTS),
        },
        numbers={"unions": unions.records(), "parameters": counts},
    )


def _named(counts: ParameterCounts) -> dict[str, int]:
    side = f"side min({counts.side}, n, m)"
    named = {
        "plain LoRA on every matrix": counts.lora,
        f"M on every matrix, {side}": counts.M,
        f"M on every matrix, {side}, and a plain LoRA on the heads (Tables 1, 2)": counts.M_and_head_lora,
        f"M on the blocks, {side}, and a plain LoRA on the heads (Table 3)": counts.block_M_and_head_lora,
        "M on every matrix, with the D that merging leaves": counts.merged_M,
    }
    return {name: count for name, count in named.items() if count is not None}


def _draw(numbers: BasisNumbers) -> Figure:
    figure, panels = matrix_panels(numbers.matrices)
    entries: dict[str, Artist] = {}
    for name, members in by_group(numbers.matrices).items():
        x, panel = np.arange(len(members)), panels["", name]
        (entries["uniform"],) = panel.plot(x, numbers.allocations["uniform"].dims[0, members], "-", color=CHANCE, lw=3)
        for a, attribute in enumerate(numbers.names):
            color = COLORS[a % len(COLORS)]
            exact, floor = numbers.allocations["exact"], numbers.allocations["importance"]
            (entries[attribute],) = panel.plot(x, exact.dims[a, members], "o-", ms=2.5, lw=1, color=color)
            panel.plot(x, floor.dims[a, members], "--", lw=0.9, color=color)
        layer_axis(panel, numbers.matrices, members)
    panels["", numbers.matrices[0].group].set_ylabel("dimensions", fontsize=8)
    panels["", numbers.matrices[0].group].set_ylim(bottom=-0.3)
    legend_below(figure, entries, columns=5)
    return figure
