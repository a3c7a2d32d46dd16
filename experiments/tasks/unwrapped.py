"""A body's surface as its texture sees it: for each texel a place on the body in rest, and what part of it that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt


@dataclass(frozen=True)
class Unwrapped:
    """Texels in rows from the top; those of no triangle repeat their nearest neighbours, so that seams are clean."""

    places: Float[np.ndarray, "h w 3"]
    """Places of the texels on the body, metres."""
    weights: Float[np.ndarray, "h w k"]
    """Shares of the body's parts at each texel."""


def unwrap(
    vertices: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, "n k"],
    faces: Int[np.ndarray, "m 3"],
    uv: Float[np.ndarray, "m 3 2"],
    resolution: int,
) -> Unwrapped:
    """Interpolate what is known at the vertices to the middles of texels.

    Args:
        vertices: metres.
        weights: of each vertex.
        faces: triangles.
        uv: of their corners, 0…1.
        resolution: width and height of the texture.
    """
    corners = uv * (1, -1) * resolution + (0, resolution)  # x to the right, y down, in texels
    owner = Image.new("I", (resolution, resolution))
    draw = ImageDraw.Draw(owner)
    for number, corner in enumerate(corners.round().astype(int).reshape(-1, 6).tolist()):
        draw.polygon(corner, fill=number + 1)
    owners = np.asarray(owner)
    nearest = distance_transform_edt(owners == 0, return_distances=False, return_indices=True)
    assert nearest is not None
    row, column = nearest
    a, b, c = np.moveaxis(corners[owners[row, column] - 1], -2, 0)
    point = np.stack([column, row], axis=-1) + 0.5
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    share = np.stack(
        [_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)], axis=-1
    )
    share = np.clip(share / area[..., None], -1, 2)  # a texel's middle may lie a little outside of its triangle
    total = share.sum(axis=-1, keepdims=True)
    share = np.where(np.abs(total) < 0.1, 1 / 3, share / np.where(total == 0, 1, total))  # a triangle without area
    index = faces[owners[row, column] - 1]
    known = np.concatenate([vertices, weights], axis=1)
    values = sum(share[..., i, None] * known[index[..., i]] for i in range(3))
    assert isinstance(values, np.ndarray)
    return Unwrapped(values[..., :3], values[..., 3:])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
