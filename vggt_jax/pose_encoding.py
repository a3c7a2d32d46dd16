"""Cameras as VGGT's nine numbers "absT_quaR_FoV": translation (3), quaternion xyzw (4), fov_h, fov_w.

Translation and rotation are the world-to-camera extrinsics; the fields of view are full angles in radians
across the image's height and width. The principal point is not encoded: decoding puts it at (W/2, H/2), the
image's middle counted from its corner, see :mod:`vggt_jax.pixels`.
Compared with the official functions in ``tests/fixtures/losses/pose_encoding_case.npz``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.errors import InputError
from vggt_jax.geometry import check_trailing_shape

# Divisors of the quaternion candidates are kept from 0; the largest component is at least 1/2, so the
# candidate that is chosen never meets this floor.
_DIVISOR_FLOOR = 0.1


def quaternion_to_matrix(quaternion: Float[Array, "*batch 4"]) -> Float[Array, "*batch 3 3"]:
    """Rotation matrix of a quaternion (x, y, z, w) of any length; the zero quaternion gives the identity.

    Raises:
        ValueError: the last axis is not 4 long.
    """
    check_trailing_shape("quaternion", quaternion, (4,))
    # divided by a power of two, which costs no digit: squares of 1e-25 or 1e20 are no numbers of float32
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(quaternion), axis=-1, keepdims=True))
    quaternion *= jnp.ldexp(jnp.ones_like(largest), -jnp.clip(jnp.frexp(largest)[1], -126, 126))
    x, y, z, w = jnp.moveaxis(quaternion, -1, 0)
    squared_length = jnp.sum(quaternion * quaternion, axis=-1)
    s = 2.0 / jnp.where(squared_length > 0, squared_length, 1.0)
    entries = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in entries], axis=-2)


def matrix_to_quaternion(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion (x, y, z, w) with w ≥ 0 of a rotation matrix.

    The matrix determines all sixteen products of two components. Row c of the candidates below holds the four
    products with component c; divided by that component it is the quaternion, and the row of the largest
    component is the accurate one, also for turns by nearly 180 degrees, where w vanishes.

    Raises:
        ValueError: the last axes are not (3, 3).
    """
    check_trailing_shape("matrix", matrix, (3, 3))
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    # Four times the squares of w, x, y, z; in this order, as the first of equal ones is chosen.
    squares = jnp.stack(
        [
            1 + m[0][0] + m[1][1] + m[2][2],
            1 + m[0][0] - m[1][1] - m[2][2],
            1 - m[0][0] + m[1][1] - m[2][2],
            1 - m[0][0] - m[1][1] + m[2][2],
        ],
        axis=-1,
    )
    doubled = _sqrt_or_zero(squares)
    square_w, square_x, square_y, square_z = jnp.moveaxis(doubled * doubled, -1, 0)
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    products = jnp.stack(
        [
            jnp.stack([wx, wy, wz, square_w], axis=-1),
            jnp.stack([square_x, xy, xz, wx], axis=-1),
            jnp.stack([xy, square_y, yz, wy], axis=-1),
            jnp.stack([xz, yz, square_z, wz], axis=-1),
        ],
        axis=-2,
    )
    candidates = products / (2 * jnp.maximum(doubled, _DIVISOR_FLOOR))[..., None]
    largest = jnp.argmax(doubled, axis=-1)[..., None, None]
    quaternion = jnp.take_along_axis(candidates, largest, axis=-2)[..., 0, :]
    return jnp.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def encode_pose(
    extrinsics: Float[Array, "*batch 3 4"],
    intrinsics: Float[Array, "*batch 3 3"],
    image_size: tuple[int, int],
) -> Float[Array, "*batch 9"]:
    """The nine numbers of a camera.

    Args:
        extrinsics: world-to-camera (OpenCV).
        intrinsics: in pixels; only the focal lengths are used.
        image_size: (height, width) in pixels.

    Raises:
        ValueError: a trailing shape is wrong, or a side of the image is not positive.
    """
    check_trailing_shape("extrinsics", extrinsics, (3, 4))
    check_trailing_shape("intrinsics", intrinsics, (3, 3))
    half_height, half_width = _half_sides(image_size)
    fov_h = 2 * jnp.arctan(half_height / intrinsics[..., 1, 1])
    fov_w = 2 * jnp.arctan(half_width / intrinsics[..., 0, 0])
    fields_of_view = jnp.stack([fov_h, fov_w], axis=-1)
    quaternion = matrix_to_quaternion(extrinsics[..., :3])
    return jnp.concatenate([extrinsics[..., 3], quaternion, fields_of_view], axis=-1)


def decode_pose(
    pose_encoding: Float[Array, "*batch 9"], image_size: tuple[int, int]
) -> tuple[Float[Array, "*batch 3 4"], Float[Array, "*batch 3 3"]]:
    """The camera of nine numbers: (extrinsics, intrinsics), the inverse of :func:`encode_pose`.

    The quaternion need not be of unit length. A field of view of 0, where the model's ReLU has cut it, gives
    an infinite focal length, with gradient 0.

    Args:
        pose_encoding: translation, quaternion xyzw, fov_h, fov_w in radians.
        image_size: (height, width) in pixels.

    Raises:
        ValueError: the last axis is not 9 long, or a side of the image is not positive.
    """
    check_trailing_shape("pose_encoding", pose_encoding, (9,))
    half_height, half_width = _half_sides(image_size)
    rotation = quaternion_to_matrix(pose_encoding[..., 3:7])
    extrinsics = jnp.concatenate([rotation, pose_encoding[..., :3, None]], axis=-1)
    focal_y = _focal_length(pose_encoding[..., 7], half_height)
    focal_x = _focal_length(pose_encoding[..., 8], half_width)
    zero, one = jnp.zeros_like(focal_x), jnp.ones_like(focal_x)
    rows = [[focal_x, zero, half_width * one], [zero, focal_y, half_height * one], [zero, zero, one]]
    intrinsics = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return extrinsics, intrinsics


def _sqrt_or_zero(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """√max(v, 0), with gradient 0 in place of an infinite one where v ≤ 0."""
    positive = values > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)


def _focal_length(field_of_view: Float[Array, "*batch"], half_side: float) -> Float[Array, "*batch"]:
    is_cut = field_of_view == 0
    return jnp.where(is_cut, jnp.inf, half_side / jnp.tan(jnp.where(is_cut, 1.0, field_of_view) / 2))


def _half_sides(image_size: tuple[int, int]) -> tuple[float, float]:
    height, width = image_size
    if height <= 0 or width <= 0:
        raise InputError(f"image_size must be (height, width) with positive sides, got {image_size}")
    return height / 2, width / 2
