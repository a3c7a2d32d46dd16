"""Rotary position embedding over the two axes of an image grid."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vggt_jax.normalisation import statistics


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles: one for each axis (y, x) and frequency."""

    cos: Float[Array, "t 2 freq"]
    sin: Float[Array, "t 2 freq"]


def rotation(positions: Int[Array, "t 2"], head_dim: int, base: float) -> Rotation:
    """The rotation for tokens at ``positions`` (y, x), in patches; half of ``head_dim`` turns by y, the other by x."""
    frequencies = base ** -(jnp.arange(head_dim // 4, dtype=jnp.float32) / (head_dim // 4))
    angles = positions.astype(jnp.float32)[..., None] * frequencies
    return Rotation(jnp.cos(angles), jnp.sin(angles))


def rotate(x: Float[Array, "b heads t d"], by: Rotation) -> Float[Array, "b heads t d"]:
    """``x`` in float32, rotated: within each axis' half, channel i is paired with channel i + d/4."""
    x = x.astype(jnp.float32)
    return _with_partners(x, _partners(x), by, 1)


def token_positions(height: int, width: int, special: int) -> Int[Array, "t 2"]:
    """Positions (y, x) of one frame's tokens: ``special`` ones at (0, 0), then the patches, row by row, from (1, 1)."""
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1).reshape(-1, 2) + 1
    return jnp.concatenate([jnp.zeros((special, 2), grid.dtype), grid])


def normalise_and_rotate(
    x: Float[Array, "b heads t d"], scale: Float[Array, " d"], bias: Float[Array, " d"], by: Rotation, eps: float
) -> Float[Array, "b heads t d"]:
    """:func:`rotate` of the normalised ``x`` in its own type, computed in float32.

    The same as layer by layer, but no float32 of that size is written in between: partners are taken from ``x`` itself, and
    the backward pass is written out.
    """
    turned: Any = _in_one_pass(x, scale, bias, by, eps)
    return turned


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _in_one_pass(x: Array, scale: Array, bias: Array, by: Rotation, eps: float) -> Array:
    return _forward(x, scale, bias, by, eps)[0]


def _forward(x: Array, scale: Array, bias: Array, by: Rotation, eps: float) -> tuple[Any, tuple]:
    mean, factor = statistics(x, eps)

    def normal(x: Array, scale: Array, bias: Array) -> Array:
        return (x.astype(jnp.float32) - mean) * factor * scale + bias

    partner = normal(*(_partners(y) for y in (x, scale, bias)))
    turned = _with_partners(normal(x, scale, bias), partner, by, 1)
    return turned.astype(x.dtype), (x, mean, factor, scale, by)


def _backward(eps: float, residuals: tuple, g: Array) -> tuple:
    x, mean, factor, scale, by = residuals
    back = _with_partners(g.astype(jnp.float32), _partners(g).astype(jnp.float32), by, -1)
    normal, inner = (x.astype(jnp.float32) - mean) * factor, back * scale
    # Hidden from XLA, which would otherwise keep these large arrays rather than two numbers for each head.
    means = jax.lax.optimization_barrier((inner.mean(-1, keepdims=True), (inner * normal).mean(-1, keepdims=True)))
    of_x = factor * (inner - means[0] - normal * means[1])
    tokens = (0, 1, 2)
    no_change = jax.tree.map(jnp.zeros_like, by)
    return of_x.astype(x.dtype), (back * normal).sum(tokens), back.sum(tokens), no_change


_in_one_pass.defvjp(_forward, _backward)


def _partners(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Every channel's partner in its place."""
    return jnp.flip(x.reshape(*x.shape[:-1], 2, 2, -1), axis=-2).reshape(x.shape)


def _with_partners(x: Array, partner: Array, by: Rotation, direction: int) -> Float[Array, "b heads t d"]:
    """``x`` rotated, or back with direction -1."""
    cos = jnp.stack([by.cos, by.cos], axis=-2).reshape(by.cos.shape[0], -1)
    sin = jnp.stack([-by.sin, by.sin], axis=-2).reshape(by.sin.shape[0], -1)
    return x * cos + partner * (direction * sin)
