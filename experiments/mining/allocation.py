"""How many directions of its subspace each attribute brings to each layer (supplement 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

import subspace

if TYPE_CHECKING:  # commands name the allocations in their --help, which need not wait for JAX
    from jaxtyping import Float, Int

    from experiments.mining.folder import MinedAttribute

Allocation = Literal["uniform", "importance", "exact"]
"""How the layers of a stack share a mean budget d: the same for all; by effective rank with a floor, as printed in supplement
2.2, which spends less than d; or in proportion to the effective rank with exactly d on average."""
ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)


def allocate(
    mined: Mapping[str, MinedAttribute], path: str, allocation: Allocation, budget: int
) -> Int[np.ndarray, " attributes *layers"]:
    """How many directions each attribute brings to each layer of one matrix; at most what was mined.

    Args:
        mined: attribute → its subspaces.
        path: the matrix.
        allocation: how layers share the budget.
        budget: d, directions of one attribute on average over the layers; cut to what was mined.
    """
    return np.stack(
        [
            layer_dims(
                own.statistics[path]["singular_values"],
                allocation,
                min(budget, own.factors[path].rank),
                own.factors[path].rank,
            )
            for own in mined.values()
        ]
    )


def layer_dims(
    singular_values: Float[np.ndarray, "*layers p"], allocation: Allocation, budget: int, available: int
) -> Int[np.ndarray, "*layers"]:
    """d of one attribute in every layer of a stack, from the spectra of its C; at most what was mined.

    Args:
        singular_values: of C.
        allocation: how layers share the budget.
        budget: mean dimension that may be spent, at most ``available``.
        available: d' of the mined subspace.
    """
    ranks = subspace.effective_rank(np.atleast_2d(singular_values)).reshape(-1)
    match allocation:
        case "uniform":
            found = subspace.allocate_uniform(ranks, budget)
        case "importance":
            found = subspace.allocate_importance(ranks, budget)
        case "exact":
            found = subspace.allocate_proportional(ranks, budget, available)
    return np.minimum(np.asarray(found), available).reshape(np.shape(singular_values)[:-1])
