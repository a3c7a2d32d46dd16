"""Were k adapters enough? The shared subspace against those of subsets of the same adapters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.angles import Frame, angles_between
from subspace.compression import compress
from subspace.low_rank import LowRank
from subspace.shared import EPSILON, MAX_ITERATIONS, TOLERANCE, Fit, check_options, flatten_layers, irls
from subspace.threads import after, one_blas_thread
from subspace.validation import check_adapters, check_dim


@jax.tree_util.register_dataclass
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
    check_adapters(adapters, dim)
    check_options(alpha, epsilon, max_iterations, tolerance)
    k = adapters.A.shape[0]
    if k < 2:
        raise ValueError("adapters holds one adapter: leaving it out leaves nothing to compare with")
    if bootstrap_samples < 0:
        raise ValueError(f"bootstrap_samples must not be negative, got {bootstrap_samples}")
    if bootstrap_samples:
        if key is None:
            raise ValueError("key is needed to draw bootstrap_samples")
        draws = jax.random.randint(key, (bootstrap_samples, k), 0, k)
        counts = jnp.sum(jax.nn.one_hot(draws, k, dtype=adapters.dtype), axis=1)
    else:
        check_dim(adapters[1:], dim, "adapters less one")
        counts = 1 - jnp.eye(k, dtype=adapters.dtype)
    return _stability(adapters, counts, alpha, epsilon, tolerance, dim=int(dim), max_iterations=int(max_iterations))


@one_blas_thread
@partial(jax.jit, static_argnames=("dim", "max_iterations"))
def _stability(
    adapters: LowRank, counts: Array, alpha, epsilon, tolerance, *, dim: int, max_iterations: int
) -> Stability:
    k, *layers = adapters.A.shape[:-2]
    n, m = adapters.shape[-2:]

    def solve(own: LowRank) -> Stability:
        cores = compress(own).cores
        energy = jnp.sum(cores**2, axis=(1, 2))

        def fit(own_counts: Array) -> Fit:
            return irls(cores, own_counts.astype(cores.dtype), alpha, epsilon, tolerance, dim, max_iterations)

        def compare(own_counts: Array) -> tuple[Array, Array, Array]:
            part = fit(own_counts)
            inside = jnp.einsum("pd,kpq,qe->kde", part.U, cores, part.V, precision="highest")
            share = jnp.sum(inside**2, axis=(1, 2)) / jnp.where(energy > 0, energy, 1)
            held_out = own_counts == 0
            output = angles_between(_frame(whole.U, whole.sigma[:dim]), _frame(part.U, part.sigma[:dim]))
            whole_V = after(whole.V, output)  # the two sides know nothing of each other (subspace.threads)
            input_ = angles_between(_frame(whole_V, whole.sigma[:dim]), _frame(part.V, part.sigma[:dim]))
            return output, input_, jnp.sum(share * held_out) / jnp.sum(held_out)

        whole = fit(jnp.ones(k, cores.dtype))
        output_angles, input_angles, held_out_energy = jax.lax.map(compare, counts)
        return Stability(output_angles, input_angles, held_out_energy, jnp.full((), dim**2 / (n * m), cores.dtype))

    solved = jax.vmap(solve, in_axes=1)(flatten_layers(adapters))
    return jax.tree.map(lambda x: x.reshape(*layers, *x.shape[1:]), solved)


def _frame(columns: Array, sigma: Array) -> Frame:
    """The singular vectors that are determined: those of singular values above the rounding of the largest."""
    return Frame(columns, sigma > 8 * sigma.shape[-1] * jnp.finfo(sigma.dtype).eps * sigma[:1])
