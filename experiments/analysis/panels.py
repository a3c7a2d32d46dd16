"""Figures with one panel for each kind of matrix, the layers along the x-axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from experiments.analysis.matrices import Matrix, by_group

COLORS = [matplotlib.colormaps["tab10"](i) for i in (0, 1, 2, 3, 4, 6, 8, 9, 5)]
"""Of attributes and pairs, in their order; grey is left for chance."""
CHANCE = "#8a8a8a"
_WIDTH, _HEIGHT, _COLUMNS = 3.0, 2.2, 4
"""Inches of a panel with its labels, and panels in a line."""
_LEFT, _RIGHT, _TOP, _BOTTOM, _LEGEND = 0.6, 0.1, 0.4, 0.4, 0.5
"""Inches around them. A layout that is computed would cost more than the drawing."""
_ENTRY = 1.5
"""Inches of a legend's column."""


def group_panels(matrices: Sequence[Matrix], rows: Sequence[str]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A panel for every row (a side, say) and kind of matrix; all panels share one y-axis.

    Returns:
      The figure, and (row, kind) → panel; the kinds of one row may fill several lines.
    """
    groups = by_group(matrices)
    columns = min(_COLUMNS, len(groups))
    lines = -(-len(groups) // columns) * len(rows)
    width, height = _LEFT + _RIGHT + _WIDTH * columns, _TOP + _BOTTOM + _LEGEND + _HEIGHT * lines
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=(_BOTTOM + _LEGEND) / height,
        wspace=0.08,
        hspace=0.42,
    )
    panels: dict[tuple[str, str], Axes] = {}
    for own, row in zip(np.split(grid, len(rows)), rows, strict=True):
        for (name, members), panel in zip(groups.items(), own.ravel(), strict=False):
            panels[row, name] = panel
            panel.set_title(f"{name}, {row}" if row else f"{name} ({len(members)})", fontsize=8)
            panel.tick_params(labelsize=7, which="both")
            panel.spines[["top", "right"]].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for panel in own.ravel()[len(groups) :]:
            panel.remove()
    return figure, panels


def log_axis(panels: Mapping[tuple[str, str], Axes], bottom: float, top: float) -> None:
    """The shared y-axis from ``bottom`` to ``top``, logarithmic."""
    for panel in panels.values():
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())
    next(iter(panels.values())).set_ylim(bottom, top)


def layer_axis(panel: Axes, matrices: Sequence[Matrix], members: np.ndarray) -> None:
    """Says whether the x-axis counts layers, or matrices that are not stacked."""
    panel.set_xlabel("layer" if matrices[members[0]].layer is not None else "matrix", fontsize=7, labelpad=1)


def curves_of_attributes(
    matrices: Sequence[Matrix], names: Sequence[str], values: np.ndarray, label: str
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Positive ``values`` (attributes, matrices) over the layers, one curve for each attribute; NaN is left out."""
    figure, panels = group_panels(matrices, [""])
    entries: dict[str, Artist] = {}
    shown = np.where(values > 0, values, np.nan)
    for kind, members in by_group(matrices).items():
        panel, x = panels["", kind], np.arange(len(members))
        for a, name in enumerate(names):
            (entries[name],) = panel.plot(x, shown[a, members], "o-", ms=2.5, lw=1, color=COLORS[a % len(COLORS)])
        layer_axis(panel, matrices, members)
    if np.isfinite(shown).any():
        low, high = np.nanmin(shown) / 1.5, 1.5 * np.nanmax(shown)
        log_axis(panels, low, high)
        if high < 1e3 * low:  # powers of ten alone would be few
            axis = panels["", matrices[0].group].yaxis
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels["", matrices[0].group].set_ylabel(label, fontsize=8)
    legend_below(figure, entries)
    return figure, panels


def legend_below(figure: Figure, entries: Mapping[str, Artist], columns: int = 4) -> None:
    """One legend for all panels."""
    fitting = max(1, int(figure.get_figwidth() // _ENTRY))
    figure.legend(
        list(entries.values()), list(entries), loc="lower center", ncol=min(columns, fitting), fontsize=8, frameon=False
    )


def group_starts(matrices: Sequence[Matrix]) -> Iterator[tuple[str, int, int]]:
    """Kind, first column and count, for a picture with one column for each matrix ordered by kind."""
    start = 0
    for name, members in by_group(matrices).items():
        yield name, start, len(members)
        start += len(members)
