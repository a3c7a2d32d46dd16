"""Rotary position embedding over the two axes of an image grid."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


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
    first, second = jnp.moveaxis(x.astype(jnp.float32).reshape(*x.shape[:-1], 2, 2, -1), -2, 0)
    turned = (first * by.cos - second * by.sin, second * by.cos + first * by.sin)
    return jnp.stack(turned, axis=-2).reshape(x.shape)


def token_positions(height: int, width: int, special: int) -> Int[Array, "t 2"]:
    """Positions (y, x) of one frame's tokens: ``special`` ones at (0, 0), then the patches, row by row, from (1, 1)."""
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1).reshape(-1, 2) + 1
    return jnp.concatenate([jnp.zeros((special, 2), grid.dtype), grid])
