"""Attention by matrix products, exact in every type, in loops that never hold many scores.

Loops over groups of heads, or over chunks of one head's queries: the same sums as one large einsum, but on CPUs several
times as fast because the scores stay in the cache, and elsewhere of bounded memory.
"""

from __future__ import annotations

from functools import partial
from math import ceil, sqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CPU_SCORES = 2**21
"""Scores (pairs of query and key) that a CPU handles in one pass: 8 MiB, so that the softmax finds them in cache."""

_SCORES = 2**28
"""The same of other devices, whose memory holds 1 GiB of them easily."""


def forward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    *,
    statistics: bool,
    scores: int = _SCORES,
) -> tuple[Array, ...]:
    """The output; statistics are zeros, since :func:`backward` makes the scores anew."""
    out = attend(q, k, v, scores)
    return (out, jnp.zeros((*out.shape[:-1], 1), jnp.float32)) if statistics else (out,)


def backward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    out: Float[Array, "b heads tq d"],
    statistics: Float[Array, "b heads tq 1"],
    g: Float[Array, "b heads tq d"],
    *,
    scores: int = _SCORES,
) -> tuple[Array, ...]:
    """Gradients with respect to ``q``, ``k`` and ``v``."""
    return jax.vjp(partial(attend, scores=scores), q, k, v)[1](g)


def attend(
    q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"], scores: int
) -> Float[Array, "b heads tq d"]:
    """Attention with at most ``scores`` pairs of query and key in one pass."""
    b, heads, tq, d = q.shape
    tk = k.shape[2]
    if b * heads * tq * tk <= scores:
        return _transposed(q, k, v)
    chunks, group = ceil(tq * tk / scores), scores // (tq * tk)
    rows = tuple(x.reshape(b * heads, x.shape[2], d) for x in (q, k, v))
    out = jax.lax.map(
        lambda row: _recomputed(*row) if chunks == 1 else _in_chunks(*row, chunks=chunks),
        rows,
        batch_size=group if group > 1 else None,  # a group of one would cost transpositions
    )
    return out.reshape(b, heads, tq, d)


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


def _in_chunks(
    q: Float[Array, "tq d"], k: Float[Array, "tk d"], v: Float[Array, "tk d"], *, chunks: int
) -> Float[Array, "tq d"]:
    tq, d = q.shape
    chunk = ceil(tq / chunks)
    queries = jnp.pad(q, ((0, chunks * chunk - tq), (0, 0))).reshape(chunks, chunk, d)
    out = jax.lax.map(lambda some: _recomputed(some, k, v), queries)
    return out.reshape(chunks * chunk, d)[:tq]
