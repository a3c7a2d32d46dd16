"""Bilinear resizing with aligned corners, which JAX's own resize lacks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def resize_bilinear(x: Float[Array, "n h w c"], height: int, width: int) -> Float[Array, "n height width c"]:
    """``x`` at another size, the centres of its corner pixels kept in place (PyTorch's ``align_corners=True``)."""
    return _along(_along(x, height, axis=1), width, axis=2)


def _along(x: Array, size: int, *, axis: int) -> Array:
    if x.shape[axis] == size:
        return x
    weights = _weights(x.shape[axis], size).astype(x.dtype)
    subscripts = "oh,nhwc->nowc" if axis == 1 else "ow,nhwc->nhoc"
    return jnp.einsum(subscripts, weights, x, precision=jax.lax.Precision.HIGHEST)


def _weights(size: int, target: int) -> np.ndarray:
    """The (target, size) matrix of linear interpolation."""
    position = np.arange(target) * ((size - 1) / (target - 1) if target > 1 else 0.0)
    low = np.minimum(position.astype(int), max(size - 2, 0))
    weights = np.zeros((target, size), np.float32)
    np.add.at(weights, (np.arange(target), low), 1 - (position - low))
    np.add.at(weights, (np.arange(target), np.minimum(low + 1, size - 1)), position - low)
    return weights
