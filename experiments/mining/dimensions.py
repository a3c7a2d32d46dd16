"""How large a shared subspace can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from subspace.errors import InputError

if TYPE_CHECKING:
    from subspace.grouping import Layout


def dimensions(layouts: Mapping[str, Layout], dim: int) -> dict[str, int]:
    """d' of every matrix: ``dim``, or as much as a small matrix has room for.

    Args:
        layouts: path → the number, the rank and the sizes of the adapters in that matrix.
        dim: the dimension that is wanted.

    Raises InputError if no matrix has room for ``dim``: it is larger than k·r, or than all matrices.
    """
    spanned = max(layouts.values(), key=lambda each: each.k * each.rank)
    check_dim(dim, spanned.k, spanned.rank)
    largest = max(layouts.values(), key=lambda each: min(each.n, each.m))
    if dim > min(largest.n, largest.m):
        raise InputError(
            f"dim={dim} is more than a matrix can have: the largest is {largest.n} × {largest.m}, whose updates have at most "
            f"{min(largest.n, largest.m)} dimensions",
            argument="dim",
        )
    return {path: min(dim, each.k * each.rank, each.n, each.m) for path, each in layouts.items()}


def check_dim(dim: int, k: int, rank: int) -> None:
    """Raise InputError unless k adapters can span ``dim`` dimensions."""
    if not 1 <= dim <= k * rank:
        raise InputError(
            f"dim={dim} is out of range: {k} adapters of rank {rank} span at most {k * rank} dimensions (k·r)",
            argument="dim",
        )
