"""Bilinear resizing with aligned corners, which JAX's own resize lacks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def resize_bilinear(x: Float[Array, "n h w c"], height: int, width: int) -> Float[Array, "n height width c"]:
    """``x`` at another size, the centres of its corner pixels kept in place (PyTorch's ``align_corners=True``)."""
    return _along(_along(x, height, axis=1), width, axis=2)


def _along(x: Array, target: int, *, axis: int) -> Array:
    """Two taps and a weighted sum; on CPUs ten times as fast as a product with the interpolation matrix."""
    size = x.shape[axis]
    if size == target:
        return x
    position = np.arange(target) * ((size - 1) / (target - 1) if target > 1 else 0.0)
    low = np.clip(position.astype(int), 0, max(size - 2, 0))
    weight = jnp.asarray((position - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)]), x.dtype)
    before, after = (
        jnp.take(x, places, axis=axis, mode="clip", indices_are_sorted=True)
        for places in (low, np.minimum(low + 1, size - 1))
    )
    return before * (1 - weight) + after * weight
