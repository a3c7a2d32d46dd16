"""Figures of mined subspaces: spectra of C, weights of the adapters, energy inside the subspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.mining.summary import MatrixSummary, by_group, group_of
from experiments.reports.panels import group_panels, legend_below, logarithmic
from subspace import Pattern

PATTERN_COLORS = {
    Pattern.NONE: "#2f8f4e",
    Pattern.AT_RANK: "#111111",
    Pattern.BEYOND_RANK: "#2b62c4",
    Pattern.TWO_DROPS: "#c8322b",
}
"""Fig. 4's colours."""
PATTERN_NAMES = {
    Pattern.NONE: "no drop",
    Pattern.AT_RANK: "a drop at r",
    Pattern.BEYOND_RANK: "a drop beyond r",
    Pattern.TWO_DROPS: "two drops",
}
"""What a reader is told of a pattern."""
MOST_COLUMNS = 40
"""Adapters that a picture shows one by one."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of C in one matrix, with what :func:`subspace.spectral_pattern` found."""

    path: str
    """The matrix in the model, which decides the panel (:func:`experiments.mining.summary.group_of`)."""
    sigma: np.ndarray
    """(p,), decreasing."""
    rank: int
    """r of the adapters."""
    pattern: Pattern
    """The behaviour of the spectrum, which decides the colour."""
    drops: tuple[int, int]
    """Singular values before the drop at r, and before the largest one beyond r; 0 where there is none."""


def draw_spectra(spectra: Sequence[Spectrum]) -> Figure:
    """Singular values of C, one panel per kind of matrix, one curve per matrix, coloured by pattern (Figs. 2, 4, S3–S34)."""
    groups = by_group(spectra)
    figure, panels = group_panels({name: len(members) for name, members in groups.items()}, share_y=False)
    logarithmic(panels.values())
    for members, panel in zip(groups.values(), panels.values(), strict=True):
        own = [spectra[i] for i in members]
        curves = [above_rounding(each.sigma) for each in own]
        colors = [PATTERN_COLORS[each.pattern] for each in own]
        points = [np.column_stack([np.arange(1, curve.size + 1), curve]) for curve in curves]
        panel.add_collection(LineCollection(points, colors=colors, linewidths=0.9, alpha=0.7))
        drops = [
            (drop, curve[drop - 1], color)
            for each, curve, color in zip(own, curves, colors, strict=True)
            for drop in each.drops
            if drop
        ]
        if drops:
            index, sigma, color = zip(*drops, strict=True)
            panel.scatter(index, sigma, s=9, c=color, zorder=3)
        panel.autoscale_view()
        panel.axvline(own[0].rank, color="#999999", lw=0.8, ls=":")
        panel.set_xlabel("index (dotted: r)", fontsize=7, labelpad=1)
    next(iter(panels.values())).set_ylabel("singular value of C", fontsize=8)
    entries: dict[str, Artist] = {
        PATTERN_NAMES[pattern]: Line2D([], [], color=color) for pattern, color in PATTERN_COLORS.items()
    }
    legend_below(figure, entries)
    return figure


def above_rounding(sigma: np.ndarray) -> np.ndarray:
    """Singular values (p,), NaN where they are float32's rounding of the largest."""
    return np.where(sigma > sigma[0] * sigma.size * np.finfo(np.float32).eps, sigma, np.nan)


def draw_weights(adapters: Sequence[str], summaries: Sequence[MatrixSummary]) -> Figure:
    """k · w_i of every matrix (a row) and adapter (a column): 1 is an equal say, near 0 an outlier.

    A histogram of more than :data:`MOST_COLUMNS` adapters, and of such of which some lack matrices.
    """
    if len(adapters) > MOST_COLUMNS or any(len(summary.weights) != len(adapters) for summary in summaries):
        return _draw_weights_together(summaries)
    weights = np.array([summary.weights for summary in summaries]) * len(adapters)
    figure = Figure(figsize=(max(4.0, 0.8 * len(adapters) + 3), 5.5), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(weights, aspect="auto", cmap="RdBu", vmin=0, vmax=2, interpolation="nearest")
    panel.set_xticks(range(len(adapters)), adapters, rotation=45, ha="right", fontsize=8)
    kinds = [group_of(summary.path) for summary in summaries]
    starts = [i for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]
    panel.set_yticks(starts, [kinds[i] for i in starts], fontsize=7)
    figure.colorbar(image, ax=panel, label="k · weight")
    return figure


def _draw_weights_together(summaries: Sequence[MatrixSummary]) -> Figure:
    """How often each k · w_i occurs, over all matrices and adapters."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    panel = figure.subplots()
    panel.hist(np.concatenate([np.array(x.weights) * len(x.weights) for x in summaries]), bins=60, color="#555555")
    panel.set_xlabel("k · weight")
    panel.set_ylabel("matrices × adapters")
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def draw_energy(summaries: Sequence[MatrixSummary]) -> Figure:
    """Share of an adapter's energy in the subspace over the layers: with a say in it, left out of it, and by chance."""
    groups = by_group(summaries)
    figure, panels = group_panels({name: len(members) for name, members in groups.items()}, share_y=False)
    logarithmic(panels.values())
    entries: dict[str, Artist] = {}
    for members, panel in zip(groups.values(), panels.values(), strict=True):
        own, x = [summaries[i] for i in members], np.arange(len(members))
        captured = [np.mean(each.captured) for each in own]
        (entries["own subspace"],) = panel.plot(x, captured, "o-", ms=3, color="#111111")
        if all(each.held_out is not None for each in own):
            (entries["held out"],) = panel.plot(x, [each.held_out for each in own], "s-", ms=3, color="#c8322b")
        (entries["by chance"],) = panel.plot(x, [each.chance for each in own], ":", color="#777777")
        panel.set_ylim(top=1.3)
        panel.set_xlabel("layer" if own[0].layer is not None else "matrix", fontsize=7, labelpad=1)
    next(iter(panels.values())).set_ylabel("share of energy", fontsize=8)
    legend_below(figure, entries)
    return figure
