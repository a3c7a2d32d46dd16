"""Bilinear resizing with aligned corners, which JAX's own resize lacks."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vggt_jax.products import HIGHEST

_SMALL = 64
"""Up to so many rows or columns, products with the interpolation matrix are quicker than gathering pixels."""


def resize_bilinear(x: Float[Array, "n h w c"], height: int, width: int) -> Float[Array, "n height width c"]:
    """``x`` at another size, the centres of its corner pixels kept in place (PyTorch's ``align_corners=True``).

    No gradient is a scatter: XLA sorts and unrolls scattered slices on GPUs, and repeats them for every reader on CPUs.
    """
    n, h, w, c = x.shape
    if min(h, w) > _SMALL and h != height and w != width:
        return _in_one_pass(x, height, width)
    x = _along(x.reshape(n * h, w, c), width).reshape(n, h, width * c)
    return _along(x, height).reshape(n, height, width, c)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _in_one_pass(x: Array, height: int, width: int) -> Array:
    """Along both axes at once: what is in between is larger than ``x``, and would be written and read again."""
    low, high, weight = _taps(x.shape[1], height)
    weight = jnp.asarray(weight[:, None, None], x.dtype)
    return _columns(_take(x, low), width) * (1 - weight) + _columns(_take(x, high), width) * weight


def _columns(x: Float[Array, "n h w c"], width: int) -> Float[Array, "n h width c"]:
    low, high, weight = _taps(x.shape[2], width)
    weight = jnp.asarray(weight[:, None], x.dtype)
    return _take(x, low, 2) * (1 - weight) + _take(x, high, 2) * weight


def _forward_in_one_pass(x: Array, height: int, width: int) -> tuple[Array, Array]:
    return _in_one_pass(x, height, width), x[:0]


def _backward_in_turn(height: int, width: int, empty: Array, g: Array) -> tuple[Array]:
    (_, h, w, c), n = empty.shape, g.shape[0]
    (g,) = _backward(height, jnp.zeros((0, h, width * c), g.dtype), g.reshape(n, height, width * c))
    (g,) = _backward(width, jnp.zeros((0, w, c), g.dtype), g.reshape(n * h, width, c))
    return (g.reshape(n, h, w, c),)


_in_one_pass.defvjp(_forward_in_one_pass, _backward_in_turn)


def _along(x: Float[Array, "n size k"], target: int) -> Float[Array, "n target k"]:
    """Resized along the middle axis."""
    size = x.shape[1]
    if size == target:
        return x
    if size > _SMALL:
        return _gathered(x, target)
    matrix = jnp.asarray(interpolation(size, target), x.dtype)
    return jnp.matmul(jnp.broadcast_to(matrix, (x.shape[0], *matrix.shape)), x, precision=HIGHEST)


def interpolation(size: int, target: int) -> Float[np.ndarray, "target size"]:
    """The matrix that resizes a column, two weights in every row."""
    low, high, weight = _taps(size, target)
    matrix = np.zeros((target, size))
    rows = np.arange(target)
    np.add.at(matrix, (rows, low), 1 - weight)
    np.add.at(matrix, (rows, high), weight)
    return matrix


def _taps(size: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every target the places before and behind it, and the weight of the second."""
    position = np.arange(target) * ((size - 1) / (target - 1) if target > 1 else 0.0)
    low = np.clip(position.astype(int), 0, max(size - 2, 0))
    return low, np.minimum(low + 1, size - 1), position - low


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _gathered(x: Array, target: int) -> Array:
    low, high, weight = _taps(x.shape[1], target)
    weight = jnp.asarray(weight[:, None], x.dtype)
    return _take(x, low) * (1 - weight) + _take(x, high) * weight


def _forward(x: Array, target: int) -> tuple[Array, Array]:
    return _gathered(x, target), x[:0]


def _backward(target: int, empty: Array, g: Array) -> tuple[Array]:
    """Every source gathers from the few targets that read it, and adds zeros where others read more."""
    matrix = interpolation(empty.shape[1], target).T
    readers = max(np.count_nonzero(matrix, axis=1).max(), 1)
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :readers]
    weights = np.take_along_axis(matrix, places, axis=1)
    parts = [_take(g, places[:, i]) * jnp.asarray(weights[:, i, None], g.dtype) for i in range(readers)]
    return (sum(parts[1:], start=parts[0]),)


_gathered.defvjp(_forward, _backward)


def _take(x: Array, places: np.ndarray, axis: int = 1) -> Array:
    return jnp.take(x, places, axis=axis, mode="clip")
