"""Where held-out adapters lie, as a section of the report."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.analysis.specificity import (
    EVERYTHING,
    MEASURES,
    Shares,
    Specificity,
    adapter_rows,
    shares_by_kind,
    specificity_rows,
)
from experiments.analysis.topic import Topic
from experiments.reports.page import Table

_PANELS = {"both": "both sides", "output": "output side only", "input": "input side only"}
_COLUMNS = 4


def specificity_topic(found: Specificity) -> Topic:
    """A square of attributes: adapters of the row in the subspace of the column."""
    kinds = shares_by_kind(found)
    rows = list(specificity_rows(kinds, found.names))
    return Topic(
        "Where does a held-out adapter lie?",
        [
            "Every adapter was left out once. How much of its energy ‖dW‖² lies in the subspace that the other adapters of its "
            "attribute share, and how much in the subspaces of equally many adapters of the other attributes? If subspaces are "
            "specific to their attributes, the diagonal is the largest of its row. Whole adapters: matrices are weighted by "
            "their energy.",
            _table(kinds[EVERYTHING], found.names),
        ],
        {
            "specificity": (
                _draw(kinds, found.names),
                "Share of the energy of a held-out adapter (row: its attribute) in the subspace of an attribute (column; on "
                "the diagonal mined without it, elsewhere from equally many), mean ± standard deviation over the adapters, in "
                "percent. On a grey ground: what random subspaces of the same size capture. First all matrices, inside on both "
                "sides (UUᵀ dW VVᵀ) and on one only, then each kind of matrix, inside on both sides.",
            )
        },
        {"specificity": rows, "specificity_adapters": list(adapter_rows(found))},
        [row for row in rows if row["matrices"] == EVERYTHING],
    )


def _table(shares: Shares, names: list[str]) -> Table:
    rows = []
    for i, adapters in enumerate(names):
        cells = [_percent(shares.mean[i, j, 0], shares.spread[i, j, 0]) for j in range(len(names))]
        rows.append([adapters, *cells, f"{shares.chance[i, 0]:.2%}", f"{shares.own_largest[i]} of {shares.count[i]}"])
    return Table(
        ["held-out adapter of", *(f"in {name}" for name in names), "by chance", "own is largest"],
        rows,
        "Energy inside the subspace on both sides, mean ± standard deviation over the adapters. Own is largest: adapters "
        "that have more of their energy in their own attribute's subspace than in any other.",
    )


def _percent(mean: float, spread: float) -> str:
    digits = 1 if mean >= 0.01 else 2
    return f"{100 * mean:.{digits}f} ± {100 * spread:.{digits}f} %"


def _draw(kinds: dict[str, Shares], names: list[str]) -> Figure:
    pictures = [(f"{EVERYTHING},\n{_PANELS[measure]}", kinds[EVERYTHING], c) for c, measure in enumerate(MEASURES)]
    pictures += [(kind, shares, 0) for kind, shares in kinds.items() if kind != EVERYTHING]
    lines = -(-len(pictures) // _COLUMNS)
    side = 0.62 * (len(names) + 1) + 0.6
    figure = Figure(figsize=(side * _COLUMNS, (side + 0.2) * lines), layout="constrained")
    panels = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    smallest = max(1e-5, min(shares.chance[:, c].min() for _, shares, c in pictures))
    for (title, shares, c), panel in zip(pictures, panels, strict=False):
        _square(panel, shares, c, names, smallest)
        panel.set_title(title, fontsize=8)
    for panel in panels[len(pictures) :]:
        panel.remove()
    return figure


def _square(panel, shares: Shares, c: int, names: list[str], smallest: float) -> None:
    norm = LogNorm(smallest, 1, clip=True)
    colors = matplotlib.colormaps["viridis"]
    panel.imshow(np.maximum(shares.mean[:, :, c], smallest), norm=norm, cmap=colors)
    panel.imshow(np.full((len(names), 1), 0.9), extent=(len(names) - 0.5, len(names) + 0.5, len(names) - 0.5, -0.5),
                 cmap="gray", vmin=0, vmax=1)  # fmt: skip
    panel.set_xlim(-0.5, len(names) + 0.5)
    for i in range(len(names)):
        for j in range(len(names)):
            value = shares.mean[i, j, c]
            text = f"{_short(value)}\n± {_short(shares.spread[i, j, c])}"
            dark = norm(max(value, smallest)) < 0.6
            panel.text(j, i, text, ha="center", va="center", fontsize=6.5, color="white" if dark else "black",
                       weight="bold" if i == j else "normal")  # fmt: skip
        panel.text(len(names), i, _short(shares.chance[i, c]), ha="center", va="center", fontsize=6.5, color="black")
    panel.set_xticks(range(len(names) + 1), [*names, "chance"], rotation=35, ha="right", fontsize=7)
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def _short(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}" if percent >= 1 else f"{percent:.2g}"
