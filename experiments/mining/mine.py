"""The shared subspace of every adapted matrix, and what the adapters themselves say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from experiments.mining.dimensions import dimensions
from subspace import (
    Basis,
    LowRank,
    SharedSubspace,
    Stability,
    captured_energy,
    shared_subspaces,
    subspace_stabilities,
)
from subspace.errors import InputError


@dataclass(frozen=True, eq=False)
class Mined:
    """What :func:`mine` found, by path; layer axes lead in every array."""

    subspaces: dict[str, SharedSubspace]
    captured: dict[str, np.ndarray]
    """(*layers, k): share, 0 to 1, of each adapter's energy inside the subspace."""
    stability: dict[str, Stability]
    """Each adapter left out once; empty with fewer than three adapters, where the rest shares nothing with anything."""
    ranks: dict[str, int]
    """r of the adapters."""


def stack_adapters(adapters: Mapping[str, Mapping[str, LowRank]]) -> dict[str, LowRank]:
    """{name: {path: LowRank}} of k adapters to {path: LowRank} with a leading adapter axis, as NumPy's arrays.

    Raises InputError naming the adapter and the matrix if the adapters differ in paths, sizes or ranks, or if there is
    only one.
    """
    if len(adapters) < 2:
        raise InputError(f"a shared subspace needs at least two adapters, got {len(adapters)}")
    (first_name, first), *others = adapters.items()
    for name, adapter in others:
        if unshared := sorted(set(first) ^ set(adapter)):
            where = first_name if unshared[0] in first else name
            raise InputError(f"{name} and {first_name} adapt different matrices: only {where} has {unshared[0]}")
        for path, delta in adapter.items():
            if delta.shape != first[path].shape:
                raise InputError(
                    f"{name}: {path} is {delta.shape}, in {first_name} it is {first[path].shape}: another base model"
                )
            if delta.rank != first[path].rank:
                raise InputError(f"{name}: {path} has rank {delta.rank}, in {first_name} rank {first[path].rank}")
    hosted = jax.device_get(list(adapters.values()))  # JAX would compile every size of every cut and stack
    return {path: jax.tree.map(lambda *x: np.stack(x), *(each[path] for each in hosted)) for path in first}


def mine(stacks: Mapping[str, LowRank], dim: int, *, exponent: float = 1.0) -> Mined:
    """Eq. 1–3 for every matrix, and how far each adapter is described by it (with and without having a say in it).

    Args:
      stacks: {path: LowRank} of k adapters, A (k, *layers, n, r), as :func:`stack_adapters` makes.
      dim: d', cut to what small matrices have room for (:func:`experiments.mining.dimensions.dimensions`).
      exponent: of Eq. 1, ``alpha`` of :func:`subspace.shared_subspace`.
    """
    dims = dimensions(stacks, dim)
    found = shared_subspaces(stacks, dims, alpha=exponent)
    k = next(iter(stacks.values())).A.shape[0]
    without_one = {path: min(dims[path], (k - 1) * stack.rank) for path, stack in stacks.items()}
    stability = subspace_stabilities(stacks, without_one, alpha=exponent) if k > 2 else {}
    captured = {}
    for path, stack in stacks.items():
        basis = Basis.of_canonical(found[path].factors.to_numpy(np.float64))
        captured[path] = np.moveaxis(np.asarray(captured_energy(stack.to_numpy(np.float64), basis)), 0, -1)
    return Mined(found, captured, stability, {path: stack.rank for path, stack in stacks.items()})
