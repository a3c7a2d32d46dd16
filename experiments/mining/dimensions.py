"""How large a shared subspace can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from subspace.errors import InputError

if TYPE_CHECKING:
    from subspace import LowRank


def dimensions(stacks: Mapping[str, LowRank], dim: int) -> dict[str, int]:
    """d' of every matrix: ``dim``, or as much as a small matrix has room for.

    Args:
        stacks: path → k adapters, A (k, *layers, n, r) and B (k, *layers, m, r).
        dim: the dimension that is wanted.

    Raises InputError if no matrix has room for ``dim``: it is larger than k·r, or than all matrices.
    """
    k = next(iter(stacks.values())).A.shape[0]
    check_dim(dim, k, max(stack.rank for stack in stacks.values()))
    n, m = max((stack.shape[-2:] for stack in stacks.values()), key=min)
    if dim > min(n, m):
        raise InputError(
            f"dim={dim} is more than a matrix can have: the largest is {n} × {m}, whose updates have at most {min(n, m)} "
            "dimensions",
            argument="dim",
        )
    return {path: min(dim, k * stack.rank, *stack.shape[-2:]) for path, stack in stacks.items()}


def check_dim(dim: int, k: int, rank: int) -> None:
    """Raise InputError unless k adapters can span ``dim`` dimensions."""
    if not 1 <= dim <= k * rank:
        raise InputError(
            f"dim={dim} is out of range: {k} adapters of rank {rank} span at most {k * rank} dimensions (k·r)",
            argument="dim",
        )
