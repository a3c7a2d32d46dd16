"""Are the attributes disentangled? Angles between their subspaces in every matrix, against chance (Sec. 4.3, Fig. 6)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of, over_matrices
from experiments.analysis.overlap import (
    SIDES,
    Alignment,
    Chance,
    angles_of,
    draw_chances,
    eigenvalues_of_pairs,
    overlap_of,
    verdicts,
)
from experiments.mining.folder import Inputs
from subspace.angles import Side


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
    """An :class:`experiments.analysis.overlap.Alignment`."""


@dataclass(frozen=True, eq=False)
class Angles:
    """What :func:`measure_angles` finds."""

    pairs: list[tuple[str, str]]
    """Pairs of attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    sides: dict[Side, SideAngles]
    """Column spaces (output) and row spaces (input)."""
    chances: dict[tuple[int, int], Chance]
    """(dimension of the space, of the subspaces) → the null distribution."""

    def chance(self, matrix: int, side: Side) -> Chance:
        """The null distribution of one matrix on one side."""
        found = self.matrices[matrix]
        return self.chances[found.size(side), found.dim]


def measure_angles(inputs: Inputs, seed: int) -> Angles:
    """Eq. 4–5 for all pairs of attributes in all matrices, on both sides, and the verdict of the null model."""
    pairs = list(itertools.combinations(inputs.names, 2))
    matrices = matrices_of(inputs.first.factors)
    chances = draw_chances({(matrix.size(side), matrix.dim) for matrix in matrices for side in SIDES}, seed)
    factors = [mined.factors for mined in inputs.attributes.values()]
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


@dataclass(frozen=True, kw_only=True)
class AngleRow(MatrixRow):
    """One pair of attributes in one matrix, on one side."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    space: int
    """Dimension of the space in which the two subspaces lie."""
    dim: int
    """Dimension of the subspaces."""
    first: str
    """One attribute."""
    second: str
    """The other attribute."""
    overlap: float
    """Mean squared cosine of the principal angles, 0 to 1."""
    chance: float
    """Mean overlap of random subspaces."""
    percentile: float
    """Of the overlap among random ones, 0 to 100."""
    adjusted_p: float
    """Two-sided p-value of the overlap, adjusted for all tests of the side."""
    alignment: Alignment
    """The verdict of the null model."""
    distance: float
    """Eq. 4: 1 − cos θ₁."""
    distance_percentile: float
    """Of the distance among random ones, 0 to 100."""
    smallest_angle: float
    """θ₁ in degrees."""
    median_angle: float
    """Median of the principal angles in degrees."""


def angle_rows(angles: Angles) -> list[AngleRow]:
    """One row for each side, matrix and pair."""
    rows = []
    for side, found in angles.sides.items():
        for i, matrix in enumerate(angles.matrices):
            degrees = angles_of(found.eigenvalues[i])
            for j, (first, second) in enumerate(angles.pairs):
                rows.append(
                    AngleRow(
                        path=matrix.path,
                        layer=matrix.layer,
                        side=side,
                        space=matrix.size(side),
                        dim=matrix.dim,
                        first=first,
                        second=second,
                        overlap=float(found.overlap[i, j]),
                        chance=float(found.expected[i]),
                        percentile=float(found.percentile[i, j]),
                        adjusted_p=float(found.adjusted[i, j]),
                        alignment=Alignment(int(found.verdict[i, j])),
                        distance=float(found.distance[i, j]),
                        distance_percentile=float(found.distance_percentile[i, j]),
                        smallest_angle=float(degrees[j, 0]),
                        median_angle=float(np.median(degrees[j])),
                    )
                )
    return rows


@dataclass(frozen=True, kw_only=True)
class EigenvalueRow(MatrixRow):
    """One eigenvalue of Eq. 5 of one pair of attributes in one matrix, on one side."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    first: str
    """One attribute."""
    second: str
    """The other attribute."""
    index: int
    """From 1 for the smallest eigenvalue to 2d."""
    eigenvalue: float
    """0 to 2."""
    chance: float
    """Median of the same eigenvalue between random subspaces."""


def eigenvalue_rows(angles: Angles) -> list[EigenvalueRow]:
    """Fig. 6's numbers: one row for each side, matrix, pair and eigenvalue of Eq. 5."""
    rows = []
    for side, found in angles.sides.items():
        for i, matrix in enumerate(angles.matrices):
            median = angles.chance(i, side).eigenvalue_quantiles[1].tolist()
            for j, (first, second) in enumerate(angles.pairs):
                for index, eigenvalue in enumerate(found.eigenvalues[i][j].tolist()):
                    rows.append(
                        EigenvalueRow(
                            path=matrix.path,
                            layer=matrix.layer,
                            side=side,
                            first=first,
                            second=second,
                            index=index + 1,
                            eigenvalue=eigenvalue,
                            chance=median[index],
                        )
                    )
    return rows


@dataclass(frozen=True)
class PairSummary:
    """One pair of attributes on one side: verdicts over all matrices, and typical values."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    first: str
    """One attribute."""
    second: str
    """The other attribute."""
    counts: dict[Alignment, int]
    """Number of matrices with each verdict."""
    overlap: float
    """Median over the matrices."""
    times_chance: float
    """Median of overlap over mean overlap of random subspaces."""
    distance: float
    """Median of Eq. 4's distance."""
    smallest_angle: float
    """Median of θ₁ in degrees."""


def summary_of_pairs(angles: Angles) -> list[PairSummary]:
    """One row for each side and pair."""
    rows = []
    for side, found in angles.sides.items():
        for j, (first, second) in enumerate(angles.pairs):
            smallest = [angles_of(values)[j, 0] for values in found.eigenvalues]
            rows.append(
                PairSummary(
                    side=side,
                    first=first,
                    second=second,
                    counts={code: int((found.verdict[:, j] == code).sum()) for code in Alignment},
                    overlap=float(np.median(found.overlap[:, j])),
                    times_chance=float(np.median(found.overlap[:, j] / found.expected)),
                    distance=float(np.median(found.distance[:, j])),
                    smallest_angle=float(np.median(smallest)),
                )
            )
    return rows
