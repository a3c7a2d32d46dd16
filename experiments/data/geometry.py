"""Depth maps to points and across views, in NumPy and double precision: for loaders, which should not touch a device.

Conventions are those of :mod:`vggt_jax.geometry`: extrinsics world to camera, pixel (0, 0) has its centre at (0, 0).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_NO_ROTATION = 1e-3
"""Largest error of a product of rows of a rotation."""
_SAME_SURFACE = 0.05
"""Neighbouring pixels whose depths differ by more, relatively, do not show one smooth surface."""


def is_rotation(found: Float[np.ndarray, "*batch 3 3"], tolerance: float = _NO_ROTATION) -> Bool[np.ndarray, "*batch"]:
    """Which matrices are finite, turn, and neither mirror nor stretch."""
    with np.errstate(all="ignore"):
        error = np.abs(found @ np.swapaxes(found, -1, -2) - np.eye(3)).max(axis=(-1, -2))
        return (error < tolerance) & (np.linalg.det(found) > 0)


def is_pinhole(found: Float[np.ndarray, "*batch 3 3"]) -> Bool[np.ndarray, "*batch"]:
    """Which intrinsics are finite, have focal lengths above 0 and the last row 0 0 1."""
    focal = found[..., [0, 1], [0, 1]]
    last = (found[..., 2, :] == [0, 0, 1]).all(axis=-1)
    return np.isfinite(found).all(axis=(-1, -2)) & (focal > 0).all(axis=-1) & last


def unproject(
    depths: Float[np.ndarray, "*batch h w"],
    extrinsics: Float[np.ndarray, "*batch 3 4"],
    intrinsics: Float[np.ndarray, "*batch 3 3"],
) -> Float[np.ndarray, "*batch h w 3"]:
    """The point of each pixel in the world's frame; the camera's centre where the depth is 0."""
    height, width = depths.shape[-2:]
    turned_back = np.swapaxes(extrinsics[..., :3].astype(np.float64), -1, -2)
    # One product for each image, of (column · depth, row · depth, depth, 1): loops over three coordinates are slow in NumPy.
    to_world = np.concatenate(
        [turned_back @ np.linalg.inv(intrinsics.astype(np.float64)), -turned_back @ extrinsics[..., 3:]], axis=-1
    )
    pixels = np.empty((*depths.shape, 4))
    with np.errstate(invalid="ignore"):  # an infinite depth makes no point, but no noise either
        pixels[..., 2] = depths
        np.multiply(np.arange(width), depths, out=pixels[..., 0])
        np.multiply(np.arange(height)[:, None], depths, out=pixels[..., 1])
        pixels[..., 3] = 1
        points = pixels.reshape(*depths.shape[:-2], height * width, 4) @ np.swapaxes(to_world, -1, -2)
    return points.reshape(*depths.shape, 3)


def project(
    points: Float[np.ndarray, "*points 3"], extrinsics: Float[np.ndarray, "3 4"], intrinsics: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "*points 2"], Float[np.ndarray, "*points"]]:
    """Pixels (column, row) and depths of world points in one camera; pixels behind it are NaN."""
    in_camera = points @ extrinsics[:, :3].T.astype(np.float64) + extrinsics[:, 3]
    depth = in_camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (in_camera @ intrinsics.T.astype(np.float64))[..., :2] / depth[..., None]
    return np.where(depth[..., None] > 0, pixels, np.nan), depth


def normals_from_depth(
    depths: Float[np.ndarray, "h w"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals in the camera's frame, turned to the camera: across the points of a pixel's four neighbours.

    They are 0 where the depth of the pixel or of one of these neighbours is 0, or theirs differ by more than 5 % from its:
    across the edge of an object there is no normal.

    Args:
        depths: z, 0 where unknown.
        intrinsics: in pixels; the centre of the upper left one is (0, 0).
    """
    points = unproject(depths, np.eye(3, 4), intrinsics)
    inner = depths[1:-1, 1:-1]
    known = inner > 0
    for neighbour in (depths[1:-1, :-2], depths[1:-1, 2:], depths[:-2, 1:-1], depths[2:, 1:-1]):
        known &= (neighbour > 0) & (np.abs(neighbour - inner) <= _SAME_SURFACE * inner)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normals = np.cross(down, across)  # y points down: this order looks to the camera
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    found = np.zeros((*depths.shape, 3))
    found[1:-1, 1:-1] = np.where(known[..., None], normals / np.maximum(length, np.finfo(float).tiny), 0)
    return found
