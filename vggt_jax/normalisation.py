"""Normalisation for programs whose time is that of moving numbers: what is read again are two numbers for each row."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from vggt_jax.products import THIN


def statistics(x: Float[Array, "*b c"], eps: float) -> tuple[Float[Array, "*b 1"], Float[Array, "*b 1"]]:
    """The mean of each row in float32, and what the rest is to be multiplied by, from one pass over ``x``.

    The barrier keeps XLA from storing the centred ``x``, which is as large as ``x``.
    """
    x = x.astype(jnp.float32)
    mean, square = x.mean(-1, keepdims=True), jnp.square(x).mean(-1, keepdims=True)
    factor = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + eps)
    return jax.lax.optimization_barrier((mean, factor))


def normalised(x: Float[Array, "*b c"], eps: float) -> Float[Array, "*b c"]:
    """``x``, float32, with mean 0 and variance 1 in each row; blocks that are recomputed keep the statistics."""
    found: Any = _normalised(x, eps)
    return found


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _normalised(x: Array, eps: float) -> Array:
    return _forward(x, eps)[0]


def _forward(x: Array, eps: float) -> tuple[Array, tuple[Array, ...]]:
    mean, factor = (checkpoint_name(y, THIN) for y in statistics(x, eps))
    return (x - mean) * factor, (x, mean, factor)


def _backward(eps: float, residuals: tuple[Array, ...], g: Array) -> tuple[Array]:
    x, mean, factor = residuals
    normal = (x - mean) * factor
    means = jax.lax.optimization_barrier((g.mean(-1, keepdims=True), (g * normal).mean(-1, keepdims=True)))
    return (factor * (g - means[0] - normal * means[1]),)


_normalised.defvjp(_forward, _backward)
