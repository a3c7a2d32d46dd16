"""Figures of the angles between attributes: Fig. 6 and S35–S40, curves over the layers, and a map of pairs and layers."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from experiments.analysis.angles import Angles
from experiments.analysis.matrices import by_group
from experiments.analysis.overlap import LEVEL, SAMPLES, SIDES, Chance, angles_of
from experiments.analysis.panels import CHANCE, COLORS, group_panels, group_starts, layer_axis, legend_below, log_axis
from subspace.angles import Side

_DEPTH = matplotlib.colormaps["viridis"]
_NULL = (
    "Grey: what two random subspaces of the same dimensions give (uniform distribution, "
    f"{SAMPLES:,} pairs drawn for each size; the band holds 98 % of them)."
)


def angle_figures(angles: Angles) -> dict[str, tuple[Figure, str]]:
    """File name → figure and caption."""
    figures = {
        "overlap_map": (
            _draw_map(angles),
            "Overlap of every pair (row) in every matrix (column), against chance, on the output and the input side. Colour: "
            "log10 of the mean squared cosine of the principal angles over its mean for random subspaces, d'/n. Red: more "
            "aligned than chance; blue: more orthogonal; grey: like chance (two-sided against "
            f"{SAMPLES:,} random pairs, Benjamini–Hochberg over all cells of a side, false discovery rate {LEVEL:.0%}).",
        ),
        "overlap_layers": (
            _draw_layers(
                angles,
                lambda side, i: angles.sides[side].overlap[i],
                lambda chance: chance.overlap_range,
                "overlap",
                logarithmic=True,
            ),
            "Overlap (mean squared cosine of the principal angles; 1: the same subspace) over the layers, one curve for each "
            "pair. The upper panels compare column spaces (outputs, the paper's), the lower ones row spaces (inputs). "
            + _NULL,
        ),
        "smallest_angle": (
            _draw_layers(
                angles,
                lambda side, i: angles_of(angles.sides[side].eigenvalues[i])[:, 0],
                lambda chance: chance.smallest_angle_range,
                "smallest angle, degrees",
                logarithmic=False,
            ),
            "The smallest principal angle θ₁ of every pair over the layers, in degrees; Eq. 4's distance is 1 − cos θ₁. "
            + _NULL,
        ),
    }
    for j, (first, second) in enumerate(angles.pairs):
        figures[f"eigenvalues_{first}_{second}"] = (
            _draw_eigenvalues(angles, j),
            f"{first.capitalize()} against {second}: the 2d' generalised eigenvalues of Eq. 5 (1 ± cos θ of the principal "
            "angles; 1: orthogonal), one curve for each matrix, from the first layer (violet) to the last (yellow); "
            "outputs above, inputs below. Dashed: median of random subspaces. " + _NULL,
        )
    return figures


def _draw_eigenvalues(angles: Angles, pair: int) -> Figure:
    figure, panels = group_panels(angles.matrices, SIDES)
    for name, members in by_group(angles.matrices).items():
        for side in SIDES:
            panel = panels[side, name]
            curves = [angles.sides[side].eigenvalues[i][pair] for i in members]
            chances = {(angles.matrices[i].size(side), angles.matrices[i].dim) for i in members}
            if len(chances) == 1:
                low, median, high = angles.chance(members[0], side).eigenvalue_quantiles
                index = np.arange(1, median.size + 1)
                panel.fill_between(index, low, high, color=CHANCE, alpha=0.3, lw=0)
                panel.plot(index, median, "--", color="black", lw=0.7, zorder=3)
            points = [np.column_stack([np.arange(1, len(curve) + 1), curve]) for curve in curves]
            colors: list = [_DEPTH(0.9 * i / max(1, len(curves) - 1)) for i in range(len(curves))]
            panel.add_collection(LineCollection(points, colors=colors, linewidths=0.8, alpha=0.8))
            panel.set_xlim(0.5, max(len(curve) for curve in curves) + 0.5)
            panel.set_xlabel("index", fontsize=7, labelpad=1)
    for side in SIDES:
        panels[side, angles.matrices[0].group].set_ylabel("λ of Eq. 5", fontsize=8)
    next(iter(panels.values())).set_ylim(-0.05, 2.05)
    return figure


def _draw_layers(
    angles: Angles,
    values: Callable[[Side, int], np.ndarray],
    chance_range: Callable[[Chance], np.ndarray],
    label: str,
    *,
    logarithmic: bool,
) -> Figure:
    figure, panels = group_panels(angles.matrices, SIDES)
    entries: dict[str, Artist] = {}
    bottom = 1.0
    for name, members in by_group(angles.matrices).items():
        x = np.arange(len(members))
        for side in SIDES:
            panel = panels[side, name]
            limits = [chance_range(angles.chance(i, side)) for i in members]
            low, high = np.array(limits).T
            entries["chance"] = panel.fill_between(x, low, high, color=CHANCE, alpha=0.4, lw=1, edgecolor=CHANCE)
            curves = np.array([values(side, i) for i in members])
            for j, (first, second) in enumerate(angles.pairs):
                (entries[f"{first} – {second}"],) = panel.plot(
                    x, curves[:, j], "o-", ms=2, lw=1, color=COLORS[j % len(COLORS)]
                )
            bottom = min(bottom, low.min(), max(curves.min(), 0.1 * low.min()))
            layer_axis(panel, angles.matrices, members)
    if logarithmic:
        log_axis(panels, bottom / 1.5, 1.3)
    else:
        next(iter(panels.values())).set_ylim(0, 92)
    for side in SIDES:
        panels[side, angles.matrices[0].group].set_ylabel(label, fontsize=8)
    legend_below(figure, entries)
    return figure


def _draw_map(angles: Angles) -> Figure:
    order = np.concatenate(list(by_group(angles.matrices).values()))
    figure = Figure(figsize=(12, 1.6 + 0.42 * len(angles.pairs) * 2), layout="constrained")
    panels = figure.subplots(len(SIDES), 1, squeeze=False).ravel()
    ratios = {
        side: np.log10(np.maximum(found.overlap / found.expected[:, None], 1e-4))
        for side, found in angles.sides.items()
    }
    differing = [np.abs(ratios[side][angles.sides[side].verdict != 0]) for side in SIDES]
    largest = max([0.3, *(values.max() for values in differing if values.size)])
    colors = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#c9c9c9")
    image = None
    for side, panel in zip(SIDES, panels, strict=True):
        shown = np.where(angles.sides[side].verdict != 0, ratios[side], np.nan)[order].T
        image = panel.imshow(
            shown, aspect="auto", cmap=colors, norm=TwoSlopeNorm(0, -largest, largest), interpolation="nearest"
        )
        panel.set_yticks(
            range(len(angles.pairs)), [f"{first} – {second}" for first, second in angles.pairs], fontsize=8
        )
        starts = list(group_starts(angles.matrices))
        centres = [start + (count - 1) / 2 for _, start, count in starts]
        labels = [name for name, *_ in starts]
        panel.set_xticks(centres, labels, fontsize=7, rotation=30, ha="right", rotation_mode="anchor")
        panel.tick_params(length=0)
        for _, start, _ in starts[1:]:
            panel.axvline(start - 0.5, color="white", lw=2)
        panel.set_title(f"{side} side", fontsize=9, loc="left")
    assert image is not None
    figure.colorbar(image, ax=panels, label="log10 (overlap / chance)", shrink=0.8)
    return figure
