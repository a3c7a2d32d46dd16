"""A reconstruction in NumPy: everything that the writers write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from experiments.accelerators.double_precision import double_precision
from experiments.reconstruction.framing import PhotoFraming
from vggt_jax.geometry import unproject_depth
from vggt_jax.pixels import to_corner

# The corners of a frustum that its edges join: the camera's centre is 0, the picture's corners follow clockwise.
FRUSTUM_EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))

_FRUSTUM_SHARE = 0.06
"""Length of a drawn camera as a share of the scene's diagonal."""


@dataclass(frozen=True)
class PointCloud:
    """Coloured points, each with the pixel that it comes from."""

    positions: Float[np.ndarray, "points 3"]
    """float64, in the world's frame and the scene's unit."""
    colours: UInt8[np.ndarray, "points 3"]
    """RGB, as the model sees it."""
    pixels: Int[np.ndarray, "points 3"]
    """View, row and column in the model's picture."""

    def __len__(self) -> int:
        return len(self.positions)

    def subsample(self, most: int) -> PointCloud:
        """At most ``most`` of the points, drawn without replacement by a fixed seed, in their old order."""
        if len(self) <= most:
            return self
        chosen = np.sort(np.random.default_rng(0).choice(len(self), most, replace=False))
        return PointCloud(self.positions[chosen], self.colours[chosen], self.pixels[chosen])


@dataclass(frozen=True)
class ReconstructedScene:
    """Pictures, depth maps and cameras of some views.

    Cameras are OpenCV's: extrinsics map world to camera, x right, y down, z forward; pixels are those of
    :mod:`vggt_jax.pixels`. Lengths have the scene's own unit.
    """

    names: tuple[str, ...]
    """Names of the photos."""
    framings: tuple[PhotoFraming, ...]
    """Where each photo lies in the model's picture."""
    pictures: UInt8[np.ndarray, "views height width 3"]
    """RGB, as the model sees it."""
    depth: Float[np.ndarray, "views height width"]
    """z in the camera."""
    confidence: Float[np.ndarray, "views height width"]
    """Any positive number; larger is surer."""
    extrinsics: Float[np.ndarray, "views 3 4"]
    """World to camera, float64."""
    intrinsics: Float[np.ndarray, "views 3 3"]
    """In pixels of the model's picture, float64."""
    opaque: Bool[np.ndarray, "views height width"] | None = None
    """False where a photo is transparent; None if none is."""

    @cached_property
    def points(self) -> Float[np.ndarray, "views height width 3"]:
        """Every pixel's point in the world, float64."""
        # float64 on the host: in float32 a point can miss its pixel of a large photo by more than 1/1000
        with double_precision():
            depth, extrinsics, intrinsics = (
                jnp.asarray(array, jnp.float64) for array in (self.depth, self.extrinsics, self.intrinsics)
            )
            return np.asarray(unproject_depth(depth, extrinsics, intrinsics))

    @cached_property
    def is_photo(self) -> Bool[np.ndarray, "views height width"]:
        """False in the frame that preprocessing adds around a photo, and where the photo is transparent."""
        covered = np.stack([framing.covered for framing in self.framings])
        return covered if self.opaque is None else covered & self.opaque

    @property
    def photo_intrinsics(self) -> Float[np.ndarray, "views 3 3"]:
        """Intrinsics in pixels of the photos, float64."""
        return np.stack([p.to_photo for p in self.framings]) @ self.intrinsics

    @property
    def pixel_aspects(self) -> Float[np.ndarray, " views"]:
        """fx / fy of the photos' cameras: 1 where pixels are square, as those of lenses are."""
        return self.photo_intrinsics[:, 0, 0] / self.photo_intrinsics[:, 1, 1]

    @property
    def centres(self) -> Float[np.ndarray, "views 3"]:
        """The cameras' positions in the world."""
        rotation, translation = self.extrinsics[:, :, :3], self.extrinsics[:, :, 3]
        return -np.einsum("vji,vj->vi", rotation, translation)

    def threshold(self, percentile: float) -> float:
        """The confidence that ``percentile`` % of the photos' pixels, over all views, lie below."""
        return float(np.percentile(self.confidence[self.is_photo], percentile, method="lower"))

    def cloud(self, percentile: float) -> PointCloud:
        """The points of the photos' pixels whose confidence reaches :meth:`threshold`."""
        kept = self.is_photo & (self.confidence >= self.threshold(percentile))
        return PointCloud(self.points[kept], self.pictures[kept], np.argwhere(kept))

    def frusta(self, cloud: PointCloud) -> Float[np.ndarray, "views 5 3"]:
        """The cameras as pyramids in the world, see :data:`FRUSTUM_EDGES`; their size suits the extent of ``cloud``."""
        extent = np.concatenate([_inner_box(cloud.positions), self.centres])
        length = _FRUSTUM_SHARE * np.linalg.norm(np.ptp(extent, axis=0)) or _FRUSTUM_SHARE
        frusta = []
        for framing, K, E in zip(self.framings, self.photo_intrinsics, self.extrinsics, strict=True):
            right, bottom = framing.photo_width, framing.photo_height
            corners = np.array([[0, 0, 1], [right, 0, 1], [right, bottom, 1], [0, bottom, 1]])
            rays = corners @ np.linalg.inv(to_corner(K)).T
            # equally long for every field of view
            rays *= length / np.linalg.norm(rays, axis=1, keepdims=True)
            in_camera = np.concatenate([np.zeros((1, 3)), rays])
            frusta.append((in_camera - E[:, 3]) @ E[:, :3])
        return np.stack(frusta)


def _inner_box(positions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "2 3"]:
    """Opposite corners of the box that holds all but the outermost twentieths; far strays do not count."""
    return np.percentile(positions, (5, 95), axis=0)
