"""The shared subspace of every adapted matrix, and what the adapters themselves say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from experiments.mining.dimensions import dimensions
from experiments.process.reporting import SILENT, Reporter
from subspace import LowRank, SharedSubspace, Stability, examine_subspaces
from subspace.errors import InputError
from subspace.grouping import layouts_of


@dataclass(frozen=True, eq=False)
class Mined:
    """What :func:`mine` found, by path; layer axes lead in every array."""

    subspaces: dict[str, SharedSubspace]
    captured: dict[str, np.ndarray]
    """(*layers, k): share, 0 to 1, of each adapter's energy inside the subspace."""
    stability: dict[str, Stability]
    """Each adapter left out once (many of them fold by fold); empty with fewer than three adapters, where the rest shares
    nothing with anything."""
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


def mine(stacks: Mapping[str, LowRank], dim: int, *, exponent: float = 1.0, reporter: Reporter = SILENT) -> Mined:
    """Eq. 1–3 for every matrix, and how far each adapter is described by it (with and without having a say in it).

    Args:
      stacks: {path: LowRank} of k adapters, A (k, *layers, n, r), as :func:`stack_adapters` makes, or stacks that are read on
        demand.
      dim: d', cut to what small matrices have room for (:func:`experiments.mining.dimensions.dimensions`).
      exponent: of Eq. 1, ``alpha`` of :func:`subspace.shared_subspace`.
      reporter: is told of progress.
    """
    layouts = layouts_of(stacks)
    dims = dimensions(layouts, dim)
    with reporter.progress(sum(layout.matrices for layout in layouts.values()), "matrix", "mine") as bar:
        found = examine_subspaces(stacks, dims, alpha=exponent, progress=bar.update)
    return Mined(
        subspaces={path: each.subspace for path, each in found.items()},
        captured={path: np.asarray(each.captured) for path, each in found.items()},
        stability={path: each.stability for path, each in found.items() if each.stability is not None},
        ranks={path: layout.rank for path, layout in layouts.items()},
    )
