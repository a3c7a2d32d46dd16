"""LoRAs that share what no data gave them: equal factors, or one random input factor that they began with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from experiments.storage.files import listed
from subspace import LowRank

SAME_START = 0.7
"""Input factors that share this part of what is not shared by chance have begun as the same random factor: training moves them
little, so that equal ones stay above 0.9 and independent ones near 0."""


def matrix_of(sizes: Mapping[str, tuple[int, int]]) -> str:
    """The matrix to compare a LoRA by: with the fewest inputs, but enough for its rank; ``sizes`` are matrix → (m, r)."""
    candidates = [path for path, (inputs, rank) in sizes.items() if inputs >= 4 * rank] or list(sizes)
    return min(candidates, key=lambda path: sizes[path][0])


def digest_of(updates: Iterable[tuple[str, LowRank]]) -> str:
    """What tells the factors of two LoRAs apart, in whichever files they are; ``updates`` are (matrix, its update)."""
    digest = hashlib.sha256()
    for path, update in updates:
        for factor in (update.A, update.B):
            digest.update(path.encode() + np.ascontiguousarray(factor).data)
    return digest.hexdigest()


def described_equal(names: Sequence[str]) -> str:
    """What a reader must know of LoRAs with equal factors."""
    return f"the same updates, which vouch for each other when one is held out: {listed(names)}"


def described(group: Sequence[str]) -> str:
    """What a reader must know of such a group."""
    return (
        f"{len(group)} LoRAs have nearly the same input factors ({listed(group)}), as LoRAs have that began with one random "
        "draw; if these did, what they share on the input side says nothing of their data."
    )


def groups_of(starts: Mapping[str, tuple[str, np.ndarray]]) -> Iterator[tuple[str, ...]]:
    """Groups of LoRAs whose input factors span nearly the same space; those with one LoRA too.

    Args:
        starts: LoRA → a matrix, and an orthonormal basis (m, r) of its input factor, see :func:`matrix_of`.
    """
    left = dict(starts)
    while left:
        name, (path, basis) = next(iter(left.items()))
        group = [
            other
            for other, (its_path, its_basis) in left.items()
            if its_path == path and its_basis.shape[0] == basis.shape[0] and _shared(basis, its_basis) > SAME_START
        ]
        for other in group:
            del left[other]
        left.pop(name, None)
        yield tuple(group)


def _shared(x: Float[np.ndarray, "m r"], y: Float[np.ndarray, "m s"]) -> float:
    """Overlap of two row spaces, 0 as by chance and 1 at most; 0 in a space that both nearly fill."""
    chance = max(x.shape[1], y.shape[1]) / x.shape[0]
    if chance > 0.5:
        return 0.0
    overlap = np.sum((x.T @ y) ** 2) / min(x.shape[1], y.shape[1])
    return float((overlap - chance) / (1 - chance))
