"""Subspaces of other choices of the same adapters: halves, all but one, shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from experiments.mining.folder import Inputs
from subspace import LowRank, shared_subspaces

Member = tuple[str, int]
"""Attribute and number of one adapter."""


def adapter_counts(inputs: Inputs) -> dict[str, int]:
    """k of every attribute."""
    return {name: len(mined.adapter_files) for name, mined in inputs.attributes.items()}


def room(inputs: Inputs, count: int) -> dict[str, int]:
    """path → the dimension of a subspace that ``count`` adapters can span: d', or as much as there is room for."""
    ranks = {path: min(mined.ranks[path] for mined in inputs.attributes.values()) for path in inputs.paths}
    return {path: min(stack.rank, count * ranks[path]) for path, stack in inputs.first.factors.items()}


def mine_members(inputs: Inputs, members: Sequence[Member], dims: Mapping[str, int]) -> dict[str, LowRank]:
    """What the chosen adapters share in every matrix (Eq. 1–3), as ``experiments.extract`` mines it."""
    alpha = inputs.attributes[members[0][0]].origin.exponent
    adapters = [inputs.attributes[name].read_adapter(number) for name, number in members]
    stacks = {
        path: LowRank(*(jnp.asarray(np.stack([getattr(each[path], side) for each in adapters])) for side in "AB"))
        for path in inputs.paths
    }
    del adapters
    return {path: found.factors for path, found in shared_subspaces(stacks, dims, alpha=alpha).items()}


def halves(count: int, splits: int, rng: np.random.Generator) -> list[tuple[list[int], list[int]]]:
    """Random divisions of ``count`` adapters into two halves, distinct as long as there are any; of an odd number one
    adapter stays out of each."""
    found: dict[frozenset[frozenset[int]], tuple[list[int], list[int]]] = {}
    size = count // 2
    for _ in range(100 * splits):
        order = [int(i) for i in rng.permutation(count)]
        first, second = sorted(order[:size]), sorted(order[size : 2 * size])
        found.setdefault(frozenset((frozenset(first), frozenset(second))), (first, second))
        if len(found) == splits:
            break
    return list(found.values())


def deal(counts: Mapping[str, int], rng: np.random.Generator) -> dict[str, list[Member]]:
    """All adapters under shuffled labels: as many for each attribute as it has."""
    pool = [(name, number) for name, count in counts.items() for number in range(count)]
    order = [pool[i] for i in rng.permutation(len(pool))]
    dealt, start = {}, 0
    for name, count in counts.items():
        dealt[name] = sorted(order[start : (start := start + count)])
    return dealt
