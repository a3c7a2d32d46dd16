"""Bases from the model's own weights, or from their gradient, instead of mined ones: the PSV of the paper's Table 4."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from subspace import Basis
from subspace.errors import InputError
from subspace.threads import is_traced, one_blas_thread
from vggt_jax.adaptable import Matrix, weights_of
from vggt_jax.adapters.pissa import principal_directions


def principal_bases(
    base: nnx.State, matrices: Mapping[str, Matrix], dim: int, *, scaled: bool = False, steep: bool = False
) -> dict[str, Basis]:
    """The leading min(``dim``, n, m) left and right singular vectors of every weight as Ā and B̄, for a ``SubspaceForm``.

    With ``scaled`` the columns of Ā are multiplied by their singular values, U Σ, which makes the ``SubspaceForm`` LoRA-XS
    (Bałazy et al. 2024). Spectra are 1: every direction is one of a single source.

    Directions with σ below 3e-4 of the largest are rounding, which weights do not come near. ``steep`` is for matrices whose
    singular values fall further, such as gradients: in float64 on the host, one layer after the other, outside of ``jit``.

    Raises InputError for a dimension below 1.
    """
    if dim < 1:
        raise InputError(f"dim must be at least 1, got {dim}")
    found = {}
    for path, weights in weights_of(base, matrices):
        matrix = matrices[path]
        side = min(dim, matrix.n, matrix.m)
        exact = steep and not is_traced(weights)  # traced, they are only counted
        U, sigma, V = (_on_host if exact else _principal_vectors)(weights, side)
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


def _on_host(weights: Float[Array, "*layers n m"], rank: int) -> tuple[Array, Array, Array]:
    """The same in float64: from the eigenvectors of the smaller Gram matrix, right for σ down to 1e-7 of the largest."""
    if weights.shape[-2] > weights.shape[-1]:
        V, sigma, U = _on_host(weights.mT, rank)
        return U, sigma, V
    layers = np.asarray(weights, np.float64).reshape(-1, *weights.shape[-2:])
    found = []
    for W in layers:
        _, vectors = np.linalg.eigh(W @ W.T)  # in ascending order
        U = vectors[:, ::-1][:, :rank]
        V, R = np.linalg.qr(W.T @ U)
        found.append((U, np.abs(np.diag(R)), V * np.where(np.diag(R) < 0, -1, 1)))
    U, sigma, V = (jnp.asarray(np.stack(each), jnp.float32) for each in zip(*found, strict=True))
    stack = weights.shape[:-2]
    return U.reshape(*stack, *U.shape[1:]), sigma.reshape(*stack, rank), V.reshape(*stack, *V.shape[1:])


@one_blas_thread
@jax.jit
def _orthonormal(columns: Float[Array, "*layers m r"]) -> Float[Array, "*layers m r"]:
    """The columns with unit length; where they are small, and orthogonal no longer, made so."""
    Q, R = jnp.linalg.qr(columns)
    diagonal = jnp.diagonal(R, axis1=-2, axis2=-1)
    return Q * jnp.where(diagonal < 0, -1, 1)[..., None, :]
