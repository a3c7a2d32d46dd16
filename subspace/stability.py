"""Were k adapters enough? The shared subspace against those of subsets of the same adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.angles import Frame, angles_between, default_rank_tolerance
from subspace.compression import compress
from subspace.errors import InputError
from subspace.grouping import solve_in_groups
from subspace.low_rank import LowRank
from subspace.namespace import AnyArray, namespace
from subspace.pytrees import register_dataclass
from subspace.shared import EPSILON, MAX_ITERATIONS, TOLERANCE, check_options, irls, truncated
from subspace.threads import after, one_blas_thread
from subspace.validation import check_dim, check_stacks


@register_dataclass
@dataclass(frozen=True, eq=False)
class Stability:
    """Result of :func:`subspace_stability`; angles in radians, increasing along the last axis."""

    output_angles: Float[Array, "*layers samples dim"]
    """Principal angles between the column spaces of the whole solution and of each subset's."""
    input_angles: Float[Array, "*layers samples dim"]
    """The same for the row spaces."""
    held_out_energy: Float[Array, "*layers samples"]
    """Share, 0 to 1, of the energy of the adapters that a subset leaves out which the subset's subspace captures (mean over
    these adapters; NaN if it leaves none out)."""
    random_energy: Float[Array, "*layers"]
    """What a random subspace of the same size would capture: dim² / (n · m)."""


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
    for path, stack in adapters.items():
        if stack.A.shape[0] < 2:
            raise InputError(f"{path} holds one adapter: leaving it out leaves nothing to compare with")
        if not bootstrap_samples:
            check_dim(stack[1:], dims[path], f"{path} less one")
    if bootstrap_samples < 0:
        raise InputError(f"bootstrap_samples must not be negative, got {bootstrap_samples}")
    if bootstrap_samples and key is None:
        raise InputError("key is needed to draw bootstrap_samples")

    def solve(together: LowRank, own_dims: np.ndarray) -> tuple[Array, Array, Array]:
        counts = _counts(together.A.shape[0], bootstrap_samples, key).astype(together.dtype)
        options = {"width": int(own_dims.max()), "max_iterations": int(max_iterations)}
        return _stability(together, jnp.asarray(own_dims), counts, alpha, epsilon, tolerance, **options)

    results = {}
    for path, (output, input_, held_out) in solve_in_groups(adapters, dims, solve).items():
        n, m = adapters[path].shape[-2:]
        chance = namespace(held_out).full(held_out.shape[:-1], dims[path] ** 2 / (n * m), held_out.dtype)
        results[path] = Stability(output[..., : dims[path]], input_[..., : dims[path]], held_out, chance)
    return results


def _counts(k: int, bootstrap_samples: int, key: PRNGKeyArray | None) -> Array:
    """How often each adapter counts in each subset: (samples, k)."""
    if key is None or not bootstrap_samples:
        return 1 - jnp.eye(k)
    draws = jax.random.randint(key, (bootstrap_samples, k), 0, k)
    return jnp.sum(jax.nn.one_hot(draws, k), axis=1)


@one_blas_thread
@partial(jax.jit, static_argnames=("width", "max_iterations"))
def _stability(
    adapters: LowRank, dims: Array, counts: Array, alpha, epsilon, tolerance, *, width: int, max_iterations: int
) -> tuple[Array, Array, Array]:
    """Output angles, input angles (L, samples, width) and held-out energy (L, samples) of L matrices, A (k, L, n, r)."""

    def solve(own: LowRank, dim: Array) -> tuple[Array, Array, Array]:
        cores = compress(own).cores
        k, used = cores.shape[0], jnp.arange(width) < dim
        energy = jnp.sum(cores**2, axis=(1, 2))

        def fit(own_counts: Array) -> tuple[Frame, Frame]:
            """The column space and the row space."""
            found = irls(cores, own_counts, alpha, epsilon, tolerance, dim, width, max_iterations)
            sigma = truncated(found.sigma, dim, width)
            present = sigma > default_rank_tolerance(width, sigma.dtype) * sigma[:1]  # the others are rounding
            return Frame(found.U, present), Frame(found.V, present)

        whole_outputs, whole_inputs = fit(jnp.ones(k, cores.dtype))

        def compare(own_counts: Array) -> tuple[AnyArray, AnyArray, Array]:
            outputs, inputs = fit(own_counts.astype(cores.dtype))
            core_inside = jnp.einsum(
                "pd,kpq,qe->kde",
                jnp.where(used[None], outputs.columns, 0),
                cores,
                jnp.where(used[None], inputs.columns, 0),
                precision="highest",
            )
            share = jnp.sum(core_inside**2, axis=(1, 2)) / jnp.where(energy > 0, energy, 1)
            held_out = own_counts == 0
            output_angles = angles_between(whole_outputs, outputs)
            # the two sides know nothing of each other (subspace.threads)
            waiting = Frame(after(whole_inputs.columns, output_angles), whole_inputs.present)
            mean_share = jnp.mean(share, where=held_out)
            return output_angles, angles_between(waiting, inputs), mean_share

        return jax.lax.map(compare, counts)

    return jax.vmap(solve, in_axes=(1, 0))(adapters, dims)
