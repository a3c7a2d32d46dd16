"""Scaled dot-product attention, with the fastest way that the device has for which the program is compiled.

The choice is made when a program is lowered, by the program's own platform: one that a CPU compiles for a GPU has the
GPU's attention. See :func:`attention`.
"""

from __future__ import annotations

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from vggt_jax.attention.devices import on_every_device
from vggt_jax.attention.primitives import backward, forward
from vggt_jax.products import ATTENTION


@jax.custom_vjp
def attention(
    q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"]
) -> Float[Array, "b heads tq d"]:
    """softmax(q kᵀ / √d) v in the type of ``v``; softmax and sums in float32.

    GPUs run cuDNN's flash attention in half precision (:mod:`~vggt_jax.attention.cudnn`), TPUs a Pallas kernel
    (:mod:`~vggt_jax.attention.pallas`). In float32, and on CPUs, exact loops run, whose scores are never all in memory
    (:mod:`~vggt_jax.attention.exact`). On several devices the batch and the heads are split, see
    :func:`~vggt_jax.attention.devices.on_every_device`. The backward pass needs the output and one number for every
    query, which are named :data:`~vggt_jax.products.ATTENTION`.
    """
    return on_every_device(lambda q, k, v: forward(q, k, v, statistics=False), q, k, v)[0]


def _forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
    found = on_every_device(lambda q, k, v: forward(q, k, v, statistics=True), q, k, v)
    out, statistics = (checkpoint_name(x, ATTENTION) for x in found)
    return out, (q, k, v, out, statistics)


def _backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    return on_every_device(backward, *residuals, g)


attention.defvjp(_forward, _backward)
