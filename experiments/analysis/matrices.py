"""The adapted matrices as one list, and values by path as arrays over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.mining.summary import group_of
from subspace import LowRank
from subspace.angles import Side


@dataclass(frozen=True)
class Matrix:
    """One matrix of one layer, with a subspace on each side."""

    path: str
    """Its path in the model."""
    layer: int | None
    """Its layer; None for a matrix that is not part of a stack of layers."""
    n: int
    """Number of outputs, the rows."""
    m: int
    """Number of inputs, the columns."""
    dim: int
    """Dimension of the subspaces on both sides."""

    @property
    def group(self) -> str:
        """Its kind, a panel of the figures: "frame qkv", "depth head, other"."""
        return group_of(self.path)

    @property
    def block(self) -> int | None:
        """Its layer if it belongs to a stack of transformer blocks, frame or global; None in heads."""
        return self.layer if "_blocks." in self.path else None

    def size(self, side: Side) -> int:
        """Dimension of the space in which the subspaces of this side lie."""
        return self.n if side == "output" else self.m


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """A row of numbers that belong to one matrix of one layer."""

    path: str
    """The matrix in the model."""
    layer: int | None
    """Its layer; None for a matrix that is not part of a stack of layers."""


def matrices_of(factors: Mapping[str, LowRank]) -> list[Matrix]:
    """Every matrix of every layer, in the order of the mapping."""
    found = []
    for path, stack in factors.items():
        *layers, n, m = stack.shape
        found += [Matrix(path, index[0] if index else None, n, m, stack.rank) for index in np.ndindex(*layers)]
    return found


def over_matrices(values: Mapping[str, np.ndarray], trailing: int) -> np.ndarray:
    """path → (*layers, *rest) with ``trailing`` axes in the rest, to one array (matrices, *rest)."""
    parts = [np.asarray(value) for value in values.values()]
    return np.concatenate([part.reshape(-1, *part.shape[part.ndim - trailing :]) for part in parts])
