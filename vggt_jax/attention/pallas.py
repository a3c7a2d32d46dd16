"""The flash attention of JAX's Pallas library, for TPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

_LANES = 128
_BLOCKS = (1024, 512, 256, _LANES)
"""Queries and keys that a kernel may handle at a time: the more, the fewer times it reads keys and values."""


def can_do(q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"]) -> bool:
    """Whether the kernel is the better way: in half precision, and where more than one block's worth of scores is spared."""
    return v.dtype == jnp.bfloat16 and min(q.shape[2], k.shape[2]) >= _LANES


def forward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    *,
    statistics: bool,
) -> tuple[Array, ...]:
    """The output and, with ``statistics``, the logarithm of every query's sum of exponentials (b, heads, tq, 1)."""
    from jax.experimental.pallas.ops.tpu import flash_attention as library

    tq, (block_q, block_k) = q.shape[2], _blocks(q, k)
    segments = _segments(q, k, library.SegmentIds)
    q, k, v = _padded(q, block_q), _padded(k, block_k), _padded(v, block_k)
    found: Any = library._flash_attention_impl(
        q, k, v, None, segments, statistics, False, q.shape[-1] ** -0.5, 1, block_q, block_k, block_k, False
    )
    if not statistics:
        return (found[:, :, :tq],)
    out, total, largest = (x[:, :, :tq] for x in found)
    return out, (largest + jnp.log(total))[..., None]


def backward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    out: Float[Array, "b heads tq d"],
    statistics: Float[Array, "b heads tq 1"],
    g: Float[Array, "b heads tq d"],
) -> tuple[Array, ...]:
    """Gradients with respect to ``q``, ``k`` and ``v``."""
    from jax.experimental.pallas.ops.tpu import flash_attention as library

    unpadded, (block_q, block_k) = (q, k, v), _blocks(q, k)
    segments = _segments(q, k, library.SegmentIds)
    # Of the sum and the largest score of every query, the kernels only need what both together say.
    along = jnp.sum(out.astype(jnp.float32) * g.astype(jnp.float32), axis=-1, keepdims=True)
    q, statistics, g, along = (_padded(x, block_q) for x in (q, statistics, g, along))
    k, v = (_padded(x, block_k) for x in (k, v))
    ones = jnp.ones_like(statistics[..., 0])
    arrays = (q, k, v, None, segments, ones, statistics[..., 0], g, along[..., 0])
    shared = {
        "sm_scale": q.shape[-1] ** -0.5,
        "causal": False,
        "mask_value": library.DEFAULT_MASK_VALUE,
        "debug": False,
    }
    dk, dv = library._flash_attention_bwd_dkv(
        *arrays, block_q_major=block_q, block_q=block_q, block_k_major=block_k, block_k=block_k, **shared
    )
    dq, _ = library._flash_attention_bwd_dq(
        *arrays, block_q_major=block_q, block_k_major=block_k, block_k=block_k, **shared
    )
    return tuple(x[:, :, : y.shape[2]] for x, y in zip((dq, dk, dv), unpadded, strict=True))


def _blocks(q: Array, k: Array) -> tuple[int, int]:
    return _block(q.shape[2]), _block(k.shape[2])


def _segments(q: Array, k: Array, make: Callable) -> Any:
    """Which keys queries look at: padding is another segment."""
    block_q, block_k = _blocks(q, k)
    tokens, padded = k.shape[2], k.shape[2] + -k.shape[2] % block_k
    if tokens == padded:
        return None
    of_keys = jnp.broadcast_to((jnp.arange(padded) >= tokens).astype(jnp.int32), (k.shape[0], padded))
    return make(jnp.zeros((q.shape[0], q.shape[2] + -q.shape[2] % block_q), jnp.int32), of_keys)


def _block(tokens: int) -> int:
    """The largest block that pads ``tokens`` by an eighth at most, or else the least of all."""
    return next((block for block in _BLOCKS if -tokens % block <= tokens // 8), _LANES)


def _padded(x: Float[Array, "b heads t d"], block: int) -> Float[Array, "b heads t2 d"]:
    return jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % block), (0, 0)))
