"""The shared subspace of k adapters by iteratively reweighted least squares (Eq. 1–3, Sec. 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from subspace.compression import Compressed, compress, expand
from subspace.crowd import CROWDED, Crowd, Solution
from subspace.errors import InputError
from subspace.grouping import (
    Layout,
    Part,
    StacksOnDemand,
    core_numbers,
    flatten_layers,
    layouts_of,
    solve_in_groups,
)
from subspace.low_rank import LowRank
from subspace.namespace import AnyArray
from subspace.pytrees import register_dataclass
from subspace.svd import svd
from subspace.threads import after, is_traced, one_blas_thread
from subspace.validation import check_adapters, check_stacks

EPSILON = 1e-3
"""Default of ``epsilon``: residuals below 0.1 % of a typical adapter count as equal. Large against the rounding of a
float32 residual (1e-6), so that weights do not depend on noise; small against residuals that mean something, so that an
adapter that fits exactly may still weigh 1,000 times (α = 1) as much as one that is not fitted at all."""

MAX_ITERATIONS = 100
TOLERANCE = 1e-5

T = TypeVar("T")


@register_dataclass
@dataclass(frozen=True, eq=False)
class SharedSubspace:
    """What k adapters share in each matrix. Layer axes lead in every field; p = min(k·r, n, m)."""

    factors: LowRank
    """The minimiser A Bᵀ of Eq. 2 for the final weights: canonical (A = U Σ^½, B = V Σ^½), A (*layers, n, dim)."""
    weights: Float[AnyArray, "*layers k"]
    """w_i / Σ w of the final C: how much each adapter was believed. An outlier is near zero."""
    singular_values: Float[AnyArray, "*layers p"]
    """Singular values of the final C, in decreasing order."""
    initial_singular_values: Float[AnyArray, "*layers p"]
    """Those of C in the first iteration, with equal weights: what the paper's figures show."""
    residuals: Float[AnyArray, "*layers k"]
    """‖A Bᵀ − A_i B_iᵀ‖_F of each adapter, in the unit of the weights."""
    objective: Float[AnyArray, "*layers max_iterations"]
    """Σ (ε² + residual²)^(α/2) after each iteration: Eq. 1, smoothed, which never increases. NaN after the last one."""
    iterations: Int[AnyArray, "*layers"]
    """Singular value decompositions done."""
    converged: Bool[AnyArray, "*layers"]
    """Whether the weights stood still within ``tolerance`` before ``max_iterations``."""


