"""One number for the overlap of two subspaces, and what it is for random subspaces of the same dimensions.

The *overlap* of two d-dimensional subspaces is the mean squared cosine of their principal angles, ‖UᵀU'‖²_F / d for
orthonormal bases U and U': the share of one subspace's energy that lies in the other; 1 if they are the same, 0 if they are
orthogonal. The eigenvalues of Eq. 5 are 1 ± cos θ_i, so it is also their mean squared deviation from 1. Eq. 4's distance
is the smallest of them, 1 − cos θ_1, and knows only the one best pair of directions; the overlap counts all. Two random
subspaces of Rⁿ have the overlap d / n on average. A direction that a rank-deficient subspace lacks counts as orthogonal.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
import scipy.stats

from experiments.analysis.matrices import over_matrices
from subspace import (
    LowRank,
    Side,
    angles_of_eigenvalues,
    null_eigenvalues,
    null_p_value,
    null_percentile,
    pairwise_eigenvalues_by_path,
)

SIDES: tuple[Side, Side] = ("output", "input")
SAMPLES = 10_000
"""Random pairs of subspaces for each size: the smallest p-value that can be found is 2 / 10,001."""
LEVEL = 0.05
"""False discovery rate of the verdicts."""
_ROUNDING = 2e-6
"""Overlaps that differ by less are equal in float32, and tied: where dim = n every two subspaces are the same, and nothing can
be said of them."""


class Alignment(enum.IntEnum):
    """Whether two subspaces overlap more than random ones, like them, or less."""

    ALIGNED = 1
    CHANCE = 0
    ORTHOGONAL = -1


def eigenvalues_of_pairs(subspaces: Sequence[Mapping[str, LowRank]]) -> dict[Side, dict[str, np.ndarray]]:
    """Eq. 5 for all pairs of subspaces in every matrix, on both sides (:func:`subspace.pairwise_eigenvalues_by_path`).

    Args:
      subspaces: for each attribute (or half of one), path → canonical factors (*layers, n, m) of rank d, of equal shapes.

    Returns:
      side → path → (*layers, pairs, 2d), increasing, in [0, 2]; pairs in the order of ``itertools.combinations``. The
      output side compares column spaces (the paper's), the input side row spaces.
    """
    return pairwise_eigenvalues_by_path({str(i): own for i, own in enumerate(subspaces)})


def overlap_of(eigenvalues: np.ndarray) -> np.ndarray:
    """Mean squared cosine (…,) of Eq. 5's eigenvalues (…, 2d)."""
    return np.mean((np.asarray(eigenvalues, np.float64) - 1) ** 2, axis=-1)


def excess(overlap: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    """``overlap`` − ``other``, and exactly 0 where rounding alone tells them apart: a tie is neither more nor less."""
    difference = np.asarray(overlap) - other
    return np.where(np.abs(difference) < _ROUNDING, 0, difference)


def overlaps_of_pairs(subspaces: Sequence[Mapping[str, LowRank]]) -> dict[Side, np.ndarray]:
    """side → (matrices, pairs): overlaps of all pairs, as :func:`eigenvalues_of_pairs` takes and orders them."""
    return {
        side: over_matrices({path: overlap_of(values) for path, values in found.items()}, 1)
        for side, found in eigenvalues_of_pairs(subspaces).items()
    }


def angles_of(eigenvalues: np.ndarray) -> np.ndarray:
    """The d principal angles (…, d) in degrees, increasing, of Eq. 5's eigenvalues (…, 2d); good to 0.1°."""
    return np.degrees(angles_of_eigenvalues(np.asarray(eigenvalues, np.float64)))


@dataclass(frozen=True, eq=False)
class Chance:
    """Two independent, uniformly random subspaces of dimension ``dim`` of Rⁿ, drawn :data:`SAMPLES` times."""

    n: int
    """Dimension of the space."""
    dim: int
    """Dimension of both subspaces."""
    eigenvalues: np.ndarray
    """(samples, 2·dim), each row as Eq. 5 would give it."""
    overlap: np.ndarray
    """(samples,), increasing; its mean is dim / n."""

    @cached_property
    def overlap_range(self) -> np.ndarray:
        """(2,): between which 98 % of random overlaps lie."""
        return np.quantile(self.overlap, (0.01, 0.99))

    @cached_property
    def smallest_angle_range(self) -> np.ndarray:
        """(2,): between which 98 % of the smallest angles lie, in degrees."""
        return np.quantile(angles_of(self.eigenvalues)[:, 0], (0.01, 0.99))

    @cached_property
    def eigenvalue_quantiles(self) -> np.ndarray:
        """(3, 2·dim): 1 %, 50 % and 99 % of every eigenvalue."""
        return np.quantile(self.eigenvalues, (0.01, 0.5, 0.99), axis=0)

    def percentile(self, overlap: np.ndarray) -> np.ndarray:
        """0 to 100: the share of random pairs with a smaller overlap; ties count half."""
        return np.asarray(null_percentile(*self._columns(overlap), rounding=_ROUNDING))[..., 0]

    def distance_percentile(self, distance: np.ndarray) -> np.ndarray:
        """0 to 100: the share of random pairs with a smaller Eq. 4 distance (closer than the measured ones)."""
        # Where two subspaces have to meet (2 dim > n), all distances are 0 but for rounding.
        columns = (np.where(x < _ROUNDING, 0, x) for x in (np.asarray(distance)[..., None], self.eigenvalues[:, :1]))
        return np.asarray(null_percentile(*columns))[..., 0]

    def p_value(self, overlap: np.ndarray) -> np.ndarray:
        """Two-sided, of "as random": twice the smaller tail, counted with the measured value itself among the samples."""
        return np.asarray(null_p_value(*self._columns(overlap), rounding=_ROUNDING))[..., 0]

    def _columns(self, overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The measured values (…, 1) and the samples (samples, 1)."""
        return np.asarray(overlap)[..., None], self.overlap[:, None]


def draw_chances(sizes: Iterable[tuple[int, int]], seed: int) -> dict[tuple[int, int], Chance]:
    """:class:`Chance` of every (n, d), reproducible whatever other sizes are asked for."""
    found = {}
    for n, dim in sorted(set(sizes)):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), n), dim)
        eigenvalues = np.asarray(null_eigenvalues(n, dim, dim, SAMPLES, key))
        found[n, dim] = Chance(n, dim, eigenvalues, np.sort(overlap_of(eigenvalues)))
    return found


def verdicts(overlap: np.ndarray, expected: np.ndarray, p_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An :class:`Alignment` for every test, and the adjusted p-values, of one family of tests.

    All tests of one side (pairs × matrices) are one family: they are read off one figure together. Benjamini–Hochberg
    holds the expected share of wrong verdicts among those that differ from chance at :data:`LEVEL`. Guarding against a
    single wrong one among a thousand tests (Bonferroni) would answer a question that nobody asks, *is there any matrix*,
    at the price of most true findings.
    """
    adjusted = scipy.stats.false_discovery_control(p_values.ravel(), method="bh").reshape(p_values.shape)
    return np.where(adjusted <= LEVEL, np.sign(overlap - expected), 0).astype(int), adjusted
