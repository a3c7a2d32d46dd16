"""One picture of a whole reconstruction: photos, depths, confidences, and the point cloud from two sides."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke

from experiments.reconstruction.scene import FRUSTUM_EDGES, PointCloud, ReconstructedScene
from experiments.reports.point_picture import paint

_MOST_VIEWS = 6
_DEPTH_COLOURS, _CONFIDENCE_COLOURS = "turbo", "viridis"
_UP_WEIGHT = 0.02
_PANEL_ASPECT = 1.25
"""Width by height of a rendered view."""
_GRID = 480
"""Cells along the longer side of a rendered view."""


def draw_overview(path: Path, scene: ReconstructedScene, cloud: PointCloud, title: str) -> None:
    """Write the picture as PNG.

    Up to six views are shown, evenly chosen. Colours saturate at the 2nd and 98th percentile of all views. Each rendered
    view is a parallel projection of ``cloud`` with the nearest point on top; far strays are cut off.
    """
    views = np.unique(np.linspace(0, len(scene.names) - 1, _MOST_VIEWS).round().astype(int))
    height, width = scene.depth.shape[1:]
    columns = max(len(views), 2)
    row_inches = 2.3 * min(height / width, 1.5)
    wide, upper, lower = 2.4 * columns + 1.0, 3 * row_inches + 0.4, 1.2 * columns / _PANEL_ASPECT + 0.7
    figure = Figure(figsize=(wide, upper + lower + 0.4), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[upper, lower])
    figure.suptitle(title, fontsize=11, parse_math=False)
    _draw_views(halves[0, 0], scene, views)
    _draw_cloud(halves[1, 0], scene, cloud)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # photos may be named in a script that the font lacks
        figure.savefig(path, dpi=130)


def _draw_views(figure: SubFigure, scene: ReconstructedScene, views: np.ndarray) -> None:
    grid = figure.subplots(3, len(views) + 1, squeeze=False, width_ratios=[1] * len(views) + [0.06])
    axes, bars = grid[:, :-1], grid[:, -1]
    bars[0].axis("off")
    maps = ((scene.depth, _DEPTH_COLOURS, "depth (scene units)"), (scene.confidence, _CONFIDENCE_COLOURS, "confidence"))
    for column, view in enumerate(views):
        name = scene.names[view] if len(scene.names[view]) <= 26 else f"…{scene.names[view][-25:]}"
        axes[0, column].imshow(scene.pictures[view])
        axes[0, column].set_title(f"{view + 1}. {name}", fontsize=8, parse_math=False)
    for row, (values, colours, label) in enumerate(maps, start=1):
        scale = Normalize(*np.percentile(values[scene.is_photo], (2, 98)))
        for column, view in enumerate(views):
            axes[row, column].imshow(np.where(scene.is_photo[view], values[view], np.nan), cmap=colours, norm=scale)
        bar = figure.colorbar(ScalarMappable(scale, colours), cax=bars[row], extend="both")
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_color("0.8")


def _draw_cloud(figure: SubFigure, scene: ReconstructedScene, cloud: PointCloud) -> None:
    up, forward = _up(scene.extrinsics), _mean_axis(scene.extrinsics[:, 2, :3])
    level = _unit(forward - up * (forward @ up), fallback=_unit(np.cross(up, (1.0, 0.0, 0.0)), (0.0, 0.0, 1.0)))
    across = np.cross(level, up)
    slanted = _unit(level * np.cos(0.5) + across * np.sin(0.5), level)  # half a radian to the side of the cameras
    dive = np.radians(30)
    above = np.stack([across, level, -up])
    oblique = np.stack([np.cross(slanted, up), up * np.cos(dive) + slanted * np.sin(dive), np.zeros(3)])
    oblique[2] = np.cross(oblique[1], oblique[0])
    left, right = figure.subplots(1, 2)
    _render(left, scene, cloud, above)
    _render(right, scene, cloud, oblique)
    left.set_title("from above (scene units)", fontsize=9)
    right.set_title("from behind, 30° down (scene units)", fontsize=9)


def _render(axes: Axes, scene: ReconstructedScene, cloud: PointCloud, frame: Float[np.ndarray, "3 3"]) -> None:
    """Points and cameras in a parallel projection; the rows of ``frame`` point right, up and away."""
    frusta = scene.frusta(cloud) @ frame.T
    points = cloud.positions @ frame.T
    inner = np.percentile(points[:, :2], (1, 99), axis=0)
    corners = np.concatenate([inner, frusta[..., :2].reshape(-1, 2)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.04 * (high - low).max() or 1.0
    width, height = high - low + 2 * margin
    half = np.maximum([width, height], [_PANEL_ASPECT * height, width / _PANEL_ASPECT]) / 2
    low, high = (low + high) / 2 - half, (low + high) / 2 + half
    cell = (high - low).max() / _GRID
    size = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    picture = paint(points, cloud.colours, low, cell, size)
    extent = (low[0], low[0] + size[0] * cell, low[1], low[1] + size[1] * cell)
    axes.imshow(picture, origin="lower", extent=extent, interpolation="nearest")
    halo = [withStroke(linewidth=2, foreground="white")]
    for view, corners in enumerate(frusta[..., :2]):
        colour = "tab:red" if view else "tab:blue"
        axes.add_collection(
            LineCollection([corners[list(edge)] for edge in FRUSTUM_EDGES], colors=colour, linewidths=1)
        )
        if len(frusta) <= 4 * _MOST_VIEWS:
            axes.annotate(
                str(view + 1),
                corners[0],
                (3, 3),
                textcoords="offset points",
                fontsize=7,
                color=colour,
                path_effects=halo,
            )
    axes.tick_params(labelsize=7)
    axes.spines[:].set_color("0.8")
    axes.set_aspect("equal")


def _up(extrinsics: Float[np.ndarray, "views 3 4"]) -> Float[np.ndarray, "3"]:
    """The world's upward direction, supposing that photos are taken looking up or down, but without a tilt to the side.

    It is orthogonal to what is right in the pictures. Where the cameras turn too little to tell, what is up in them
    decides.
    """
    right, upward = extrinsics[:, 0, :3], _mean_axis(-extrinsics[:, 1, :3])
    spread = right.T @ right / len(right) - _UP_WEIGHT * np.outer(upward, upward)
    up = np.linalg.eigh(spread).eigenvectors[:, 0]
    return up if up @ upward >= 0 else -up


def _mean_axis(axes: Float[np.ndarray, "views 3"]) -> Float[np.ndarray, "3"]:
    """The direction of the cameras' axes on average; the first one's where they cancel out."""
    return _unit(axes.mean(axis=0), fallback=axes[0])


def _unit(vector: np.ndarray, fallback: np.ndarray | tuple[float, ...]) -> Float[np.ndarray, "3"]:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-3 else np.asarray(fallback)
