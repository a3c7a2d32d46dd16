"""How far two subspaces are apart: the generalised eigenvalues of Eq. 4–5 (Sec. 4.3) and principal angles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from subspace.errors import InputError
from subspace.grouping import solve_in_groups, stack_attributes
from subspace.low_rank import LowRank, orthonormal_factors
from subspace.namespace import AnyArray, compiled_for_jax, matmul, namespace
from subspace.svd import svd
from subspace.threads import after, is_traced, one_blas_thread
from subspace.validation import check_finite, check_pair

Side = Literal["output", "input"]
SIDES: tuple[Side, Side] = ("output", "input")


class Frame(NamedTuple):
    """Orthonormal columns that span a subspace. A column whose ``present`` is False is not part of it."""

    columns: Float[AnyArray, "*layers n d"]
    present: Bool[AnyArray, "*layers d"]


@one_blas_thread
def generalized_eigh(
    M: Float[AnyArray, "*batch p p"], N: Float[AnyArray, "*batch p p"]
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
) -> Float[AnyArray, "*layers d_plus_d"]:
    """All d + d' generalised eigenvalues of Eq. 5, increasing, in [0, 2]. They equal 1 ± cos θ_i of the principal angles.

    The smallest is the distance d(S, S') of Eq. 4: 0 if the subspaces share a direction, 1 if they are orthogonal. SᵀS is
    m×m and singular as printed, so the problem is solved in the row-space coordinates y = Σ Vᵀ x, where SᵀS becomes the
    identity and every value that is not 0/0 is kept. In these coordinates scaling S, or mixing the columns of its factors,
    plainly changes nothing. A direction that a rank-deficient S lacks is taken as orthogonal to everything: it adds a 1.

    Args:
      S: (*layers, n, m) of any rank d; ``side="output"`` compares column spaces (the paper's), "input" row spaces. NumPy's
        factors are computed by NumPy.
      S_prime: the other subspace, in the same space on that side.
      rank_tolerance: singular values below this fraction of the largest count as zero; default 8·d·eps.

    Raises:
      ValueError: outside of ``jit``, for sizes that do not fit, NaN or infinity (naming the layer).
    """
    check_pair(S, S_prime, ("S", "S_prime"), side)
    return _generalized_eigenvalues(S, S_prime, side=side, rank_tolerance=rank_tolerance)


def principal_angles(
    S: LowRank, S_prime: LowRank, side: Side = "output", *, rank_tolerance: float | None = None
) -> Float[AnyArray, "*layers d"]:
    """The min(d, d') principal angles between two subspaces in radians, increasing.

    Equivalent to ``scipy.linalg.subspace_angles`` of the column spaces (``side="output"``) or the row spaces ("input") of
    S and S', which returns them decreasing. Accurate for small angles as well as for large ones. Arguments and errors as in
    :func:`generalized_eigenvalues`; a direction that a rank-deficient S lacks is at 90° to everything.
    """
    check_pair(S, S_prime, ("S", "S_prime"), side)
    return _principal_angles(S, S_prime, side=side, rank_tolerance=rank_tolerance)


def angles_of_eigenvalues(
    eigenvalues: Float[AnyArray, "*layers two_d"],
) -> Float[AnyArray, "*layers d"]:
    """The d principal angles θ_i in radians, increasing, of the 2d eigenvalues 1 ± cos θ_i of Eq. 5.

    Of float32 eigenvalues an angle near zero is good to about 1e-3 (0.06°), and to less with many dimensions;
    :func:`principal_angles` keeps its digits.

    Args:
      eigenvalues: increasing along the last axis, of two subspaces of one dimension d, as
        :func:`generalized_eigenvalues` and :func:`subspace.null_eigenvalues` return them; NumPy's are computed by NumPy.

    Raises:
      ValueError: for an odd number of eigenvalues.
    """
    xp, count = namespace(eigenvalues), eigenvalues.shape[-1]
    if count % 2:
        raise InputError(f"eigenvalues must be those of two subspaces of one dimension, got {count} of them")
    return xp.arccos(xp.clip(1 - eigenvalues[..., : count // 2], 0, 1))


def pairwise_eigenvalues(
    subspaces: Mapping[str, LowRank], side: Side = "output", *, rank_tolerance: float | None = None
) -> dict[tuple[str, str], Float[Array, "*layers two_d"]]:
    """:func:`generalized_eigenvalues` of all pairs of attributes and all layers, in one vmapped, compiled call.

    Args:
      subspaces: ``{attribute: LowRank}`` of equal shapes, stacked over layers, (*layers, n, m) of rank d.
      side: "output" compares column spaces (the paper's), "input" row spaces.
      rank_tolerance: as in :func:`generalized_eigenvalues`.

    Returns:
      ``{(attribute, attribute): (*layers, 2d)}`` in the mapping's order, each pair once.

    Raises:
      ValueError: for fewer than two attributes, unequal shapes, NaN or infinity (naming the attribute and the layer).
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


def pairwise_eigenvalues_by_path(
    subspaces: Mapping[str, Mapping[str, LowRank]], *, rank_tolerance: float | None = None
) -> dict[Side, dict[str, Float[np.ndarray, "*layers pairs two_d"]]]:
    """:func:`pairwise_eigenvalues` of every matrix of a model on both sides, in few compiled calls whatever the shapes.

    Args:
      subspaces: ``{attribute: {path: LowRank}}``, (*layers, n, m) of rank d ≤ min(n, m); all attributes have the same
        paths, shapes and ranks.
      rank_tolerance: as in :func:`generalized_eigenvalues`.

    Returns:
      ``{side: {path: (*layers, pairs, 2d)}}``, increasing, in [0, 2]; pairs in the order of ``itertools.combinations``.

    Raises:
      ValueError: for fewer than two attributes, paths, shapes or ranks that differ, a rank larger than its matrix, NaN or
        infinity (naming the attribute, the path and the layer).
    """
    names = list(subspaces)
    if len(names) < 2:
        raise InputError(f"subspaces must hold at least two attributes to compare, got {names}")
    for name, by_path in subspaces.items():
        for path, subspace in by_path.items():
            if subspace.rank > min(subspace.shape[-2:]):
                raise InputError(f"{name}: {path} {subspace.shape} has rank {subspace.rank}: canonicalize it first")
            check_finite(subspace, f"{name}: {path}")
    stacks = stack_attributes(subspaces)
    pairs = jnp.array(list(itertools.combinations(range(len(names)), 2)))

    def solve(together: LowRank, _: object) -> tuple[Array, Array]:
        return _eigenvalues_on_both_sides(together, pairs, rank_tolerance=rank_tolerance)

    solved = solve_in_groups(stacks, dict.fromkeys(stacks), solve)
    return {side: {path: np.asarray(found[i]) for path, found in solved.items()} for i, side in enumerate(SIDES)}


@compiled_for_jax("side", "rank_tolerance")
def _generalized_eigenvalues(S: LowRank, S_prime: LowRank, *, side: Side, rank_tolerance: float | None) -> AnyArray:
    return eigenvalues_between(*_two_frames(S, S_prime, side, rank_tolerance))


@compiled_for_jax("side", "rank_tolerance")
def _principal_angles(S: LowRank, S_prime: LowRank, *, side: Side, rank_tolerance: float | None) -> AnyArray:
    return angles_between(*_two_frames(S, S_prime, side, rank_tolerance))


@one_blas_thread
@partial(jax.jit, static_argnames=("side", "rank_tolerance"))
def _pairwise_eigenvalues(stacked: LowRank, pairs: Array, *, side: Side, rank_tolerance: float | None) -> AnyArray:
    return _between_pairs(frame(stacked, side, rank_tolerance), pairs)


@one_blas_thread
@partial(jax.jit, static_argnames="rank_tolerance")
def _eigenvalues_on_both_sides(
    stacked: LowRank, pairs: Array, *, rank_tolerance: float | None
) -> tuple[Float[Array, "L pairs two_d"], Float[Array, "L pairs two_d"]]:
    """Of a stack (attributes, L, n, m)."""
    outputs, inputs = frames(stacked, rank_tolerance)
    found = _between_pairs(outputs, pairs)
    waiting = Frame(after(inputs.columns, found), inputs.present)
    return jnp.moveaxis(found, 0, 1), jnp.moveaxis(_between_pairs(waiting, pairs), 0, 1)


def _between_pairs(stacked: Frame, pairs: Array) -> Float[Array, "pairs *layers two_d"]:
    def between(i: Array, j: Array) -> Array:
        first, second = (Frame(stacked.columns[which], stacked.present[which]) for which in (i, j))
        return jnp.asarray(eigenvalues_between(first, second))

    return jax.vmap(between)(pairs[:, 0], pairs[:, 1])


def default_rank_tolerance(d: int, dtype: jnp.dtype) -> float:
    """Singular values of a rank-d product below this fraction of the largest are rounding."""
    return 8 * d * float(jnp.finfo(dtype).eps)


def frames(S: LowRank, rank_tolerance: float | None = None) -> tuple[Frame, Frame]:
    """Orthonormal bases of the column space and of the row space of each matrix, in decreasing order of singular values."""
    U, sigma, V = orthonormal_factors(S)
    tolerance = default_rank_tolerance(S.rank, sigma.dtype) if rank_tolerance is None else rank_tolerance
    present = sigma > tolerance * sigma[..., :1]
    return Frame(U, present), Frame(V, present)


def frame(S: LowRank, side: Side, rank_tolerance: float | None = None) -> Frame:
    """Orthonormal basis of the column space (``side="output"``) or row space ("input") of each matrix."""
    return frames(S, rank_tolerance)[SIDES.index(side)]


def _two_frames(S: LowRank, S_prime: LowRank, side: Side, rank_tolerance: float | None) -> tuple[Frame, Frame]:
    first = frame(S, side, rank_tolerance)
    # two independent chains of LAPACK calls could wait for each other (subspace.threads)
    return first, frame(LowRank(after(S_prime.A, first.columns), S_prime.B), side, rank_tolerance)


def _cosines(first: Frame, second: Frame) -> Float[AnyArray, "*layers d d2"]:
    """UᵀU', with zeros for absent columns."""
    overlap = matmul(first.columns.mT, second.columns)
    return namespace(overlap).where(first.present[..., :, None] & second.present[..., None, :], overlap, 0)


def eigenvalues_between(first: Frame, second: Frame) -> Float[AnyArray, "*layers d_plus_d"]:
    """Eq. 5 for two frames: the eigenvalues of [[I, −UᵀU'], [−U'ᵀU, I]]."""
    overlap = _cosines(first, second)
    xp, (d, d_prime) = namespace(overlap), overlap.shape[-2:]
    one, one_prime = (
        xp.broadcast_to(xp.eye(size, dtype=overlap.dtype), (*overlap.shape[:-2], size, size)) for size in (d, d_prime)
    )
    pencil = xp.concatenate(
        [xp.concatenate([one, -overlap], axis=-1), xp.concatenate([-overlap.mT, one_prime], axis=-1)], axis=-2
    )
    options = {} if xp is np else {"symmetrize_input": False}
    return xp.clip(xp.linalg.eigvalsh(pencil, **options), 0, 2)


def angles_between(first: Frame, second: Frame) -> Float[AnyArray, "*layers d"]:
    """Principal angles from both cosines and sines, so that small ones keep their digits (Björck and Golub, 1973)."""
    if first.columns.shape[-1] < second.columns.shape[-1]:
        first, second = second, first
    overlap = _cosines(first, second)
    xp = namespace(overlap)
    _, cosines, Zt = svd(overlap)
    # U' Z − U UᵀU' Z, in which a column that is absent lies in a dimension of its own, orthogonal to everything;
    # Z makes the second SVD wait for the first and leaves its singular values as they are
    present = second.present[..., None, :]
    inside = matmul(xp.where(first.present[..., None, :], first.columns, 0), overlap)
    own_dimensions = xp.where(
        present,
        0,
        xp.broadcast_to(xp.eye(present.shape[-1], dtype=overlap.dtype), Zt.mT.shape[:-2] + (present.shape[-1],) * 2),
    )
    outside = xp.concatenate([xp.where(present, second.columns, 0) - inside, own_dimensions], axis=-2)
    sines = xp.linalg.svd(matmul(outside, Zt.mT), compute_uv=False)
    return xp.arctan2(sines[..., ::-1], cosines)
