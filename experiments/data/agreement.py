"""Do the views of a scene agree? Depth, cameras and their conventions are right only if they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from experiments.data.dataset import Views
from experiments.data.geometry import normals_from_depth, project, unproject

TOLERANCE, ROUGH = 0.01, 0.05
"""Largest relative difference of two depths that agree, and of two that agree roughly, as those of a phone's LiDAR do."""
ALL_PAIRS = 9
"""Up to so many views each is put into every other; of more, into those 1, 2, 4, 8, … places away."""
POINTS = 4096
"""Pixels of a view that are put into others, at most: every n-th of its rows and columns."""
_SAME_SURFACE_COSINE = np.cos(np.radians(20))


@dataclass(frozen=True)
class Geometry:
    """Depth maps and cameras (OpenCV; the centre of the upper left pixel is (0, 0)) of S views."""

    depths: Float[np.ndarray, "s h w"]
    """z in the camera; 0 where it is unknown."""
    normals: Float[np.ndarray, "s h w 3"]
    """Unit normals in each camera's frame; 0 where unknown."""
    extrinsics: Float[np.ndarray, "s 3 4"]
    """World to camera, whatever the world, in the unit of the depths."""
    intrinsics: Float[np.ndarray, "s 3 3"]
    """In pixels of the depth maps."""
    object_ids: Integer[np.ndarray, "s h w"] | None = None
    """Labels of what the pixels show."""

    @classmethod
    def of(cls, views: Views) -> Geometry:
        """Of a scene of a data set."""
        depths = np.where(views.valid, views.depths, 0)
        return cls(depths, views.normals, views.extrinsics, views.intrinsics, views.object_ids)

    @classmethod
    def of_depths(
        cls,
        depths: Float[np.ndarray, "s h w"],
        extrinsics: Float[np.ndarray, "s 3 4"],
        intrinsics: Float[np.ndarray, "s 3 3"],
    ) -> Geometry:
        """With the normals of the depths."""
        normals = np.stack([normals_from_depth(*view) for view in zip(depths, intrinsics, strict=True)])
        return cls(depths, normals, extrinsics, intrinsics)


@dataclass(frozen=True)
class Agreement:
    """Over ordered pairs of views."""

    pixels: int
    """Pixels with a depth that were put into another view."""
    co_visible: int
    """Of these, pixels whose surface the other view sees too."""
    agreeing: int
    """Of the co-visible ones, pixels whose unprojected point has the other view's depth."""
    roughly: int
    """The same with the larger tolerance."""

    @property
    def share(self) -> float:
        """Of co-visible pixels that agree; NaN where there are none."""
        return self.agreeing / self.co_visible if self.co_visible else float("nan")

    @property
    def rough_share(self) -> float:
        """Of co-visible pixels that agree roughly; NaN where there are none."""
        return self.roughly / self.co_visible if self.co_visible else float("nan")


def cross_view_agreement(scene: Geometry) -> Agreement:
    """Unproject the depth of each view into others and compare.

    A pixel is co-visible if its point falls between four pixels of the other view that show the same object with a normal
    less than 20° off: a criterion that does not look at depth. The other view's depth is interpolated as that of a plane,
    in 1/z, so that steep surfaces count too.
    """
    count, height, width = scene.depths.shape
    step = max(1, int(np.ceil(np.sqrt(height * width / POINTS))))
    grid = np.zeros((height, width), bool)
    grid[step // 2 :: step, step // 2 :: step] = True
    normals = np.einsum("sji,shwj->shwi", scene.extrinsics[..., :3], scene.normals.astype(np.float32))
    pixels = co_visible = agreeing = roughly = 0
    for source in range(count):
        chosen = grid & (scene.depths[source] > 0)
        points = unproject(scene.depths[source], scene.extrinsics[source], scene.intrinsics[source])[chosen]
        for target in _others(source, count):
            place, depth = project(points, scene.extrinsics[target], scene.intrinsics[target])
            inside = _inside(place, (height, width))
            corner, weights = _neighbours(place[inside])
            rows, columns = corner[..., 1], corner[..., 0]
            around = scene.depths[target][rows, columns]
            same = (around > 0).all(-1)
            cosine = np.einsum("pki,pi->pk", normals[target][rows, columns], normals[source][chosen][inside])
            same &= (cosine > _SAME_SURFACE_COSINE).all(-1)
            if scene.object_ids is not None:
                label = scene.object_ids[source][chosen][inside]
                same &= (scene.object_ids[target][rows, columns] == label[:, None]).all(-1)
            difference = np.abs(depth[inside][same] * (weights[same] / around[same]).sum(-1) - 1)
            pixels += len(points)
            co_visible += difference.size
            agreeing += int((difference <= TOLERANCE).sum())
            roughly += int((difference <= ROUGH).sum())
    return Agreement(pixels, co_visible, agreeing, roughly)


def _others(source: int, count: int) -> Iterator[int]:
    """The views that a view is put into."""
    for target in range(count):
        distance = abs(target - source)
        if distance and (count <= ALL_PAIRS or distance & (distance - 1) == 0):
            yield target


def _inside(pixels: Float[np.ndarray, "p 2"], size: tuple[int, int]) -> Bool[np.ndarray, " p"]:
    with np.errstate(invalid="ignore"):
        return np.all((pixels >= 0) & (pixels < np.array(size[::-1]) - 1), axis=-1)


def _neighbours(pixels: Float[np.ndarray, "p 2"]) -> tuple[Integer[np.ndarray, "p 4 2"], Float[np.ndarray, "p 4"]]:
    """The four pixels around each position, column first, and their bilinear weights."""
    low = np.floor(pixels).astype(int)
    offsets = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    fraction = (pixels - low)[:, None]
    weights = np.where(offsets == 1, fraction, 1 - fraction).prod(-1)
    return low[:, None] + offsets, weights
