"""Where a pixel is: one convention for the whole project, and what to do where others have another.

**The centre of the upper left pixel is (0, 0).** Pixel coordinates are (column, row); a picture of W × H pixels reaches from
(−0.5, −0.5) to (W − 0.5, H − 0.5), and its middle is ((W − 1)/2, (H − 1)/2). Every intrinsics matrix, every map between
pictures and every file of this project follows it, unless it says otherwise.

Others count from the picture's **corner**, which puts the first centre at (0.5, 0.5) and the middle at (W/2, H/2): COLMAP and
what reads its models, scene descriptions for Blender, and VGGT's camera head. Its fields of view reach from edge to edge, and
:func:`vggt_jax.pose_encoding.decode_pose` returns the principal point (W/2, H/2) as the official code does. That code then
takes such intrinsics for the coordinates 0, 1, 2 … of pixels, which moves every ray half a pixel to the upper left; where the
official values are not asked for, :func:`from_corner` stands between ``decode_pose`` and whatever uses pixels. Evaluation and
pre-training ask for them, as VGGT's own evaluation does: what they measure counts those half pixels as the model's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

CORNER = 0.5
"""What a coordinate that is counted from the corner is larger by."""


def from_corner(intrinsics: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Intrinsics for coordinates from the first pixel's centre, given those from the picture's corner."""
    return _moved(intrinsics, -CORNER)


def to_corner(intrinsics: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Intrinsics for coordinates from the picture's corner, given those from the first pixel's centre."""
    return _moved(intrinsics, CORNER)


def cut_and_scaled(scale: tuple[float, float], corner: tuple[float, float]) -> Float[np.ndarray, "3 3"]:
    """The affine map, float64, between homogeneous pixels of a picture and of another one made from it.

    Resizing maps edges to edges, not centres to centres.

    Args:
        scale: horizontal and vertical size of the new picture's content by that of the old one's.
        corner: (x, y) of the old picture, counted in pixels from its corner, that becomes the new one's corner.
    """
    (scale_x, scale_y), (left, top) = scale, corner
    return np.array(
        [
            [scale_x, 0.0, scale_x * (CORNER - left) - CORNER],
            [0.0, scale_y, scale_y * (CORNER - top) - CORNER],
            [0.0, 0.0, 1.0],
        ]
    )


def _moved(intrinsics: Float[np.ndarray, "*batch 3 3"], by: float) -> Float[np.ndarray, "*batch 3 3"]:
    moved = np.array(intrinsics)
    moved[..., :2, 2] += by
    return moved
