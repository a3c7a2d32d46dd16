"""Bases from the model's own weights instead of mined ones: the PSV of the paper's Table 4."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from subspace import Basis
from subspace.errors import InputError
from subspace.threads import one_blas_thread
from vggt_jax.adaptable import Matrix, weights_of
from vggt_jax.adapters.pissa import principal_directions


def principal_bases(
    base: nnx.State, matrices: Mapping[str, Matrix], dim: int, *, scaled: bool = False
) -> dict[str, Basis]:
    """The leading min(``dim``, n, m) left and right singular vectors of every weight as Ā and B̄, for a ``SubspaceForm``.

    With ``scaled`` the columns of Ā are multiplied by their singular values, U Σ, which makes the ``SubspaceForm`` LoRA-XS
    (Bałazy et al. 2024). Spectra are 1: every direction is one of a single source.

    Raises InputError for a dimension below 1.
    """
    if dim < 1:
        raise InputError(f"dim must be at least 1, got {dim}")
    found = {}
    for path, weights in weights_of(base, matrices):
        matrix = matrices[path]
        side = min(dim, matrix.n, matrix.m)
        U, sigma, V = _principal_vectors(weights, side)
        if scaled:
            U = U * sigma[..., None, :]
        ranks, spectrum = jnp.full(matrix.stack, side), jnp.ones((*matrix.stack, side))
        found[path] = Basis(U, V, ranks, ranks, spectrum, spectrum)
    return found


def _principal_vectors(weights: Float[Array, "*layers n m"], rank: int) -> tuple[Array, Array, Array]:
    """Orthonormal U (*layers, n, rank), singular values (*layers, rank) and V (*layers, m, rank); float32."""
    if weights.shape[-2] > weights.shape[-1]:
        V, sigma, U = _principal_vectors(weights.mT, rank)
        return U, sigma, V
    U, V_sigma = principal_directions(weights, rank=rank)
    return U, jnp.linalg.norm(V_sigma, axis=-2), _orthonormal(V_sigma)


@one_blas_thread
@jax.jit
def _orthonormal(columns: Float[Array, "*layers m r"]) -> Float[Array, "*layers m r"]:
    """The columns with unit length; where they are small, and orthogonal no longer, made so."""
    Q, R = jnp.linalg.qr(columns)
    diagonal = jnp.diagonal(R, axis1=-2, axis2=-1)
    return Q * jnp.where(diagonal < 0, -1, 1)[..., None, :]
