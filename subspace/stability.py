"""Were k adapters enough? The shared subspace against those of subsets of the same adapters.

:func:`examine_subspaces` is :func:`subspace.shared_subspaces` with that question answered, from one compression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.angles import Frame, angles_between, default_rank_tolerance
from subspace.compression import compress
from subspace.crowd import Crowd, Solution
from subspace.errors import InputError
from subspace.grouping import Layout, layouts_of, solve_in_groups
from subspace.low_rank import LowRank
from subspace.namespace import AnyArray, namespace
from subspace.pytrees import register_dataclass
from subspace.shared import (
    EPSILON,
    MAX_ITERATIONS,
    TOLERANCE,
    Fit,
    SharedSubspace,
    check_options,
    cut,
    described,
    each_layer,
    irls,
    of_crowd,
    truncated,
    without_crowds,
)
from subspace.threads import after, one_blas_thread
from subspace.validation import check_dim, check_stacks


@register_dataclass
@dataclass(frozen=True, eq=False)
class Stability:
    """Result of :func:`subspace_stability`; angles in radians, increasing along the last axis."""

    output_angles: Float[AnyArray, "*layers samples dim"]
    """Principal angles between the column spaces of the whole solution and of each subset's."""
    input_angles: Float[AnyArray, "*layers samples dim"]
    """The same for the row spaces."""
    held_out_energy: Float[AnyArray, "*layers samples"]
    """Share, 0 to 1, of the energy of the adapters that a subset leaves out which the subset's subspace captures (mean over
    these adapters; NaN if it leaves none out)."""
    random_energy: Float[AnyArray, "*layers"]
    """What a random subspace of the same size would capture: dim² / (n · m)."""
    held_out_share: Float[AnyArray, "*layers k"]
    """The same share of each adapter by itself, mean over the subsets that leave it out; NaN where none does."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class Examined:
    """Result of :func:`examine_subspaces` for one matrix."""

    subspace: SharedSubspace
    """What all adapters share."""
    captured: Float[AnyArray, "*layers k"]
    """Share, 0 to 1, of each adapter's energy in the subspace that it helped to find; 0 for an adapter that is zero."""
    stability: Stability | None
    """Of subspaces of ``dim`` dimensions, or of as many as the smallest subset can span; None with fewer than three adapters,
    of which no two can be left to share anything."""


