"""The angles as a section of the report: headings, captions, files, and figures (Fig. 6, S35–S40)."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from experiments.analysis.angles import (
    AngleRow,
    Angles,
    EigenvalueRow,
    PairSummary,
    angle_rows,
    eigenvalue_rows,
    summary_of_pairs,
)
from experiments.analysis.overlap import LEVEL, SAMPLES, SIDES, Alignment, Chance, angles_of
from experiments.analysis.panels import group_starts, layer_axis, matrix_panels
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.mining.summary import by_group
from experiments.reports.panels import CHANCE, COLORS, legend_below, log_axis
from subspace.angles import Side

_ALIGNMENTS = {
    Alignment.ALIGNED: "more aligned than chance",
    Alignment.CHANCE: "like chance",
    Alignment.ORTHOGONAL: "more orthogonal than chance",
}
_ANGLES: Columns[AngleRow] = (
    ("side", lambda row: row.side),
    *OF_MATRIX,
    ("space", lambda row: row.space),
    ("dim", lambda row: row.dim),
    ("first", lambda row: row.first),
    ("second", lambda row: row.second),
    ("overlap", lambda row: row.overlap),
    ("overlap by chance", lambda row: row.chance),
    ("percentile", lambda row: row.percentile),
    ("adjusted p", lambda row: row.adjusted_p),
    ("verdict", lambda row: _ALIGNMENTS[row.alignment]),
    ("distance (Eq. 4)", lambda row: row.distance),
    ("distance percentile", lambda row: row.distance_percentile),
    ("smallest angle in degrees", lambda row: row.smallest_angle),
    ("median angle in degrees", lambda row: row.median_angle),
)
_EIGENVALUES: Columns[EigenvalueRow] = (
    ("side", lambda row: row.side),
    *OF_MATRIX,
    ("first", lambda row: row.first),
    ("second", lambda row: row.second),
    ("index", lambda row: row.index),
    ("eigenvalue", lambda row: row.eigenvalue),
    ("median by chance", lambda row: row.chance),
)
_PAIRS: Columns[PairSummary] = (
    ("side", lambda row: row.side),
    ("first", lambda row: row.first),
    ("second", lambda row: row.second),
    ("matrices", lambda row: sum(row.counts.values())),
    (_ALIGNMENTS[Alignment.ALIGNED], lambda row: row.counts[Alignment.ALIGNED]),
    (_ALIGNMENTS[Alignment.CHANCE], lambda row: row.counts[Alignment.CHANCE]),
    (_ALIGNMENTS[Alignment.ORTHOGONAL], lambda row: row.counts[Alignment.ORTHOGONAL]),
    ("median overlap", lambda row: row.overlap),
    ("median overlap / chance", lambda row: row.times_chance),
    ("median distance (Eq. 4)", lambda row: row.distance),
    ("median smallest angle in degrees", lambda row: row.smallest_angle),
)
_SHOWN: Columns[PairSummary] = (
    ("side", lambda row: row.side),
    ("pair", lambda row: f"{row.first} – {row.second}"),
    ("aligned", lambda row: row.counts[Alignment.ALIGNED]),
    ("as chance", lambda row: row.counts[Alignment.CHANCE]),
    ("orthogonal", lambda row: row.counts[Alignment.ORTHOGONAL]),
    ("overlap", lambda row: row.overlap),
    ("/ chance", lambda row: f"{row.times_chance:.2f}"),
    ("Eq. 4", lambda row: f"{row.distance:.2f}"),
    ("θ₁", lambda row: f"{row.smallest_angle:.0f}°"),
)

_DEPTH = matplotlib.colormaps["viridis"]
_NULL = (
    "Grey: what two random subspaces of the same dimensions give (uniform distribution, "
    f"{SAMPLES:,} pairs drawn for each size; the band holds 98 % of them)."
)


def angles_section(angles: Angles) -> Section:
    """Overlap of all pairs on both sides against random subspaces (Sec. 4.3, Fig. 6, S35–S40)."""
    pairs = summary_of_pairs(angles)
    return Section(
        title="Angles between attributes",
        text=[
            "The overlap of two subspaces is the mean squared cosine of their principal angles: the share of one that lies in "
            "the other, 0 to 1. The paper's eigenvalues (Eq. 5) are 1 ± cos θ, so the overlap is also their mean squared "
            "distance from 1; Eq. 4's distance is the smallest of them and sees one pair of directions only. In spaces of "
            "many dimensions random subspaces are nearly orthogonal, so that an eigenvalue above 0.5 says nothing by "
            f"itself: each overlap is compared with {SAMPLES:,} random pairs of the same dimensions, and differs from chance "
            f"if it lies in a tail at a false discovery rate of {LEVEL:.0%} (Benjamini–Hochberg, all pairs and matrices of "
            "a side together).",
            table(
                pairs,
                _SHOWN,
                "Matrices that are more aligned than chance, like chance, and more orthogonal than chance; then medians over "
                "all matrices: overlap, how many times that of random subspaces, Eq. 4's distance, smallest principal angle.",
            ),
        ],
        figures=_figures(angles),
        sheets={
            "angles": sheet(angle_rows(angles), _ANGLES),
            "eigenvalues": sheet(eigenvalue_rows(angles), _EIGENVALUES),
            "pairs": (summary := sheet(pairs, _PAIRS)),
        },
        numbers=summary.records(),
    )


def _figures(angles: Angles) -> dict[str, tuple[Figure, str]]:
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
    figure, panels = matrix_panels(angles.matrices, SIDES)
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
    figure, panels = matrix_panels(angles.matrices, SIDES)
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
