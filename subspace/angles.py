"""How far two subspaces are apart: the generalised eigenvalues of Eq. 4–5 (Sec. 4.3) and principal angles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from subspace.errors import InputError
from subspace.low_rank import LowRank, orthonormal_factors
from subspace.threads import after, is_traced, one_blas_thread
from subspace.validation import check_pair

Side = Literal["output", "input"]


class Frame(NamedTuple):
    """Orthonormal columns that span a subspace. A column whose ``present`` is False is not part of it."""

    columns: Float[Array, "*layers n d"]
    present: Bool[Array, "*layers d"]


@one_blas_thread
def generalized_eigh(
    M: Float[Array, "*batch p p"], N: Float[Array, "*batch p p"]
) -> tuple[Float[Array, "*batch p"], Float[Array, "*batch p p"]]:
    """Eigenvalues (increasing) and N-orthonormal eigenvectors of M x = λ N x, equivalent to ``scipy.linalg.eigh(M, N)``.

    ``M`` symmetric, ``N`` symmetric and positive definite (both lower triangles are read); where N is not positive
    definite the results are NaN under ``jit`` and a ValueError outside.
    """
    if M.shape != N.shape or M.ndim < 2 or M.shape[-1] != M.shape[-2]:
        raise InputError(f"M and N must be square matrices of one size, got M {M.shape} and N {N.shape}")
    values, vectors = _generalized_eigh(M, N)
    if not is_traced(values) and bool(jnp.isnan(values).any()):
        raise InputError("M and N must be finite, and N positive definite: N has no Cholesky factorisation")
    return values, vectors


@jax.jit
def _generalized_eigh(M: Array, N: Array) -> tuple[Array, Array]:
    L = jnp.linalg.cholesky(N, symmetrize_input=False)
    solve = partial(jax.lax.linalg.triangular_solve, L, lower=True)
    symmetric = jnp.tril(M) + jnp.tril(M, -1).mT
    reduced = solve(solve(symmetric, left_side=True), left_side=False, transpose_a=True)  # L⁻¹ M L⁻ᵀ
    values, vectors = jnp.linalg.eigh(reduced, symmetrize_input=True)
    return values, solve(vectors, left_side=True, transpose_a=True)


def generalized_eigenvalues(
    S: LowRank, S_prime: LowRank, side: Side = "output", *, rank_tolerance: float | None = None
) -> Float[Array, "*layers d_plus_d"]:
    """All d + d' generalised eigenvalues of Eq. 5, increasing, in [0, 2]. They equal 1 ± cos θ_i of the principal angles.

    The smallest is the distance d(S, S') of Eq. 4: 0 if the subspaces share a direction, 1 if they are orthogonal. SᵀS is
    m×m and singular as printed, so the problem is solved in the row-space coordinates y = Σ Vᵀ x, where SᵀS becomes the
    identity and every value that is not 0/0 is kept. In these coordinates scaling S, or mixing the columns of its factors,
    plainly changes nothing. A direction that a rank-deficient S lacks is taken as orthogonal to everything: it adds a 1.

    Args:
      S: (*layers, n, m) of any rank d; ``side="output"`` compares column spaces (the paper's), "input" row spaces.
      S_prime: the other subspace, in the same space on that side.
      rank_tolerance: singular values below this fraction of the largest count as zero; default 8·d·eps.

    Raises:
      ValueError: outside of ``jit``, for sizes that do not fit, NaN or infinity (naming the layer).
    """
    check_pair(S, S_prime, ("S", "S_prime"), side)
    return _generalized_eigenvalues(S, S_prime, side=side, rank_tolerance=rank_tolerance)


def principal_angles(
    S: LowRank, S_prime: LowRank, side: Side = "output", *, rank_tolerance: float | None = None
) -> Float[Array, "*layers d"]:
    """The min(d, d') principal angles between two subspaces in radians, increasing.

    Equivalent to ``scipy.linalg.subspace_angles`` of the column spaces (``side="output"``) or the row spaces ("input") of
    S and S', which returns them decreasing. Accurate for small angles as well as for large ones. Arguments and errors as in
    :func:`generalized_eigenvalues`; a direction that a rank-deficient S lacks is at 90° to everything.
    """
    check_pair(S, S_prime, ("S", "S_prime"), side)
    return _principal_angles(S, S_prime, side=side, rank_tolerance=rank_tolerance)


def pairwise_eigenvalues(
    subspaces: Mapping[str, LowRank], side: Side = "output", *, rank_tolerance: float | None = None
) -> dict[tuple[str, str], Float[Array, "*layers two_d"]]:
    """:func:`generalized_eigenvalues` of all pairs of attributes and all layers, in one vmapped, compiled call.

    Args:
      subspaces: ``{attribute: LowRank}`` of equal shapes, stacked over layers.

    Returns:
      ``{(attribute, attribute): (*layers, 2d)}`` in the mapping's order, each pair once.
    """
    names = list(subspaces)
    if len(names) < 2:
        raise InputError(f"subspaces must hold at least two attributes to compare, got {names}")
    first = subspaces[names[0]]
    for name in names:
        check_pair(first, subspaces[name], (names[0], name), side)
        if (first.A.shape, first.B.shape) != (subspaces[name].A.shape, subspaces[name].B.shape):
            raise InputError(
                f"{names[0]} {first.shape} of rank {first.rank} and {name} {subspaces[name].shape} of rank "
                f"{subspaces[name].rank} must have equal shapes"
            )
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *subspaces.values())
    pairs = list(itertools.combinations(range(len(names)), 2))
    values = _pairwise_eigenvalues(stacked, jnp.array(pairs), side=side, rank_tolerance=rank_tolerance)
    return {(names[i], names[j]): values[row] for row, (i, j) in enumerate(pairs)}


_STATIC = ("side", "rank_tolerance")


@one_blas_thread
@partial(jax.jit, static_argnames=_STATIC)
def _generalized_eigenvalues(S: LowRank, S_prime: LowRank, *, side: Side, rank_tolerance: float | None) -> Array:
    return eigenvalues_between(*_two_frames(S, S_prime, side, rank_tolerance))


@one_blas_thread
@partial(jax.jit, static_argnames=_STATIC)
def _principal_angles(S: LowRank, S_prime: LowRank, *, side: Side, rank_tolerance: float | None) -> Array:
    return angles_between(*_two_frames(S, S_prime, side, rank_tolerance))


@one_blas_thread
@partial(jax.jit, static_argnames=_STATIC)
def _pairwise_eigenvalues(stacked: LowRank, pairs: Array, *, side: Side, rank_tolerance: float | None) -> Array:
    frames = frame(stacked, side, rank_tolerance)

    def between(i: Array, j: Array) -> Array:
        return eigenvalues_between(*(Frame(frames.columns[which], frames.present[which]) for which in (i, j)))

    return jax.vmap(between)(pairs[:, 0], pairs[:, 1])


def default_rank_tolerance(d: int, dtype: jnp.dtype) -> float:
    """Singular values of a rank-d product below this fraction of the largest are rounding."""
    return 8 * d * float(jnp.finfo(dtype).eps)


def frame(S: LowRank, side: Side, rank_tolerance: float | None = None) -> Frame:
    """Orthonormal basis of the column space (``side="output"``) or row space ("input") of each matrix."""
    U, sigma, V = orthonormal_factors(S)
    tolerance = default_rank_tolerance(S.rank, sigma.dtype) if rank_tolerance is None else rank_tolerance
    present = sigma > tolerance * sigma[..., :1]
    return Frame(U if side == "output" else V, present)


def _two_frames(S: LowRank, S_prime: LowRank, side: Side, rank_tolerance: float | None) -> tuple[Frame, Frame]:
    first = frame(S, side, rank_tolerance)
    # two independent chains of LAPACK calls could wait for each other (subspace.threads)
    return first, frame(LowRank(after(S_prime.A, first.columns), S_prime.B), side, rank_tolerance)


def _cosines(first: Frame, second: Frame) -> Float[Array, "*layers d d2"]:
    """UᵀU', with zeros for absent columns."""
    overlap = jnp.matmul(first.columns.mT, second.columns, precision="highest")
    return overlap * first.present[..., :, None] * second.present[..., None, :]


def eigenvalues_between(first: Frame, second: Frame) -> Float[Array, "*layers d_plus_d"]:
    """Eq. 5 for two frames: the eigenvalues of [[I, −UᵀU'], [−U'ᵀU, I]]."""
    overlap = _cosines(first, second)
    d, d_prime = overlap.shape[-2:]
    one, one_prime = (
        jnp.broadcast_to(jnp.eye(size, dtype=overlap.dtype), (*overlap.shape[:-2], size, size)) for size in (d, d_prime)
    )
    pencil = jnp.concatenate(
        [jnp.concatenate([one, -overlap], axis=-1), jnp.concatenate([-overlap.mT, one_prime], axis=-1)], axis=-2
    )
    return jnp.clip(jnp.linalg.eigvalsh(pencil, symmetrize_input=False), 0, 2)


def angles_between(first: Frame, second: Frame) -> Float[Array, "*layers d"]:
    """Principal angles from both cosines and sines, so that small ones keep their digits (Björck and Golub, 1973)."""
    if first.columns.shape[-1] < second.columns.shape[-1]:
        first, second = second, first
    overlap = _cosines(first, second)
    _, cosines, Zt = jnp.linalg.svd(overlap, full_matrices=False)
    # U' Z − U UᵀU' Z, in which a column that is absent lies in a dimension of its own, orthogonal to everything;
    # Z makes the second SVD wait for the first and leaves its singular values as they are
    present = second.present[..., None, :]
    inside = jnp.matmul(first.columns * first.present[..., None, :], overlap, precision="highest")
    own_dimensions = jnp.eye(second.present.shape[-1], dtype=overlap.dtype) * ~present
    outside = jnp.concatenate([second.columns * present - inside, own_dimensions], axis=-2)
    sines = jnp.linalg.svd(jnp.matmul(outside, Zt.mT, precision="highest"), compute_uv=False)
    return jnp.arctan2(sines[..., ::-1], cosines)
