"""Figures over the layers of a model, with one panel for each kind of matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from experiments.analysis.matrices import Matrix
from experiments.mining.summary import by_group
from experiments.reports.panels import COLORS, Panels, group_panels, legend_below, log_axis


def matrix_panels(matrices: Sequence[Matrix], rows: Sequence[str] = ("",)) -> tuple[Figure, Panels]:
    """A panel for every row (a side, say) and kind of matrix; all panels share one y-axis."""
    return group_panels({name: len(members) for name, members in by_group(matrices).items()}, rows)


def layer_axis(panel: Axes, matrices: Sequence[Matrix], members: np.ndarray) -> None:
    """Says whether the x-axis counts layers, or matrices that are not stacked."""
    panel.set_xlabel("layer" if matrices[members[0]].layer is not None else "matrix", fontsize=7, labelpad=1)


def curves_of_attributes(
    matrices: Sequence[Matrix], names: Sequence[str], values: np.ndarray, label: str
) -> tuple[Figure, Panels]:
    """Positive ``values`` (attributes, matrices) over the layers, one curve for each attribute; NaN is left out."""
    figure, panels = matrix_panels(matrices)
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


def group_starts(matrices: Sequence[Matrix]) -> Iterator[tuple[str, int, int]]:
    """Kind, first column and count, for a picture with one column for each matrix ordered by kind."""
    start = 0
    for name, members in by_group(matrices).items():
        yield name, start, len(members)
        start += len(members)
