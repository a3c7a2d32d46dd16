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
import jax.numpy as jnp
import numpy as np
import scipy.stats

from experiments.analysis.matrices import over_matrices
from subspace import LowRank, null_eigenvalues, pairwise_eigenvalues
from subspace.angles import Side
from subspace.grouping import SIDE_MULTIPLE

SIDES: tuple[Side, Side] = ("output", "input")
SAMPLES = 10_000
"""Random pairs of subspaces for each size: the smallest p-value that can be found is 2 / 10,001."""
LEVEL = 0.05
"""False discovery rate of the verdicts."""
_ROUNDING = 2e-6
"""Overlaps that differ by less are equal in float32."""


class Alignment(enum.IntEnum):
    """Whether two subspaces overlap more than random ones, like them, or less."""

    ALIGNED = 1
    CHANCE = 0
    ORTHOGONAL = -1


def eigenvalues_of_pairs(subspaces: Sequence[Mapping[str, LowRank]]) -> dict[Side, dict[str, np.ndarray]]:
    """Eq. 5 for all pairs of subspaces in every matrix, on both sides, in one compiled call for each size of space.

    Args:
      subspaces: for each attribute (or half of one), path → canonical factors (*layers, n, m) of rank d, of equal shapes.

    Returns:
      side → path → (*layers, pairs, 2d), increasing, in [0, 2]; pairs in the order of ``itertools.combinations``. The
      output side compares column spaces (the paper's), the input side row spaces.
    """
    first = subspaces[0]
    groups: dict[tuple[int, int], list[tuple[Side, str]]] = {}
    for path, factors in first.items():
        for side, size in zip(SIDES, factors.shape[-2:], strict=True):
            # zero rows turn no angle; without them every size would cost a compilation
            groups.setdefault((-(-size // SIDE_MULTIPLE) * SIDE_MULTIPLE, factors.rank), []).append((side, path))
    found: dict[Side, dict[str, np.ndarray]] = {side: {} for side in SIDES}
    for (rows, _), members in groups.items():
        stacks = {str(i): _stacked(factors, members, rows) for i, factors in enumerate(subspaces)}
        values = np.stack([np.asarray(pair) for pair in pairwise_eigenvalues(stacks).values()], axis=1)
        start = 0
        for side, path in members:
            layers = first[path].shape[:-2]
            own = values[start : (start := start + int(np.prod(layers)))]
            found[side][path] = own.reshape(*layers, *own.shape[1:])
    return {side: {path: found[side][path] for path in first} for side in SIDES}


def _stacked(factors: Mapping[str, LowRank], members: Sequence[tuple[Side, str]], rows: int) -> LowRank:
    """Bases of the members, one after the other, as column spaces of matrices with ``rows`` rows.

    The columns of a canonical factor are orthogonal with the norms √σ, so that its product with their diagonal matrix has
    the column space and the singular values of the whole update, which say what is rounding.
    """
    parts, norms = [], []
    for side, path in members:
        basis = np.asarray(factors[path].A if side == "output" else factors[path].B, np.float32)
        basis = basis.reshape(-1, *basis.shape[-2:])
        parts.append(np.pad(basis, ((0, 0), (0, rows - basis.shape[1]), (0, 0))))
        norms.append(np.linalg.norm(basis, axis=1))
    root = np.concatenate(norms)
    return LowRank(
        jnp.asarray(np.concatenate(parts)), jnp.asarray(root[:, :, None] * np.eye(root.shape[1], dtype=root.dtype))
    )


def overlap_of(eigenvalues: np.ndarray) -> np.ndarray:
    """Mean squared cosine (…,) of Eq. 5's eigenvalues (…, 2d)."""
    return np.mean((np.asarray(eigenvalues, np.float64) - 1) ** 2, axis=-1)


def overlaps_of_pairs(subspaces: Sequence[Mapping[str, LowRank]]) -> dict[Side, np.ndarray]:
    """side → (matrices, pairs): overlaps of all pairs, as :func:`eigenvalues_of_pairs` takes and orders them."""
    return {
        side: over_matrices({path: overlap_of(values) for path, values in found.items()}, 1)
        for side, found in eigenvalues_of_pairs(subspaces).items()
    }


def angles_of(eigenvalues: np.ndarray) -> np.ndarray:
    """The d principal angles (…, d) in degrees, increasing, of Eq. 5's eigenvalues (…, 2d); good to 0.1°."""
    smallest = np.asarray(eigenvalues, np.float64)[..., : eigenvalues.shape[-1] // 2]
    return np.degrees(np.arccos(np.clip(1 - smallest, 0, 1)))


@dataclass(frozen=True, eq=False)
class Chance:
    """Two independent, uniformly random subspaces of dimension ``dim`` of Rⁿ, drawn :data:`SAMPLES` times."""

    n: int
    dim: int
    eigenvalues: np.ndarray
    """(samples, 2·dim), each row as Eq. 5 would give it."""
    overlap: np.ndarray
    """(samples,), increasing; its mean is dim / n."""

    @cached_property
    def overlap_range(self) -> np.ndarray:
        """(2,): between which 98 % of random overlaps lie."""
        return np.quantile(self.overlap, (0.01, 0.99))

    @cached_property
    def _distances(self) -> np.ndarray:
        """(samples,): Eq. 4's, increasing."""
        return np.sort(self.eigenvalues[:, 0])

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
        below, up_to = self._ranks(overlap)
        return 50 * (below + up_to) / self.overlap.size

    def distance_percentile(self, distance: np.ndarray) -> np.ndarray:
        """0 to 100: the share of random pairs with a smaller Eq. 4 distance (closer than the measured ones)."""
        below, up_to = (np.searchsorted(self._distances, distance, side=side) for side in ("left", "right"))
        return 50 * (below + up_to) / self._distances.size

    def p_value(self, overlap: np.ndarray) -> np.ndarray:
        """Two-sided, of "as random": twice the smaller tail, counted with the measured value itself among the samples."""
        below, up_to = self._ranks(overlap)
        smaller_tail = np.minimum(up_to, self.overlap.size - below) + 1
        return np.minimum(1, 2 * smaller_tail / (self.overlap.size + 1))

    def _ranks(self, overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples below, and up to, the measured values. What only rounding tells apart is tied: where dim = n every two
        subspaces are the same, and nothing can be said of them."""
        below = np.searchsorted(self.overlap, np.asarray(overlap) - _ROUNDING, side="left")
        return below, np.searchsorted(self.overlap, np.asarray(overlap) + _ROUNDING, side="right")


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
