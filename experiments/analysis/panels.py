"""Figures with one panel for each kind of matrix, the layers along the x-axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.analysis.matrices import Matrix, by_group

COLORS = [matplotlib.colormaps["tab10"](i) for i in (0, 1, 2, 3, 4, 6, 8, 9, 5)]
"""Of attributes and pairs, in their order; grey is left for chance."""
CHANCE = "#8a8a8a"
_WIDTH, _HEIGHT, _COLUMNS = 3.0, 2.3, 4


def group_panels(matrices: Sequence[Matrix], rows: Sequence[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel for every row (a side, say) and kind of matrix.

    Returns:
      The figure, and (row, kind) → panel; the kinds of one row may fill several lines.
    """
    groups = by_group(matrices)
    columns = min(_COLUMNS, len(groups))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * lines * len(rows)), layout="constrained")
    grid = figure.subplots(lines * len(rows), columns, squeeze=False, sharey=True)
    panels: dict[tuple[str, str], Axes] = {}
    for r, row in enumerate(rows):
        own = grid[r * lines : (r + 1) * lines].ravel()
        for (name, members), panel in zip(groups.items(), own, strict=False):
            panels[row, name] = panel
            panel.set_title(f"{name}, {row}" if row else f"{name} ({len(members)})", fontsize=8)
            panel.tick_params(labelsize=7, which="both")
            panel.spines[["top", "right"]].set_visible(False)
        for panel in own[len(groups) :]:
            panel.remove()
    return figure, panels


def layer_axis(panel: Axes, matrices: Sequence[Matrix], members: np.ndarray) -> None:
    """Whole numbers, called layers where they are."""
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("layer" if matrices[members[0]].layer is not None else "matrix", fontsize=7)


def legend_below(figure: Figure, entries: Mapping[str, Artist], columns: int = 4) -> None:
    """One legend for all panels."""
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncol=columns, fontsize=8, frameon=False
    )


def group_starts(matrices: Sequence[Matrix]) -> Iterator[tuple[str, int, int]]:
    """Kind, first column and count, for a picture with one column for each matrix ordered by kind."""
    start = 0
    for name, members in by_group(matrices).items():
        yield name, start, len(members)
        start += len(members)
