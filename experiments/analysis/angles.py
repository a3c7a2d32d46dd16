"""Are the attributes disentangled? Angles between their subspaces in every matrix, against chance (Sec. 4.3, Fig. 6)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.analysis.matrices import Matrix, matrices_of, over_matrices
from experiments.analysis.overlap import (
    SIDES,
    Chance,
    angles_of,
    draw_chances,
    eigenvalues_of_pairs,
    overlap_of,
    verdicts,
)
from experiments.mining.folder import Inputs
from subspace.angles import Side

VERDICTS = {1: "more aligned than chance", 0: "like chance", -1: "more orthogonal than chance"}


@dataclass(frozen=True, eq=False)
class SideAngles:
    """All pairs in all matrices on one side; arrays (matrices, pairs) unless said otherwise."""

    eigenvalues: list[np.ndarray]
    """For each matrix (pairs, 2d): Eq. 5, increasing."""
    overlap: np.ndarray
    """Mean squared cosine (:mod:`experiments.analysis.overlap`)."""
    distance: np.ndarray
    """The smallest eigenvalue, Eq. 4."""
    expected: np.ndarray
    """(matrices,): the mean overlap of random subspaces, d / n."""
    percentile: np.ndarray
    """Of the overlap among random ones: near 100 more aligned, near 0 more orthogonal."""
    distance_percentile: np.ndarray
    """Of the distance among random ones: near 0 closer than chance, near 100 farther."""
    adjusted: np.ndarray
    """p-values of the overlap, two-sided, adjusted for all tests of this side."""
    verdict: np.ndarray
    """A key of :data:`VERDICTS`."""


@dataclass(frozen=True, eq=False)
class Angles:
    """What :func:`measure_angles` finds."""

    pairs: list[tuple[str, str]]
    matrices: list[Matrix]
    sides: dict[Side, SideAngles]
    chances: dict[tuple[int, int], Chance]
    """(dimension of the space, of the subspaces) → the null distribution."""

    def chance(self, matrix: int, side: Side) -> Chance:
        found = self.matrices[matrix]
        return self.chances[found.size(side), found.dim]


def measure_angles(inputs: Inputs, seed: int) -> Angles:
    """Eq. 4–5 for all pairs of attributes in all matrices, on both sides, and the verdict of the null model."""
    pairs = list(itertools.combinations(inputs.names, 2))
    matrices = matrices_of(inputs.first.factors)
    chances = draw_chances({(matrix.size(side), matrix.dim) for matrix in matrices for side in SIDES}, seed)
    factors = {name: mined.factors for name, mined in inputs.attributes.items()}
    return Angles(
        pairs,
        matrices,
        {side: _measure_side(found, matrices, side, chances) for side, found in eigenvalues_of_pairs(factors).items()},
        chances,
    )


def _measure_side(
    by_path: dict[str, np.ndarray], matrices: list[Matrix], side: Side, chances: dict[tuple[int, int], Chance]
) -> SideAngles:
    overlap = over_matrices({path: overlap_of(values) for path, values in by_path.items()}, 1)
    distance = over_matrices({path: values[..., 0] for path, values in by_path.items()}, 1)
    eigenvalues = [own for values in by_path.values() for own in values.reshape(-1, *values.shape[-2:])]
    own_chance = [chances[matrix.size(side), matrix.dim] for matrix in matrices]
    expected = np.array([matrix.dim / matrix.size(side) for matrix in matrices])
    p_values = np.stack([chance.p_value(row) for chance, row in zip(own_chance, overlap, strict=True)])
    verdict, adjusted = verdicts(overlap, expected[:, None], p_values)
    return SideAngles(
        eigenvalues=eigenvalues,
        overlap=overlap,
        distance=distance,
        expected=expected,
        percentile=np.stack([chance.percentile(row) for chance, row in zip(own_chance, overlap, strict=True)]),
        distance_percentile=np.stack(
            [chance.distance_percentile(row) for chance, row in zip(own_chance, distance, strict=True)]
        ),
        adjusted=adjusted,
        verdict=verdict,
    )


def angle_rows(angles: Angles) -> Iterator[dict[str, Any]]:
    """One row for each side, matrix and pair."""
    for side, found in angles.sides.items():
        for i, matrix in enumerate(angles.matrices):
            degrees = angles_of(found.eigenvalues[i])
            for j, (first, second) in enumerate(angles.pairs):
                yield {
                    "side": side,
                    "path": matrix.path,
                    "layer": matrix.layer,
                    "space": matrix.size(side),
                    "dim": matrix.dim,
                    "first": first,
                    "second": second,
                    "overlap": float(found.overlap[i, j]),
                    "overlap by chance": float(found.expected[i]),
                    "percentile": float(found.percentile[i, j]),
                    "adjusted p": float(found.adjusted[i, j]),
                    "verdict": VERDICTS[int(found.verdict[i, j])],
                    "distance (Eq. 4)": float(found.distance[i, j]),
                    "distance percentile": float(found.distance_percentile[i, j]),
                    "smallest angle in degrees": float(degrees[j, 0]),
                    "median angle in degrees": float(np.median(degrees[j])),
                }


def eigenvalue_rows(angles: Angles) -> Iterator[dict[str, Any]]:
    """Fig. 6's numbers: one row for each side, matrix, pair and eigenvalue of Eq. 5, with chance's median beside it."""
    for side, found in angles.sides.items():
        for i, matrix in enumerate(angles.matrices):
            median = angles.chance(i, side).eigenvalue_quantiles[1]
            for j, (first, second) in enumerate(angles.pairs):
                for index, value in enumerate(found.eigenvalues[i][j]):
                    yield {
                        "side": side,
                        "path": matrix.path,
                        "layer": matrix.layer,
                        "first": first,
                        "second": second,
                        "index": index + 1,
                        "eigenvalue": float(value),
                        "median by chance": float(median[index]),
                    }


def summary_of_pairs(angles: Angles) -> list[dict[str, Any]]:
    """One row for each pair and side: how many matrices have which verdict, and typical values."""
    rows = []
    for side, found in angles.sides.items():
        for j, (first, second) in enumerate(angles.pairs):
            verdict = found.verdict[:, j]
            smallest = [angles_of(values)[j, 0] for values in found.eigenvalues]
            rows.append(
                {
                    "side": side,
                    "first": first,
                    "second": second,
                    "matrices": len(verdict),
                    **{words: int((verdict == code).sum()) for code, words in VERDICTS.items()},
                    "median overlap": float(np.median(found.overlap[:, j])),
                    "median overlap / chance": float(np.median(found.overlap[:, j] / found.expected)),
                    "median distance (Eq. 4)": float(np.median(found.distance[:, j])),
                    "median smallest angle in degrees": float(np.median(smallest)),
                }
            )
    return rows
