"""How many dimensions each layer gets (supplement 2.2). d is the mean budget: L layers may spend d · L together."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from subspace.errors import InputError
from subspace.threads import is_traced


def allocate_uniform(effective_ranks: Float[Array, " L"], dim: int) -> Int[Array, " L"]:
    """The same ``dim`` for every layer."""
    return jnp.full(_checked(effective_ranks, dim).shape, dim, jnp.int32)


def allocate_importance(effective_ranks: Float[Array, " L"], dim: int) -> Int[Array, " L"]:
    """d_l = d · ⌊EffectiveRank_l / mean⌋, as printed in supplement 2.2.

    The floor acts on the ratio, so a layer below the mean gets nothing and only multiples of d occur. The sum is at most
    d · L, and for ranks that vary little it is far below: (2, 3, 4, 7) with d = 16 gives (0, 0, 16, 16), half of the budget.
    Report ``sum()`` beside results; :func:`allocate_proportional` spends all.
    """
    ranks = _checked(effective_ranks, dim)
    mean = jnp.mean(ranks)
    return (dim * jnp.floor(ranks / jnp.where(mean > 0, mean, 1))).astype(jnp.int32)


def allocate_proportional(
    effective_ranks: Float[Array, " L"], dim: int, max_rank: int | None = None
) -> Int[Array, " L"]:
    """Proportional to the effective ranks, and spends exactly d · L: the Sainte-Laguë apportionment.

    The d · L dimensions go one by one to the layer with the largest EffectiveRank_l / (d_l + ½). Equal ranks give the
    uniform allocation; (2, 3, 4, 7) with d = 16 gives (8, 12, 16, 28). No layer gets more than ``max_rank`` (what its subspace
    or its matrix offers); what it cannot take goes to the others.

    Raises:
      ValueError: if ``max_rank`` is smaller than ``dim``, so that the budget cannot be spent.
    """
    ranks = _checked(effective_ranks, dim)
    budget = dim * ranks.shape[0]
    largest = budget if max_rank is None else max_rank
    if largest < dim:
        raise InputError(f"max_rank={max_rank} leaves no room for the mean budget dim={dim}")
    return _sainte_lague(ranks, budget=budget, largest=min(largest, budget))


@partial(jax.jit, static_argnames=("budget", "largest"))
def _sainte_lague(ranks: Float[Array, " L"], *, budget: int, largest: int) -> Int[Array, " L"]:
    quotients = ranks[:, None] / (jnp.arange(largest) + 0.5)
    # among equal quotients (all zero, say) the layer with fewer dimensions comes first, then the earlier layer
    taken = jnp.broadcast_to(jnp.arange(largest), quotients.shape)
    layer = jnp.broadcast_to(jnp.arange(ranks.shape[0])[:, None], quotients.shape)
    order = jnp.lexsort((layer.ravel(), taken.ravel(), -quotients.ravel()))
    return jnp.bincount(layer.ravel()[order[:budget]], length=ranks.shape[0]).astype(jnp.int32)


def _checked(effective_ranks: Float[Array, " L"], dim: int) -> Float[Array, " L"]:
    ranks = jnp.asarray(effective_ranks)
    if ranks.ndim != 1 or ranks.shape[0] == 0:
        raise InputError(f"effective_ranks must be one value per layer, got shape {ranks.shape}")
    if dim < 1:
        raise InputError(f"dim must be positive, got {dim}")
    if not is_traced(ranks) and not bool(jnp.all(jnp.isfinite(ranks) & (ranks >= 0))):
        raise InputError("effective_ranks must be finite and not negative")
    return ranks
