"""What a reconstruction looks like beside the truth, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from experiments.evaluation.scene import FEWEST, Evaluated, align_depth
from experiments.reports.point_picture import paint

_MOST_VIEWS = 6
_CELLS = 320
"""Cells along the longer side of a rendered cloud."""
_SIDE = np.radians(25)
"""Angle, to the side, between the first camera and whoever looks at the clouds, in radians."""
_ABOVE = np.radians(15)
"""Angle, upwards, between the first camera and whoever looks at the clouds, in radians."""
_COLOURS = "inferno"
_WIDTH = 11.0
"""Width of a figure in inches."""


def draw(evaluated: Evaluated, images: UInt8[np.ndarray, "s h w 3"], extrinsics: Float[np.ndarray, "s 3 4"]) -> Figure:
    """:func:`draw_scene`, or of a scene without poses :func:`draw_depth`."""
    if evaluated.alignment is None:
        return draw_depth(evaluated, images)
    return draw_scene(evaluated, images, extrinsics)


def draw_scene(
    evaluated: Evaluated, images: UInt8[np.ndarray, "s h w 3"], extrinsics: Float[np.ndarray, "s 3 4"]
) -> Figure:
    """Clouds above (truth, aligned prediction, prediction coloured by error), views with their error maps below.

    A pixel's error is the distance of its aligned point from its true point, in the truth's unit; the scale ends at the
    95th percentile. All clouds are seen from one place, beside and above the first camera.

    Args:
        evaluated: from :func:`experiments.evaluation.scene.evaluate_scene`.
        images: of the views, sRGB.
        extrinsics: of the true cameras.
    """
    mask, aligned, truth = evaluated.mask, evaluated.aligned, evaluated.truth.points
    errors = np.where(mask, np.linalg.norm(aligned - truth, axis=-1), np.nan)
    scale = Normalize(0, float(np.nanpercentile(errors, 95)) or 1.0)
    heat = (255 * colormaps[_COLOURS](scale(errors[mask]))[:, :3]).astype(np.uint8)
    views = shown_views(len(mask))

    place = Viewpoint.of(truth[mask], extrinsics[0])
    upper, lower = _WIDTH / 3 * place.size[1] / place.size[0] + 0.3, 2 * _WIDTH / max(len(views), 4)
    figure = Figure(figsize=(_WIDTH, upper + lower), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[upper, lower])[:, 0]
    clouds = (
        ("truth", truth, images[mask]),
        ("prediction, aligned", aligned, images[mask]),
        ("prediction, by error", aligned, heat),
    )
    for axes, (title, cloud, colours) in zip(halves[0].subplots(1, 3), clouds, strict=True):
        axes.imshow(place.picture(cloud[mask], colours), origin="lower", interpolation="nearest")
        axes.set_title(title, fontsize=9)
    grid = halves[1].subplots(2, len(views), squeeze=False)
    for column, view in enumerate(views):
        grid[0, column].imshow(images[view])
        grid[1, column].imshow(errors[view], cmap=_COLOURS, norm=scale)
    for axes in [*halves[0].axes, *grid.flat]:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
    bar = halves[1].colorbar(ScalarMappable(scale, _COLOURS), ax=grid, extend="max", fraction=0.02)
    bar.set_label("error (unit of the truth)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def draw_depth(evaluated: Evaluated, images: UInt8[np.ndarray, "s h w 3"]) -> Figure:
    """Views, their true depth, the predicted one after the alignment of each view, and the relative difference.

    Args:
        evaluated: from :func:`experiments.evaluation.scene.evaluate_depth`.
        images: of the views, sRGB.
    """
    predicted, truth, mask = evaluated.predicted, evaluated.truth, evaluated.mask
    shown = [view for view in range(len(mask)) if np.count_nonzero(mask[view]) >= FEWEST]
    views = [shown[i] for i in shown_views(len(shown))]
    true_depths = [np.where(mask[view], truth.depths[view], np.nan) for view in views]
    fits = [align_depth(predicted, truth, mask, view)[0] for view in views]
    depths = [fit.scale * predicted.depths[view] + fit.shift[2] for fit, view in zip(fits, views, strict=True)]
    errors = [np.abs(depth / true - 1) for depth, true in zip(depths, true_depths, strict=True)]
    range_ = Normalize(*np.nanpercentile(true_depths, (1, 99)))
    scale = Normalize(0, float(np.nanpercentile(errors, 95)) or 1.0)

    figure = Figure(figsize=(_WIDTH, 4 * _WIDTH / max(len(views), 4)), layout="constrained")
    grid = figure.subplots(4, len(views), squeeze=False)
    for column, view in enumerate(views):
        grid[0, column].imshow(images[view])
        grid[1, column].imshow(true_depths[column], cmap="viridis", norm=range_)
        grid[2, column].imshow(np.where(mask[view], depths[column], np.nan), cmap="viridis", norm=range_)
        grid[3, column].imshow(errors[column], cmap=_COLOURS, norm=scale)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
    for rows, norm, colours, label in (
        (grid[1:3], range_, "viridis", "depth (unit of the truth)"),
        (grid[3:], scale, _COLOURS, "relative error"),
    ):
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=rows, extend="max", fraction=0.02)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return figure


def shown_views(views: int, most: int = _MOST_VIEWS) -> Int[np.ndarray, " shown"]:
    """Places of at most ``most`` of some views, from the first to the last."""
    return np.unique(np.linspace(0, views - 1, most).round().astype(int))


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """Where clouds are looked at from, beside and above a camera, and what of them is seen."""

    frame: Float[np.ndarray, "3 3"]
    """Directions right, up and away."""
    low: Float[np.ndarray, "2"]
    """Lower left corner of the picture."""
    cell: float
    """Side of a cell of the picture, in the points' unit."""
    size: Int[np.ndarray, "2"]
    """Width and height of the picture in cells."""

    @classmethod
    def of(cls, points: Float[np.ndarray, "n 3"], extrinsics: Float[np.ndarray, "3 4"]) -> Viewpoint:
        """Of somebody who sees nearly all of the ``points`` and looks where a camera does."""
        turn = np.array([[np.cos(_SIDE), 0, np.sin(_SIDE)], [0, 1, 0], [-np.sin(_SIDE), 0, np.cos(_SIDE)]])
        dive = np.array([[1, 0, 0], [0, np.cos(_ABOVE), -np.sin(_ABOVE)], [0, np.sin(_ABOVE), np.cos(_ABOVE)]])
        right, down, away = dive @ turn @ extrinsics[:, :3]
        frame = np.stack([right, -down, away])
        low, high = np.percentile((points @ frame.T)[:, :2], (0.5, 99.5), axis=0)
        margin = 0.05 * (high - low).max()
        low, high = low - margin, high + margin
        cell = (high - low).max() / _CELLS
        return cls(frame, low, cell, np.maximum(np.ceil((high - low) / cell).astype(int), 1))

    def picture(
        self, points: Float[np.ndarray, "n 3"], colours: UInt8[np.ndarray, "n 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The first row is the lowest."""
        return paint(points @ self.frame.T, colours, self.low, self.cell, self.size)
