"""Scaled dot-product attention, with the fastest exact way that a backend has."""

from __future__ import annotations

from math import ceil, sqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vggt_jax.products import kept

_CPU_SCORES = 2**21
"""Scores (pairs of query and key) that a CPU handles in one pass: 8 MiB, so that the softmax finds them in cache."""


def attention(
    q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"]
) -> Float[Array, "b heads tq d"]:
    """softmax(q kᵀ / √d) v in the type of ``v``; softmax and sums in float32.

    GPUs run cuDNN's flash attention in half precision and XLA's in float32. CPUs loop over groups of heads, or over
    chunks of one head's queries: the same sums, but several times as fast as one large einsum because the scores stay
    in the cache.
    """
    if jax.default_backend() == "cpu":
        return kept(_on_cpu(q, k, v))
    flash = jax.default_backend() == "gpu" and v.dtype != jnp.float32
    out = jax.nn.dot_product_attention(
        *(x.transpose(0, 2, 1, 3) for x in (q, k, v)), implementation="cudnn" if flash else "xla"
    )
    return kept(out.transpose(0, 2, 1, 3))


def _transposed(
    q: Float[Array, "*b tq d"], k: Float[Array, "*b tk d"], v: Float[Array, "*b tk d"]
) -> Float[Array, "*b tq d"]:
    highest = jax.lax.Precision.HIGHEST
    scores = jnp.matmul(k, q.mT, precision=highest, preferred_element_type=jnp.float32)
    largest = jax.lax.stop_gradient(scores.max(-2, keepdims=True))
    weights = jnp.exp((scores - largest) / sqrt(q.shape[-1])).astype(v.dtype)
    # Queries lie along the last axis: a CPU takes the maximum of whole rows at once (43 -> 37 ms for 16 heads on 1,374
    # tokens). The row of ones makes the product sum the weights as well (-> 28 ms).
    v_and_ones = jnp.concatenate([v.mT, jnp.ones_like(v[..., :1].mT)], axis=-2)
    out = jnp.matmul(v_and_ones, weights, precision=highest, preferred_element_type=jnp.float32)
    return (out[..., :-1, :] / out[..., -1:, :]).mT.astype(v.dtype)


_recomputed = jax.checkpoint(_transposed)
"""The same; no pass's scores are kept for the backward pass, which takes no longer for it."""


def _on_cpu(
    q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"]
) -> Float[Array, "b heads tq d"]:
    b, heads, tq, d = q.shape
    tk = k.shape[2]
    if b * heads * tq * tk <= _CPU_SCORES:
        return _transposed(q, k, v)
    chunks, group = ceil(tq * tk / _CPU_SCORES), _CPU_SCORES // (tq * tk)
    rows = tuple(x.reshape(b * heads, x.shape[2], d) for x in (q, k, v))
    out = jax.lax.map(
        lambda row: _recomputed(*row) if chunks == 1 else _in_chunks(*row, chunks=chunks),
        rows,
        batch_size=group if group > 1 else None,  # a group of one would cost transpositions
    )
    return out.reshape(b, heads, tq, d)


def _in_chunks(
    q: Float[Array, "tq d"], k: Float[Array, "tk d"], v: Float[Array, "tk d"], *, chunks: int
) -> Float[Array, "tq d"]:
    tq, d = q.shape
    chunk = ceil(tq / chunks)
    queries = jnp.pad(q, ((0, chunks * chunk - tq), (0, 0))).reshape(chunks, chunk, d)
    out = jax.lax.map(lambda some: _recomputed(some, k, v), queries)
    return out.reshape(chunks * chunk, d)[:tq]
