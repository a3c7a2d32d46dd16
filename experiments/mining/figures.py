"""Figures of mined subspaces: spectra of C, weights of the adapters, energy inside the subspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.mining.summary import MatrixSummary, group_of

PATTERN_COLORS = {"none": "#2f8f4e", "at_rank": "#111111", "beyond_rank": "#2b62c4", "two_drops": "#c8322b"}
"""Fig. 4's colours."""
PATTERN_NAMES = {
    "none": "no drop",
    "at_rank": "a drop at r",
    "beyond_rank": "a drop beyond r",
    "two_drops": "two drops",
}
_PANEL = (3.1, 2.5)
"""Width and height of a panel in inches."""
_COLUMNS = 4
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.6, 0.1, 0.3, 0.75
"""Inches around the panels, the legend below them. A layout that is computed would cost more than the drawing."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of C in one matrix, with what :func:`subspace.spectral_pattern` found."""

    group: str
    """The matrix's kind, see :func:`experiments.mining.summary.group_of`."""
    sigma: np.ndarray
    """(p,), decreasing."""
    rank: int
    """r of the adapters."""
    pattern: str
    """A key of :data:`PATTERN_NAMES`."""
    drops: tuple[int, int]
    """Singular values before the drop at r, and before the largest one beyond r; 0 where there is none."""


def draw_spectra(spectra: Sequence[Spectrum]) -> Figure:
    """Singular values of C, one panel per kind of matrix, one curve per matrix, coloured by pattern (Figs. 2, 4, S3–S34)."""
    groups: dict[str, list[Spectrum]] = {}
    for spectrum in spectra:
        groups.setdefault(spectrum.group, []).append(spectrum)
    figure, panels = _panels(list(groups))
    for (name, members), panel in zip(groups.items(), panels, strict=True):
        curves = [above_rounding(member.sigma) for member in members]
        colors = [PATTERN_COLORS[member.pattern] for member in members]
        points = [np.column_stack([np.arange(1, curve.size + 1), curve]) for curve in curves]
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())  # ticks take half the time of drawing
        panel.add_collection(LineCollection(points, colors=colors, linewidths=0.9, alpha=0.7))
        drops = [
            (drop, curve[drop - 1], color)
            for member, curve, color in zip(members, curves, colors, strict=True)
            for drop in member.drops
            if drop
        ]
        if drops:
            index, sigma, color = zip(*drops, strict=True)
            panel.scatter(index, sigma, s=9, c=color, zorder=3)
        panel.autoscale_view()
        panel.axvline(members[0].rank, color="#999999", lw=0.8, ls=":")
        panel.set_title(f"{name} ({len(members)})", fontsize=9)
        panel.set_xlabel("index (dotted: r)", fontsize=8, labelpad=1)
    panels[0].set_ylabel("singular value of C", fontsize=8)
    handles = [Line2D([], [], color=color) for color in PATTERN_COLORS.values()]
    columns = 4 if len(groups) > 1 else 2  # of a single panel's width
    figure.legend(handles, PATTERN_NAMES.values(), loc="lower center", ncol=columns, fontsize=8, frameon=False)
    return figure


def above_rounding(sigma: np.ndarray) -> np.ndarray:
    """Singular values (p,), NaN where they are float32's rounding of the largest."""
    return np.where(sigma > sigma[0] * sigma.size * np.finfo(np.float32).eps, sigma, np.nan)


def draw_weights(adapters: Sequence[str], summaries: Sequence[MatrixSummary]) -> Figure:
    """k · w_i of every matrix (a row) and adapter (a column): 1 is an equal say, near 0 an outlier."""
    weights = np.array([summary.weights for summary in summaries]) * len(adapters)
    figure = Figure(figsize=(max(4.0, 0.8 * len(adapters) + 3), 5.5), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(weights, aspect="auto", cmap="RdBu", vmin=0, vmax=2, interpolation="nearest")
    panel.set_xticks(range(len(adapters)), adapters, rotation=45, ha="right", fontsize=8)
    starts = [i for i, s in enumerate(summaries) if i == 0 or group_of(s.path) != group_of(summaries[i - 1].path)]
    panel.set_yticks(starts, [group_of(summaries[i].path) for i in starts], fontsize=7)
    figure.colorbar(image, ax=panel, label="k · weight")
    return figure


def draw_energy(summaries: Sequence[MatrixSummary]) -> Figure:
    """Share of an adapter's energy in the subspace over the layers: with a say in it, left out of it, and by chance."""
    groups = _by_group(summaries)
    figure, panels = _panels(list(groups))
    for (name, members), panel in zip(groups.items(), panels, strict=True):
        x = np.arange(len(members))
        panel.plot(
            x, [np.mean(member.captured) for member in members], "o-", ms=3, color="#111111", label="own subspace"
        )
        if all(member.held_out is not None for member in members):
            panel.plot(x, [member.held_out for member in members], "s-", ms=3, color="#c8322b", label="held out")
        panel.plot(x, [member.chance for member in members], ":", color="#777777", label="by chance")
        panel.set_yscale("log")
        panel.set_ylim(top=1.3)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(f"{name} ({len(members)})", fontsize=9)
        panel.set_xlabel("layer" if members[0].layer is not None else "matrix", fontsize=8, labelpad=1)
    panels[0].set_ylabel("share of energy", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncol=3, fontsize=8, frameon=False)
    return figure


def _by_group(summaries: Sequence[MatrixSummary]) -> dict[str, list[MatrixSummary]]:
    groups: dict[str, list[MatrixSummary]] = {}
    for summary in summaries:
        groups.setdefault(group_of(summary.path), []).append(summary)
    return groups


def _panels(names: Sequence[str]):
    columns = min(_COLUMNS, len(names))
    lines = -(-len(names) // columns)
    width, height = _LEFT + _RIGHT + _PANEL[0] * columns, _TOP + _BOTTOM + _PANEL[1] * lines
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    figure.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=_BOTTOM / height,
        wspace=0.22,
        hspace=0.45,
    )
    for panel in grid:
        panel.tick_params(labelsize=7, which="both")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in grid[len(names) :]:
        panel.remove()
    return figure, grid[: len(names)]
