"""Attention by matrix products, exact in every type, in loops that never hold many scores.

Loops over groups of heads, or over chunks of one head's queries: the same sums as one large einsum, but on CPUs several
times as fast because the scores stay in the cache, and elsewhere of bounded memory.

Scores have the keys along the second to last axis and the queries along the last: a CPU takes the maximum of whole rows at
once, and no product needs them transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, sqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vggt_jax.products import HIGHEST

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
    """The output and, with ``statistics``, the logarithm of the sum of exponentials of each query, float32.

    At most ``scores`` pairs of query and key are in memory at a time.
    """
    out, log_sums = _in_passes(_attend, _attend_in_chunks, q, k, v, scores=scores)
    return (out, log_sums) if statistics else (out,)


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
    """Gradients with respect to ``q``, ``k`` and ``v``; the scores are made anew, at most so many at a time."""
    found = _in_passes(_gradients, _gradients_in_chunks, q, k, v, out, statistics, g, scores=scores)
    return tuple(x.astype(like.dtype) for x, like in zip(found, (q, k, v), strict=True))


def _in_passes(
    of_heads: Callable[..., tuple[Array, ...]],
    in_chunks: Callable[..., tuple[Array, ...]],
    *arrays: Array,
    scores: int,
) -> tuple[Array, ...]:
    """``of_heads`` for equal groups of heads with at most ``scores`` each, or ``in_chunks`` where one head has more."""
    b, heads, tq = arrays[0].shape[:3]
    of_one = tq * arrays[1].shape[2]
    if b * heads * of_one <= scores:
        return of_heads(*arrays)
    function = of_heads if of_one <= scores else partial(in_chunks, chunks=ceil(of_one / scores))
    rows = tuple(x.reshape(b * heads, *x.shape[2:]) for x in arrays)
    passes = ceil(b * heads / max(1, scores // of_one))
    group = ceil(b * heads / passes)
    found = jax.lax.map(
        lambda some: function(*some),
        rows,
        batch_size=group if group > 1 else None,  # a group of one would cost transpositions
    )
    return tuple(x.reshape(b, heads, *x.shape[1:]) for x in found)


def _attend(
    q: Float[Array, "*b tq d"], k: Float[Array, "*b tk d"], v: Float[Array, "*b tk d"]
) -> tuple[Float[Array, "*b tq d"], Float[Array, "*b tq 1"]]:
    scores = _product(k, q.mT)
    largest = scores.max(-2, keepdims=True)
    weights = jnp.exp((scores - largest) / sqrt(q.shape[-1])).astype(v.dtype)
    # The row of ones makes the product sum the weights as well (for 16 heads on 1,374 tokens 37 -> 28 ms).
    v_and_ones = jnp.concatenate([v.mT, jnp.ones_like(v[..., :1].mT)], axis=-2)
    out = _product(v_and_ones, weights)
    out, sums = out[..., :-1, :], out[..., -1:, :]
    return (out / sums).mT.astype(v.dtype), (largest / sqrt(q.shape[-1]) + jnp.log(sums)).mT


def _gradients(
    q: Float[Array, "*b tq d"],
    k: Float[Array, "*b tk d"],
    v: Float[Array, "*b tk d"],
    out: Float[Array, "*b tq d"],
    log_sums: Float[Array, "*b tq 1"],
    g: Float[Array, "*b tq d"],
) -> tuple[Array, Array, Array]:
    """Of queries, keys and values, float32, as in FlashAttention (Dao et al. 2022, Algorithm 4)."""
    scale = 1 / sqrt(q.shape[-1])
    weights = jnp.exp(_product(k, q.mT) * scale - log_sums.mT)
    along_out = (g.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)
    of_scores = (weights * (_product(v, g.mT) - along_out.mT) * scale).astype(q.dtype)
    return _product(k.mT, of_scores).mT, _product(of_scores, q), _product(weights.astype(g.dtype), g)


def _product(x: Float[Array, "*b m n"], y: Float[Array, "*b n p"]) -> Float[Array, "*b m p"]:
    return jnp.matmul(x, y, precision=HIGHEST, preferred_element_type=jnp.float32)


def _attend_in_chunks(
    q: Float[Array, "tq d"], k: Float[Array, "tk d"], v: Float[Array, "tk d"], *, chunks: int
) -> tuple[Array, ...]:
    found = jax.lax.map(lambda some: _attend(some, k, v), _split(q, chunks))
    return tuple(_joined(x, len(q)) for x in found)


def _gradients_in_chunks(
    q: Float[Array, "tq d"],
    k: Float[Array, "tk d"],
    v: Float[Array, "tk d"],
    *of_queries: Float[Array, "tq _"],
    chunks: int,
) -> tuple[Array, Array, Array]:
    def add(sums: tuple[Array, Array], some: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        of_q, of_k, of_v = _gradients(some[0], k, v, *some[1:])
        return (sums[0] + of_k, sums[1] + of_v), of_q

    nothing = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    (of_k, of_v), of_q = jax.lax.scan(add, nothing, tuple(_split(x, chunks) for x in (q, *of_queries)))
    return _joined(of_q, len(q)), of_k, of_v


def _split(x: Float[Array, "t d"], chunks: int) -> Float[Array, "chunks t2 d"]:
    """In equal chunks, the last one filled up with zeros, which add nothing to any gradient."""
    size = ceil(len(x) / chunks)
    return jnp.pad(x, ((0, chunks * size - len(x)), (0, 0))).reshape(chunks, size, x.shape[1])


def _joined(x: Float[Array, "chunks t2 d"], length: int) -> Float[Array, "t d"]:
    return x.reshape(-1, x.shape[-1])[:length]
