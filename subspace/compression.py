"""Adapters in the coordinates of the space that they span: the n×m problem of Eq. 1–3 becomes a (k·r)×(k·r) one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from subspace.low_rank import LowRank, at_least_float32
from subspace.namespace import AnyArray
from subspace.threads import after


class Span(NamedTuple):
    """Orthonormal Q (n, p) as LAPACK's Householder reflectors: half the work of having it as a matrix."""

    reflectors: Float[Array, "n p"]
    coefficients: Float[Array, " p"]


class Compressed(NamedTuple):
    """k updates A_i B_iᵀ = scale · Q_A C_i Q_Bᵀ with orthonormal Q_A, Q_B and small cores C_i. Exact, not approximate.

    Where k·r ≥ n the columns span all of Rⁿ; then Q_A is None and stands for the identity (p = n). The same for Q_B.
    ``scale`` is the largest entry of any core, so that the squares that follow neither overflow nor underflow.
    """

    Q_A: Span | None
    Q_B: Span | None
    cores: Float[Array, "k p q"]
    scale: Float[Array, ""]


def compress(adapters: LowRank) -> Compressed:
    """One tall-skinny QR a side of all k·r columns; ``adapters`` has A (k, n, r) and B (k, m, r).

    Householder QR errs in each column relative to that column alone, so adapters whose scales differ by many orders of
    magnitude keep their own digits (a Gram matrix would lose half of them).
    """
    adapters = at_least_float32(adapters)
    Q_A, a = _span(adapters.A)
    Q_B, b = _span(after(adapters.B, a))
    cores = jnp.einsum("kpr,kqr->kpq", a, b, precision="highest")
    largest = jnp.max(jnp.abs(cores))
    scale = jnp.where(largest > 0, largest, 1)
    return Compressed(Q_A, Q_B, cores / scale, scale)


def _span(columns: Float[AnyArray, "k n r"]) -> tuple[Span | None, Float[AnyArray, "k p r"]]:
    """Q with columns_i = Q · coordinates_i, and the coordinates."""
    k, n, r = columns.shape
    if k * r >= n:
        return None, columns
    transposed, coefficients = jnp.linalg.qr(jnp.moveaxis(columns, 0, 1).reshape(n, k * r), mode="raw")
    reflectors = transposed.mT
    R = jnp.triu(reflectors[: k * r])
    return Span(reflectors, coefficients), jnp.moveaxis(R.reshape(k * r, k, r), 1, 0)


def expand(Q: Span | None, coordinates: Float[AnyArray, "p d"]) -> Float[AnyArray, "n d"]:
    """Q · coordinates: back from the span to Rⁿ."""
    if Q is None:
        return coordinates
    n, p = Q.reflectors.shape
    return jax.lax.linalg.ormqr(Q.reflectors, Q.coefficients, jnp.pad(coordinates, ((0, n - p), (0, 0))))
