"""Arithmetic that the losses need in a form that compiles: no selection by masks, no infinite gradients."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

LARGEST_ERROR = 100.0
"""Errors are cut here (in units of the normalised scene, or of the camera encoding) and pass no gradient beyond."""


def finite(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``x`` with 0 in the place of NaN and infinities."""
    return jnp.where(jnp.isfinite(x), x, 0)


def bounded(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``x`` with 0 in the place of NaN and infinities, cut to ±``LARGEST_ERROR``."""
    return jnp.clip(finite(x), -LARGEST_ERROR, LARGEST_ERROR)


def length(x: Float[Array, "*shape c"]) -> Float[Array, "*shape"]:
    """Euclidean norm over the last axis, with gradient 0 where it is 0."""
    squares = jnp.sum(x * x, axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def magnitude(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|x| with gradient 0 where it is 0, as PyTorch has it; that of ``jnp.abs`` is 1 there."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


def masked_mean(x: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of ``x`` where ``mask`` is true; 0 if that is nowhere."""
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask), 1)


def quantile_rank(quantile: float, count: Int[Array, ""]) -> Int[Array, ""]:
    """round(quantile · (count − 1)) + 1, halves to even, exact for the decimal number ``quantile`` and any count.

    float32 would miss the rank from some hundred thousand numbers on.
    """
    ratio = Fraction(str(quantile))
    whole, rest = jnp.divmod(count - 1, ratio.denominator)
    twice = 2 * ratio.numerator * rest
    below = twice // (2 * ratio.denominator)
    remainder = twice - 2 * ratio.denominator * below
    base = whole * ratio.numerator + below
    round_up = (remainder > ratio.denominator) | ((remainder == ratio.denominator) & (base % 2 == 1))
    return base + round_up + 1


def kth_smallest(x: Float[Array, "*shape"], mask: Bool[Array, "*shape"], k: Int[Array, ""]) -> Float[Array, ""]:
    """The k-th smallest (from 1) of the finite numbers where ``mask`` is true; no gradient passes.

    Floats order as their bit patterns do once negative ones are flipped, so the answer is found bit by bit by counting:
    exact, without the sort that would gather a sharded array on one device.
    """
    bits = jnp.finfo(x.dtype).bits
    unsigned = jnp.dtype(f"uint{bits}")
    sign = jnp.asarray(1 << (bits - 1), unsigned)
    pattern = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), unsigned)
    keys = jnp.where(pattern & sign, ~pattern, pattern | sign)

    def next_bit(i: Array, found: Array) -> Array:
        candidate = found | jnp.right_shift(sign, i.astype(unsigned))
        return jnp.where(jnp.sum(mask & (keys < candidate)) < k, candidate, found)

    key = jax.lax.fori_loop(0, bits, next_bit, jnp.asarray(0, unsigned))
    pattern = jnp.where(key & sign, key ^ sign, ~key)
    return jax.lax.bitcast_convert_type(pattern, x.dtype)