def shared_subspace(
    adapters: LowRank,
    dim: int,
    *,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> SharedSubspace:
    """The rank-``dim`` update that is closest to k adapters, robustly: min over A, B of Σ_i ‖A Bᵀ − A_i B_iᵀ‖_F^α (Eq. 1).

    Starts from equal weights and alternates the truncated SVD of the weighted mean C (Eq. 3) with
    w_i = (ε² + ‖A Bᵀ − A_i B_iᵀ‖_F²)^(−(2−α)/2). All layers are solved in one batch, each stops for itself. Exact: the
    k·r columns are compressed once by QR, the iteration runs on the small cores, no n×m matrix is formed.

    Args:
      adapters: A (k, *layers, n, r), B (k, *layers, m, r): the adapter axis first, any layer axes after it. float32 or
        float64; lower precision is computed in float32.
      dim: dimension d' of the subspace, at most min(k·r, n, m).
      alpha: exponent in (0, 2]. 1 is robust to outliers; 2 is the plain mean, which needs one iteration.
      epsilon: smoothing, as a fraction of the median Frobenius norm of the adapters (see :data:`EPSILON`).
      max_iterations: most SVDs to spend.
      tolerance: stop when no normalised weight moves by more than this fraction of the largest one.

    Raises:
      ValueError: outside of ``jit``, for bad shapes, NaN or infinity (naming the adapter and the layer), or a ``dim``,
        ``alpha``, ``epsilon`` or ``tolerance`` out of range. Under ``jit`` only what shapes show.
    """
    check_adapters(adapters, dim)
    check_options(alpha, epsilon, max_iterations, tolerance)
    flat, layers = flatten_layers(adapters), adapters.A.shape[1:-2]
    dims = jnp.full(flat.A.shape[1], dim)
    found = _solve_stack(flat, dims, alpha, epsilon, tolerance, width=int(dim), max_iterations=int(max_iterations))
    return jax.tree.map(lambda x: x.reshape(*layers, *x.shape[1:]), found)


def shared_subspaces(
    adapters: Mapping[str, LowRank],
    dim: int | Mapping[str, int],
    *,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> dict[str, SharedSubspace]:
    """:func:`shared_subspace` of every matrix of a model: ``{path: LowRank}`` in, ``{path: SharedSubspace}`` out.

    Matrices of similar shapes are padded, stacked and solved by one compiled call (:mod:`subspace.grouping`), whatever their
    layer axes.

    Args:
      adapters: {path: A (k, *layers, n, r), B (k, *layers, m, r)}.
      dim: dimension d' of the subspaces: one number, or one for each path, as small matrices may not have room for the
        others'.
      alpha, epsilon, max_iterations, tolerance: as in :func:`shared_subspace`.

    Raises:
      ValueError: as :func:`shared_subspace`, naming the path; also for no adapters, or a path without a dimension.
    """
    check_options(alpha, epsilon, max_iterations, tolerance)
    dims = check_stacks(adapters, dim)

    def solve(together: LowRank, own_dims: np.ndarray) -> SharedSubspace:
        options = {"width": int(own_dims.max()), "max_iterations": int(max_iterations)}
        return _solve_stack(together, jnp.asarray(own_dims), alpha, epsilon, tolerance, **options)

    layouts = layouts_of(adapters)
    together, crowded = without_crowds(adapters)
    solved = solve_in_groups(together, dims, solve)
    found = {path: cut(found, layouts[path], dims[path]) for path, found in solved.items()}
    for path in crowded:

        def alone(crowd: Crowd, dim: int = dims[path]) -> SharedSubspace:
            return of_crowd(crowd, dim, alpha, epsilon, tolerance, max_iterations)[0]

        found[path] = each_layer(adapters[path], alone)
    return {path: found[path] for path in layouts}


def without_crowds(adapters: Mapping[str, LowRank]) -> tuple[Mapping[str, LowRank], list[str]]:
    """The stacks that are solved together, and the paths of those that are too large for it (:mod:`subspace.crowd`)."""
    layouts = layouts_of(adapters)
    crowded = [path for path, x in layouts.items() if core_numbers(x.k, x.rank, x.n, x.m) > CROWDED]
    if not crowded:
        return adapters, []
    if not isinstance(adapters, StacksOnDemand) and any(map(is_traced, jax.tree.leaves(dict(adapters)))):
        return adapters, []
    return Part(adapters, [path for path in layouts if path not in set(crowded)]), crowded


def each_layer(stack: LowRank, solve: Callable[[Crowd], T]) -> T:
    """``solve`` of every matrix (k, *layers, n, r), with its layer axes in front."""
    layers = stack.A.shape[1:-2]
    found = [solve(Crowd(stack[(slice(None), *index)])) for index in np.ndindex(*layers)]
    return jax.tree.map(lambda *x: np.stack(x).reshape((*layers, *np.shape(x[0]))), *found)


def of_crowd(
    crowd: Crowd, dim: int, alpha: float, epsilon: float, tolerance: float, max_iterations: int
) -> tuple[SharedSubspace, Solution]:
    """What all adapters of a crowd share, and the same in its own coordinates."""
    equal = np.ones(crowd.k)
    found = crowd.solve(equal, dim, alpha, epsilon, tolerance, max_iterations)
    factors = crowd.expand(found)
    subspace = SharedSubspace(
        factors=factors,
        weights=found.weights.astype(factors.dtype),
        singular_values=crowd.spectrum(found.weights),
        initial_singular_values=crowd.spectrum(equal / crowd.k),
        residuals=found.residuals.astype(factors.dtype),
        objective=found.objective,
        iterations=np.array(found.iterations, np.int32),
        converged=np.array(found.converged),
    )
    return subspace, found


def cut(found: SharedSubspace, layout: Layout, dim: int) -> SharedSubspace:
    """Without the zeros that the matrix was padded with."""
    k, _, n, m, rank, _ = layout
    p = min(k * rank, n, m)
    return replace(
        found,
        factors=LowRank(found.factors.A[..., :n, :dim], found.factors.B[..., :m, :dim]),
        singular_values=found.singular_values[..., :p],
        initial_singular_values=found.initial_singular_values[..., :p],
    )


def check_options(alpha: float, epsilon: float, max_iterations: int, tolerance: float) -> None:
    if not is_traced(alpha) and not 0 < alpha <= 2:
        raise InputError(f"alpha must lie in (0, 2], got {alpha}")
    if not is_traced(epsilon) and not 0 < epsilon < float("inf"):
        raise InputError(f"epsilon must be positive, got {epsilon}")
    if max_iterations < 1:
        raise InputError(f"max_iterations must be at least 1, got {max_iterations}")
    if not is_traced(tolerance) and not tolerance >= 0:
        raise InputError(f"tolerance must not be negative, got {tolerance}")


@one_blas_thread
@partial(jax.jit, static_argnames=("width", "max_iterations"))
def _solve_stack(
    adapters: LowRank, dims: Int[Array, " L"], alpha, epsilon, tolerance, *, width: int, max_iterations: int
) -> SharedSubspace:
    """A (k, L, n, r): one subspace for each of L matrices, ``dims`` of its ``width`` columns are in use."""
    k = adapters.A.shape[0]

    def solve(own: LowRank, dim: Array) -> SharedSubspace:
        span = compress(own)
        fit = irls(span.cores, jnp.ones(k, span.cores.dtype), alpha, epsilon, tolerance, dim, width, max_iterations)
        return described(fit, span, dim, width, alpha)

    return jax.vmap(solve, in_axes=(1, 0))(adapters, dims)


def described(fit: Fit, span: Compressed, dim: int | Int[Array, ""], width: int, alpha) -> SharedSubspace:
    """What was found in the coordinates of the span, in those of the matrix."""
    root = jnp.sqrt(truncated(fit.sigma, dim, width) * span.scale)
    A = expand(span.Q_A, fit.U)
    B = expand(span.Q_B, after(fit.V, A))
    return SharedSubspace(
        factors=LowRank(A * root[None], B * root[None]),
        weights=fit.weights,
        singular_values=fit.sigma * span.scale,
        initial_singular_values=fit.initial_sigma * span.scale,
        residuals=fit.residuals * span.scale,
        objective=fit.objective * span.scale**alpha,
        iterations=fit.iterations,
        converged=fit.converged,
    )


class Fit(NamedTuple):
    """State and result of :func:`irls`, in the coordinates and the scale of the cores."""

    U: Float[Array, "p width"]
    V: Float[Array, "q width"]
    sigma: Float[Array, " s"]
    initial_sigma: Float[Array, " s"]
    weights: Float[Array, " k"]
    next_weights: Float[Array, " k"]
    residuals: Float[Array, " k"]
    objective: Float[Array, " max_iterations"]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def truncated(sigma: Float[Array, " s"], dim: int | Int[Array, ""], width: int) -> Float[Array, " width"]:
    """The first ``width`` singular values, those after the ``dim`` largest as zero."""
    return jnp.where(jnp.arange(width) < dim, sigma[:width], 0)


def irls(
    cores: Float[Array, "k p q"],
    counts: Float[Array, " k"],
    alpha,
    epsilon,
    tolerance,
    dim: int | Int[Array, ""],
    width: int,
    max_iterations: int,
) -> Fit:
    """Eq. 1–3 on small dense matrices; adapter i counts ``counts[i]`` times (0 leaves it out).

    ``dim`` may be traced, so that matrices of different dimensions share a program; ``width`` is the largest.
    """
    k, p, q = cores.shape
    s, dtype = min(p, q), cores.dtype
    epsilon = epsilon * typical_norm(jnp.sqrt(jnp.sum(cores**2, axis=(1, 2))), counts)

    def iterate(state: Fit) -> Fit:
        weights = state.next_weights
        U, sigma, Vt = svd(jnp.einsum("k,kpq->pq", weights, cores, precision="highest"))
        U, V = U[:, :width], Vt[:width].T
        S = jnp.matmul(U * truncated(sigma, dim, width)[None], V.T, precision="highest")
        # differences, not inner products: those would lose a small residual in the rounding of large norms
        residuals = jnp.sqrt(jnp.sum((S[None] - cores) ** 2, axis=(1, 2)))
        squares = jnp.maximum(epsilon**2 + residuals**2, jnp.finfo(dtype).tiny)
        smallest = jnp.min(jnp.where(counts > 0, squares, jnp.inf))
        next_weights = counts * (squares / smallest) ** (-(2 - alpha) / 2)
        next_weights /= jnp.sum(next_weights)
        moved = jnp.max(jnp.abs(next_weights - weights))
        return Fit(
            U=U,
            V=V,
            sigma=sigma,
            initial_sigma=jnp.where(state.iterations == 0, sigma, state.initial_sigma),
            weights=weights,
            next_weights=next_weights,
            residuals=residuals,
            objective=state.objective.at[state.iterations].set(jnp.sum(counts * squares ** (alpha / 2))),
            iterations=state.iterations + 1,
            converged=moved <= tolerance * jnp.max(next_weights),
        )

    start = Fit(
        U=jnp.zeros((p, width), dtype),
        V=jnp.zeros((q, width), dtype),
        sigma=jnp.zeros(s, dtype),
        initial_sigma=jnp.zeros(s, dtype),
        weights=jnp.zeros(k, dtype),
        next_weights=counts / jnp.sum(counts),
        residuals=jnp.zeros(k, dtype),
        objective=jnp.full(max_iterations, jnp.nan, dtype),
        iterations=jnp.zeros((), jnp.int32),
        converged=jnp.zeros((), bool),
    )
    return jax.lax.while_loop(lambda s: (s.iterations < max_iterations) & ~s.converged, iterate, start)


def typical_norm(norms: Float[Array, " k"], counts: Float[Array, " k"]) -> Float[Array, ""]:
    """The (lower) median of the norms, each counted ``counts`` times; the largest if that is zero, 1 if all are."""
    order = jnp.argsort(norms)
    counted = jnp.cumsum(counts[order])
    median = norms[order][jnp.argmax(counted >= counted[-1] / 2)]
    largest = jnp.max(jnp.where(counts > 0, norms, 0))
    return jnp.where(median > 0, median, jnp.where(largest > 0, largest, 1))
