"""Many matrices of a model in few compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from subspace.low_rank import LowRank

SIDE_MULTIPLE = 1024
"""Factors are padded with zero rows to a multiple of this. A zero row of A or B is a zero row or column of dW and changes no
singular value; it spares a compilation (a second or two) for every odd size. The blocks of VGGT-1B need none."""

T = TypeVar("T")


def solve_in_groups(
    adapters: Mapping[str, LowRank], dims: Mapping[str, int], solve: Callable[[LowRank, Int[Array, " L"], int], T]
) -> dict[str, T]:
    """``solve`` on stacks of padded matrices, cut into one result for each path, with its layer axes but still padded.

    Args:
      adapters: {path: A (k, *layers, n, r), B (k, *layers, m, r)}.
      dims: dimension of each path's subspace.
      solve: gets a stack (k, L, n', r), the L dimensions, and the largest of them; returns a pytree with leading axis L.
    """
    groups: dict[tuple, list[str]] = {}
    for path, stack in adapters.items():
        sides = (_padded(size) for size in stack.shape[-2:])
        groups.setdefault((stack.A.shape[0], *sides, stack.rank, stack.A.dtype, stack.B.dtype), []).append(path)
    results: dict[str, T] = {}
    for (_, n, m, *_), paths in groups.items():
        flat = [flatten_layers(LowRank(_grow(adapters[path].A, n), _grow(adapters[path].B, m))) for path in paths]
        together = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *flat)
        own_dims = np.concatenate(
            [np.full(stack.A.shape[1], dims[path]) for path, stack in zip(paths, flat, strict=True)]
        )
        solved = solve(together, jnp.asarray(own_dims, jnp.int32), int(own_dims.max()))
        start = 0
        for path, stack in zip(paths, flat, strict=True):
            own = slice(start, start := start + stack.A.shape[1])
            layers = adapters[path].A.shape[1:-2]
            results[path] = jax.tree.map(
                lambda x, own=own, layers=layers: x[own].reshape(*layers, *x.shape[1:]), solved
            )
    return {path: results[path] for path in adapters}


def flatten_layers(adapters: LowRank) -> LowRank:
    """(k, *layers, n, r) to (k, L, n, r)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[-2:]), adapters)


def _padded(size: int) -> int:
    return -(-size // SIDE_MULTIPLE) * SIDE_MULTIPLE


def _grow(factor: Array, rows: int) -> Array:
    if factor.shape[-2] == rows:
        return factor  # not a copy
    return jnp.pad(factor, [(0, 0)] * (factor.ndim - 2) + [(0, rows - factor.shape[-2]), (0, 0)])
