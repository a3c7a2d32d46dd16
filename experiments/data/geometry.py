"""Depth maps to points and across views, in NumPy and double precision: for loaders, which should not touch a device.

Conventions are those of :mod:`vggt_jax.geometry`: extrinsics world to camera, pixel (0, 0) has its centre at (0, 0).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def unproject(
    depths: Float[np.ndarray, "*batch h w"],
    extrinsics: Float[np.ndarray, "*batch 3 4"],
    intrinsics: Float[np.ndarray, "*batch 3 3"],
) -> Float[np.ndarray, "*batch h w 3"]:
    """The point of each pixel in the world's frame; the camera's centre where the depth is 0."""
    height, width = depths.shape[-2:]
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(np.float64)
    rays = np.einsum("...ij,hwj->...hwi", np.linalg.inv(intrinsics.astype(np.float64)), pixels)
    in_camera = rays * depths[..., None] - extrinsics[..., None, None, :, 3]
    return np.einsum("...ji,...hwj->...hwi", extrinsics[..., :3].astype(np.float64), in_camera)


def project(
    points: Float[np.ndarray, "*points 3"], extrinsics: Float[np.ndarray, "3 4"], intrinsics: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "*points 2"], Float[np.ndarray, "*points"]]:
    """Pixels (column, row) and depths of world points in one camera; pixels behind it are NaN."""
    in_camera = points @ extrinsics[:, :3].T.astype(np.float64) + extrinsics[:, 3]
    depth = in_camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (in_camera @ intrinsics.T.astype(np.float64))[..., :2] / depth[..., None]
    return np.where(depth[..., None] > 0, pixels, np.nan), depth