def subspace_stability(
    adapters: LowRank,
    dim: int,
    *,
    bootstrap_samples: int = 0,
    key: PRNGKeyArray | None = None,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Stability:
    """How far the shared subspace turns when adapters are left out one by one, or drawn anew with replacement.

    Small angles and a held-out energy far above ``random_energy``: the k adapters agree and are enough. Angles near 90° or a
    held-out energy near ``random_energy``: what they "share" is one adapter's own. All subsets share one compression.

    Args:
      adapters: A (k, *layers, n, r), B (k, *layers, m, r) with k ≥ 2.
      dim: dimension of the subspace; without any one adapter it must still fit, so at most min((k − 1)·r, n, m).
      bootstrap_samples: 0 leaves out each adapter once (samples = k); otherwise this many bootstrap draws of k adapters.
      key: randomness of the bootstrap.
      alpha, epsilon, max_iterations, tolerance: as in :func:`subspace.shared_subspace`.

    Raises:
      ValueError: as :func:`subspace.shared_subspace`; also for fewer than two adapters or a bootstrap without a key.
    """
    found = subspace_stabilities(
        {"adapters": adapters},
        dim,
        bootstrap_samples=bootstrap_samples,
        key=key,
        alpha=alpha,
        epsilon=epsilon,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return found["adapters"]


def subspace_stabilities(
    adapters: Mapping[str, LowRank],
    dim: int | Mapping[str, int],
    *,
    bootstrap_samples: int = 0,
    key: PRNGKeyArray | None = None,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> dict[str, Stability]:
    """:func:`subspace_stability` of every matrix of a model, matrices of similar shapes in one compiled call.

    Args:
      adapters: {path: A (k, *layers, n, r), B (k, *layers, m, r)} with k ≥ 2.
      dim: one number, or one for each path, as in :func:`subspace.shared_subspaces`.
      bootstrap_samples, key: as in :func:`subspace_stability`; every matrix sees the same draws.
      alpha, epsilon, max_iterations, tolerance: as in :func:`subspace.shared_subspace`.

    Raises:
      ValueError: as :func:`subspace_stability`, naming the path.
    """
    check_options(alpha, epsilon, max_iterations, tolerance)
    dims = check_stacks(adapters, dim)
    for path, (k, _, n, m, rank, _) in layouts_of(adapters).items():
        if k < 2:
            raise InputError(f"{path} holds one adapter: leaving it out leaves nothing to compare with")
        if not bootstrap_samples:
            check_dim(dims[path], k - 1, rank, (n, m), f"{path} less one")
    if bootstrap_samples < 0:
        raise InputError(f"bootstrap_samples must not be negative, got {bootstrap_samples}")
    if bootstrap_samples and key is None:
        raise InputError("key is needed to draw bootstrap_samples")

    def solve(together: LowRank, own_dims: np.ndarray) -> _Found:
        counts = _counts(together.A.shape[0], bootstrap_samples, key).astype(together.dtype)
        options = {"width": int(own_dims.max()), "max_iterations": int(max_iterations)}
        used = jnp.asarray(own_dims)
        return _examine(together, used, used, counts, alpha, epsilon, tolerance, whole=False, same=True, **options)

    layouts = layouts_of(adapters)
    solved = solve_in_groups(adapters, dims, solve)
    return {path: _stability(found, layouts[path], dims[path]) for path, found in solved.items()}


LEAVE_ONE_OUT = 32
"""Up to so many adapters are left out one by one by :func:`examine_subspaces`, more of them fold by fold."""
FOLDS = 5
"""Folds of equal size, neighbours together: checkpoints of one run, which often are neighbours, do not vouch for each
other."""


def examine_subspaces(
    adapters: Mapping[str, LowRank],
    dim: int | Mapping[str, int],
    *,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Examined]:
    """:func:`subspace.shared_subspaces` with what :func:`subspace_stabilities` says of them, for the price of one of the two.

    Of at most :data:`LEAVE_ONE_OUT` adapters each is left out once; more are left out in :data:`FOLDS` folds, so that every
    adapter is measured by others that do not include it, and the price does not grow with the square of their number.

    Args:
      adapters: {path: A (k, *layers, n, r), B (k, *layers, m, r)}; they may be
        :class:`~subspace.grouping.StacksOnDemand`, of which a few are in memory at a time.
      dim, alpha, epsilon, max_iterations, tolerance: as in :func:`subspace.shared_subspaces`.
      progress: is told how many matrices have been solved since it was told last.

    Raises:
      ValueError: as :func:`subspace.shared_subspaces`.
    """
    check_options(alpha, epsilon, max_iterations, tolerance)
    dims = check_stacks(adapters, dim)
    layouts = layouts_of(adapters)
    left_out = {path: _left_out(layout.k) for path, layout in layouts.items()}
    without = {
        path: min(dims[path], (layout.k - int(left_out[path].sum(1).max(initial=0))) * layout.rank)
        for path, layout in layouts.items()
    }
    own = {path: np.broadcast_to((dims[path], without[path]), (*layouts[path].layers, 2)) for path in layouts}

    def solve(together: LowRank, own_dims: np.ndarray) -> _Found:
        counts = jnp.asarray(1 - _left_out(together.A.shape[0]), together.dtype)
        all_dims, subset_dims = jnp.asarray(own_dims).T
        options = {"width": int(own_dims.max()), "max_iterations": int(max_iterations)}
        same = np.array_equal(own_dims[:, 0], own_dims[:, 1])
        return _examine(
            together, all_dims, subset_dims, counts, alpha, epsilon, tolerance, whole=True, same=same, **options
        )

    together, crowded = without_crowds(adapters)
    solved = solve_in_groups(together, own, solve, progress)
    for path in crowded:

        def alone(crowd: Crowd, path: str = path) -> _Found:
            options = alpha, epsilon, tolerance, max_iterations
            return _examine_crowd(crowd, dims[path], without[path], 1 - left_out[path], *options)

        solved[path] = each_layer(adapters[path], alone)
        if progress is not None:
            progress(layouts[path].matrices)
    examined = {}
    for path in layouts:
        found = solved[path]
        assert found.subspace is not None and found.captured is not None
        stability = _stability(found, layouts[path], without[path]) if len(left_out[path]) else None
        examined[path] = Examined(cut(found.subspace, layouts[path], dims[path]), found.captured, stability)
    return examined


def examine_crowd(
    crowd: Crowd, dim: int, alpha: float, epsilon: float, tolerance: float, max_iterations: int
) -> Examined:
    """:func:`examine_subspaces` of one matrix, whose adapters are a crowd."""
    left_out = _left_out(crowd.k)
    without = min(dim, (crowd.k - int(left_out.sum(1).max(initial=0))) * crowd.r)
    found = _examine_crowd(crowd, dim, without, 1 - left_out, alpha, epsilon, tolerance, max_iterations)
    assert found.subspace is not None and found.captured is not None
    layout = Layout(crowd.k, (), *crowd.shape, crowd.r, (crowd.dtype, crowd.dtype))
    stability = _stability(found, layout, without) if len(left_out) else None
    return Examined(found.subspace, found.captured, stability)


def _examine_crowd(
    crowd: Crowd,
    dim: int,
    subset_dim: int,
    counts: np.ndarray,
    alpha: float,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> _Found:
    """:func:`_examine` of one matrix."""
    options = alpha, epsilon, tolerance, max_iterations
    subspace, found = of_crowd(crowd, dim, *options)
    whole = found if dim == subset_dim else crowd.solve(np.ones(crowd.k), subset_dim, *options)
    energy = np.where(crowd.energy > 0, crowd.energy, 1)

    def present(solution: Solution) -> np.ndarray:
        return solution.sigma > default_rank_tolerance(len(solution.sigma), solution.sigma.dtype) * solution.sigma[:1]

    def shares(solution: Solution) -> np.ndarray:
        used = present(solution).astype(solution.U.dtype)
        return crowd.energy_inside(solution.U * used, solution.V * used) / energy

    dtype, angles, held_out = subspace.weights.dtype, ([], []), []
    for own_counts in counts:
        part = crowd.solve(own_counts, subset_dim, *options)
        for side, both in zip(angles, ((whole.U, part.U), (whole.V, part.V)), strict=True):
            first, second = (Frame(x, present(y)) for x, y in zip(both, (whole, part), strict=True))
            side.append(angles_between(first, second))
        held_out.append(np.where(own_counts == 0, shares(part), np.nan))
    output_angles, input_angles = (np.reshape(side, (len(counts), subset_dim)).astype(dtype) for side in angles)
    own_shares = np.reshape(held_out, counts.shape).astype(dtype)
    return _Found(subspace, np.minimum(shares(found), 1).astype(dtype), output_angles, input_angles, own_shares)


def _left_out(k: int) -> np.ndarray:
    """Which adapters each subset leaves out (subsets, k), as ones; no subset of fewer than three."""
    if k < 3:
        return np.zeros((0, k))
    folds = np.array_split(np.arange(k), k if k <= LEAVE_ONE_OUT else FOLDS)
    return np.stack([np.isin(np.arange(k), fold) for fold in folds]).astype(float)


def _counts(k: int, bootstrap_samples: int, key: PRNGKeyArray | None) -> Array:
    """How often each adapter counts in each subset: (samples, k)."""
    if key is None or not bootstrap_samples:
        return 1 - jnp.eye(k)
    draws = jax.random.randint(key, (bootstrap_samples, k), 0, k)
    return jnp.sum(jax.nn.one_hot(draws, k), axis=1)


class _Found(NamedTuple):
    """Of L matrices, of which each may have fewer than ``width`` dimensions."""

    subspace: SharedSubspace | None
    captured: Float[AnyArray, "L k"] | None
    output_angles: Float[AnyArray, "L samples width"]
    input_angles: Float[AnyArray, "L samples width"]
    shares: Float[AnyArray, "L samples k"]
    """Share of every adapter's energy in every subset's subspace; NaN of adapters that belong to the subset."""


def _stability(found: _Found, layout: Layout, dim: int) -> Stability:
    xp = namespace(found.shares)
    chance = xp.full(found.shares.shape[:-2], dim**2 / (layout.n * layout.m), found.shares.dtype)
    return Stability(
        found.output_angles[..., :dim],
        found.input_angles[..., :dim],
        _mean_of_known(found.shares, -1),
        chance,
        _mean_of_known(found.shares, -2),
    )


def _mean_of_known(values: AnyArray, axis: int) -> AnyArray:
    """Mean of what is not NaN; NaN of nothing."""
    xp = namespace(values)
    known = ~xp.isnan(values)
    count = known.sum(axis).astype(values.dtype)
    total = xp.where(known, values, 0).sum(axis)
    return xp.where(count > 0, total / xp.where(count > 0, count, 1), xp.nan).astype(values.dtype)


@one_blas_thread
@partial(jax.jit, static_argnames=("width", "max_iterations", "whole", "same"))
def _examine(
    adapters: LowRank,
    dims: Array,
    subset_dims: Array,
    counts: Array,
    alpha,
    epsilon,
    tolerance,
    *,
    width: int,
    max_iterations: int,
    whole: bool,
    same: bool,
) -> _Found:
    """L matrices, A (k, L, n, r): all adapters with ``dims``, subsets with ``subset_dims`` (``same``: they are equal).

    Without ``whole`` only what subsets say.
    """

    def solve(own: LowRank, dim: Array, subset_dim: Array) -> _Found:
        span = compress(own)
        cores = span.cores
        k = cores.shape[0]
        energy = jnp.sum(cores**2, axis=(1, 2))

        def fit(own_counts: AnyArray, used_dim: Array) -> Fit:
            return irls(cores, jnp.asarray(own_counts), alpha, epsilon, tolerance, used_dim, width, max_iterations)

        def frames(found: Fit, used_dim: Array) -> tuple[Frame, Frame]:
            """The column space and the row space."""
            sigma = truncated(found.sigma, used_dim, width)
            present = sigma > default_rank_tolerance(width, sigma.dtype) * sigma[:1]  # the others are rounding
            return Frame(found.U, present), Frame(found.V, present)

        def shares(*sides: Frame) -> Array:
            """Of every adapter's energy in a subspace."""
            outputs, inputs = (jnp.where(side.present[None], side.columns, 0) for side in sides)
            inside = jnp.einsum("pd,kpq,qe->kde", outputs, cores, inputs, precision="highest")
            return jnp.sum(inside**2, axis=(1, 2)) / jnp.where(energy > 0, energy, 1)

        found = fit(jnp.ones(k, cores.dtype), dim)
        outputs, inputs = frames(found, dim)
        subspace = captured = None
        turns = counts
        if whole:
            subspace = described(found, span, dim, width, alpha)
            turns = after(counts, subspace.factors.B)  # its LAPACK calls and those of subsets (subspace.threads)
            captured = jnp.minimum(shares(outputs, inputs), 1)
        if not same:
            outputs, inputs = frames(fit(after(jnp.ones(k, cores.dtype), turns), subset_dim), subset_dim)

        def compare(own_counts: Array) -> tuple[AnyArray, AnyArray, Array]:
            part = fit(own_counts.astype(cores.dtype), subset_dim)
            part_outputs, part_inputs = frames(part, subset_dim)
            share = shares(part_outputs, part_inputs)
            output_angles = angles_between(outputs, part_outputs)
            # the two sides know nothing of each other (subspace.threads)
            waiting = Frame(after(inputs.columns, output_angles), inputs.present)
            return output_angles, angles_between(waiting, part_inputs), jnp.where(own_counts == 0, share, jnp.nan)

        return _Found(subspace, captured, *jax.lax.map(compare, jnp.asarray(turns)))

    return jax.vmap(solve, in_axes=(1, 0, 0))(adapters, dims, subset_dims)
