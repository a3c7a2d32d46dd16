"""Pinhole cameras: depth maps to points, points to pixels, rigid transforms.

Conventions, as in VGGT and OpenCV: extrinsics are world-to-camera, ``x_camera = R x_world + t``, stored as
(…, 3, 4); the camera looks along +z, x points right and y down. The centre of the upper left pixel is (0, 0),
see :mod:`vggt_jax.pixels`: pixel (0, 0) is unprojected at u = v = 0. The intrinsics that VGGT decodes count from
the picture's corner; the official code passes them in as they are, :func:`vggt_jax.pixels.from_corner` mends that.

Depth is the z coordinate in the camera, in the unit of the translations. Batch axes lead and must agree
between the arguments. Everything is differentiable.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.errors import InputError

# At and below this depth a point does not count as in front of the camera (upstream's threshold).
MIN_DEPTH = 1e-8

# Rounding to bfloat16 or TF32, the default of some accelerators, would move points by pixels.
_EXACT = jax.lax.Precision.HIGHEST


def check_trailing_shape(name: str, array: Array, *allowed: tuple[int, ...]) -> None:
    """Raise a ValueError that names the argument unless its last axes have one of the allowed shapes."""
    if not any(array.ndim >= len(shape) and array.shape[array.ndim - len(shape) :] == shape for shape in allowed):
        expected = " or ".join(f"(..., {', '.join(map(str, shape))})" for shape in allowed)
        raise InputError(f"{name} must have shape {expected}, got {array.shape}")


def invert_se3(transform: Float[Array, "*batch rows 4"]) -> Float[Array, "*batch rows 4"]:
    """Inverse of rigid transforms [R | t], equal to [Rᵀ | −Rᵀt].

    Args:
        transform: (…, 3, 4), or (…, 4, 4) with last row (0, 0, 0, 1); R must be a rotation.

    Returns:
        The inverses in the form given: camera-to-world for extrinsics.

    Raises:
        ValueError: the last two axes are neither (3, 4) nor (4, 4).
    """
    check_trailing_shape("transform", transform, (3, 4), (4, 4))
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    translation = -jnp.matmul(rotation, transform[..., :3, 3:], precision=_EXACT)
    top = jnp.concatenate([rotation, translation], axis=-1)
    return jnp.concatenate([top, transform[..., 3:, :]], axis=-2)


def transform_points(
    points: Float[Array, "*batch points 3"], transform: Float[Array, "*batch 3 4"]
) -> Float[Array, "*batch points 3"]:
    """R x + t for every point.

    Raises:
        ValueError: a trailing shape is wrong.
    """
    check_trailing_shape("points", points, (3,))
    check_trailing_shape("transform", transform, (3, 4))
    rotated = jnp.einsum("...ij,...pj->...pi", transform[..., :3], points, precision=_EXACT)
    return rotated + transform[..., None, :, 3]


def depth_to_camera_points(
    depth: Float[Array, "*batch height width"], intrinsics: Float[Array, "*batch 3 3"]
) -> Float[Array, "*batch height width 3"]:
    """Points in the camera's frame, one per pixel, in float32 at least.

    Args:
        depth: z of every pixel; a depth of 0 gives the origin.
        intrinsics: upper triangular, in pixels; focal lengths must not be 0.

    Raises:
        ValueError: the intrinsics are not (…, 3, 3).
    """
    check_trailing_shape("intrinsics", intrinsics, (3, 3))
    if depth.ndim == intrinsics.ndim + 1 and depth.shape[-1] == 1:
        raise InputError(f"depth must have shape (..., height, width), got {depth.shape}: give depth[..., 0]")
    depth = depth.astype(jnp.promote_types(depth.dtype, jnp.float32))  # bfloat16 does not tell columns above 256 apart
    height, width = depth.shape[-2:]
    column, row = jnp.meshgrid(jnp.arange(width, dtype=depth.dtype), jnp.arange(height, dtype=depth.dtype))

    def per_image(i: int, j: int) -> Float[Array, "*batch 1 1"]:
        return intrinsics[..., i, j, None, None]

    y = (row - per_image(1, 2)) * depth / per_image(1, 1)
    x = ((column - per_image(0, 2)) * depth - per_image(0, 1) * y) / per_image(0, 0)
    return jnp.stack([x, y, depth], axis=-1)


def unproject_depth(
    depth: Float[Array, "*batch height width"],
    extrinsics: Float[Array, "*batch 3 4"],
    intrinsics: Float[Array, "*batch 3 3"],
) -> Float[Array, "*batch height width 3"]:
    """Points in the world's frame, one per pixel.

    Args:
        depth: z of every pixel in its camera. A depth of 0 gives the camera centre, a negative one a point behind
            the camera, as upstream; leave out what is at most ``MIN_DEPTH`` by a mask of the depth.
        extrinsics: world-to-camera.
        intrinsics: upper triangular, in pixels.

    Raises:
        ValueError: a trailing shape is wrong.
    """
    check_trailing_shape("extrinsics", extrinsics, (3, 4))
    points = depth_to_camera_points(depth, intrinsics)
    flat = points.reshape(*points.shape[:-3], -1, 3)
    return transform_points(flat, invert_se3(extrinsics)).reshape(points.shape)


def project_points(
    points: Float[Array, "*batch points 3"],
    extrinsics: Float[Array, "*batch 3 4"],
    intrinsics: Float[Array, "*batch 3 3"],
) -> tuple[Float[Array, "*batch points 2"], Float[Array, "*batch points"]]:
    """Pixel coordinates (u, v) and depth of world points; the inverse of :func:`unproject_depth`.

    Returns:
        Pixels, and depths in the camera. Where the depth is at most ``MIN_DEPTH`` the pixel is finite, has a
        finite gradient and no meaning: compare the depth with ``MIN_DEPTH`` before use.

    Raises:
        ValueError: a trailing shape is wrong.
    """
    check_trailing_shape("intrinsics", intrinsics, (3, 3))
    camera = transform_points(points, extrinsics)
    depth = camera[..., 2]
    # The divisor is replaced, not the quotient: a quotient masked afterwards would still have a NaN gradient.
    divisor = jnp.where(depth > MIN_DEPTH, depth, 1.0)
    normalised = camera[..., :2] / divisor[..., None]
    pixels = jnp.einsum("...ij,...pj->...pi", intrinsics[..., :2, :2], normalised, precision=_EXACT)
    return pixels + intrinsics[..., None, :2, 2], depth
