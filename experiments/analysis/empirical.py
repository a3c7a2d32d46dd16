"""What "orthogonal" means here, measured on the adapters themselves.

Random subspaces are a weak null model: the gradients of one base model prefer some directions whatever it is trained on. So
two more comparisons, of subspaces mined anew:

* *Halves.* The adapters of each attribute are divided into two halves at random. Do the halves of one attribute overlap
  more than halves of different attributes? If they do not, that different attributes are orthogonal says nothing of them.
* *Shuffled labels.* All adapters are dealt anew to as many groups as there are attributes. If the real attributes overlap
  as much as such groups do, the attribute makes no difference to the subspace.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass

import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.matrices import Matrix, MatrixRow
from experiments.analysis.overlap import SIDES, excess, overlaps_of_pairs
from experiments.analysis.resampling import adapter_counts, deal, halves, mine_members, room
from experiments.mining.folder import Inputs
from experiments.process.reporting import SILENT, Reporter
from subspace.angles import Side

SPLITS = 3
"""Random divisions into halves, and random deals of the labels."""


class Comparison(enum.Enum):
    """What is compared with what."""

    HALVES_OF_ONE = enum.auto()
    HALVES_OF_TWO = enum.auto()
    SHUFFLED = enum.auto()
    ATTRIBUTES = enum.auto()


@dataclass(frozen=True, eq=False)
class SideOverlaps:
    """Overlaps (mean squared cosines) on one side."""

    same: np.ndarray
    """(splits, matrices, attributes): of the two halves of one attribute."""
    different: np.ndarray
    """(splits, matrices, pairs): of a half of one attribute and a half of another, mean of the four combinations."""
    shuffled: np.ndarray
    """(deals, matrices, pairs): of groups with shuffled labels, as large as the attributes themselves. No deals if the
    attributes' adapters differ in rank, which tells them apart."""
    actual: np.ndarray
    """(matrices, pairs): of the attributes."""
    half_chance: np.ndarray
    """(matrices,): mean overlap of random subspaces as large as the halves'."""
    chance: np.ndarray
    """(matrices,): mean overlap of random subspaces as large as the attributes'."""

    @property
    def values(self) -> dict[Comparison, np.ndarray]:
        """(draws, matrices, attributes or pairs) of every comparison that was made."""
        found = {Comparison.HALVES_OF_ONE: self.same, Comparison.HALVES_OF_TWO: self.different}
        if len(self.shuffled):
            found[Comparison.SHUFFLED] = self.shuffled
        return found | {Comparison.ATTRIBUTES: self.actual[None]}

    def chance_of(self, comparison: Comparison) -> np.ndarray:
        """(matrices,): mean overlap of random subspaces of the same size."""
        of_halves = comparison in (Comparison.HALVES_OF_ONE, Comparison.HALVES_OF_TWO)
        return self.half_chance if of_halves else self.chance


@dataclass(frozen=True, eq=False)
class Resampled:
    """What :func:`compare_empirically` finds."""

    names: list[str]
    """The attributes."""
    pairs: list[tuple[str, str]]
    """Pairs of attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    half_sizes: dict[str, int]
    """Adapters in a half of each attribute."""
    sides: dict[Side, SideOverlaps]
    """Column spaces (output) and row spaces (input)."""


def compare_empirically(inputs: Inputs, angles: Angles, seed: int, reporter: Reporter = SILENT) -> Resampled:
    """Mine halves and shuffled groups of the adapters, and measure their overlaps.

    Args:
      inputs: with adapters.
      angles: of the attributes themselves.
      seed: of the divisions and deals.
      reporter: gets a line before every group of minings.
    """
    counts = adapter_counts(inputs)
    rng = np.random.default_rng(seed)
    divisions = [halves(count, SPLITS, rng) for count in counts.values()]
    splits = min(map(len, divisions))
    half_dims = room(inputs, min(counts.values()) // 2)
    overlaps: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    for split in range(splits):
        reporter.info(f"halves of every attribute's adapters, {split + 1} of {splits}")
        mined = [
            mine_members(inputs, [(name, number) for number in half], half_dims)
            for name, division in zip(inputs.names, divisions, strict=True)
            for half in division[split]
        ]
        for side, found in overlaps_of_pairs(mined).items():
            overlaps[side].append(_by_half(found, len(counts)))
    shuffled = _shuffled(inputs, counts, rng, reporter)
    half_widths = np.array([half_dims[matrix.path] for matrix in angles.matrices])
    sides = {}
    for side in SIDES:
        by_half = np.stack(overlaps[side])  # (splits, matrices, attributes, 2, attributes, 2)
        spaces = np.array([matrix.size(side) for matrix in angles.matrices])
        actual = angles.sides[side].overlap
        sides[side] = SideOverlaps(
            same=np.stack([by_half[:, :, a, 0, a, 1] for a in range(len(counts))], axis=-1),
            different=np.stack(
                [
                    np.mean([by_half[:, :, a, i, b, j] for i in (0, 1) for j in (0, 1)], axis=0)
                    for a, b in itertools.combinations(range(len(counts)), 2)
                ],
                axis=-1,
            ),
            shuffled=np.array(shuffled[side]).reshape(-1, *actual.shape),
            actual=actual,
            half_chance=half_widths / spaces,
            chance=angles.sides[side].expected,
        )
    half_sizes = {name: count // 2 for name, count in counts.items()}
    return Resampled(inputs.names, angles.pairs, angles.matrices, half_sizes, sides)


def _by_half(overlaps: np.ndarray, attributes: int) -> np.ndarray:
    """(matrices, pairs of halves) to (matrices, attributes, 2, attributes, 2): attribute and number of both halves.

    Only the first half's position before the second's is filled.
    """
    square = np.full((len(overlaps), 2 * attributes, 2 * attributes), np.nan)
    square[:, *np.triu_indices(2 * attributes, 1)] = overlaps
    return square.reshape(-1, attributes, 2, attributes, 2)


def _shuffled(
    inputs: Inputs, counts: dict[str, int], rng: np.random.Generator, reporter: Reporter
) -> dict[Side, list[np.ndarray]]:
    found: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    if any(mined.ranks != inputs.first.ranks for mined in inputs.attributes.values()):
        return found
    dims = {path: stack.rank for path, stack in inputs.first.factors.items()}
    for number in range(SPLITS):
        reporter.info(f"shuffled labels, {number + 1} of {SPLITS}")
        groups = [mine_members(inputs, members, dims) for members in deal(counts, rng).values()]
        for side, overlap in overlaps_of_pairs(groups).items():
            found[side].append(overlap)
    return found


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(MatrixRow):
    """One comparison of one pair in one matrix, on one side, over the random draws."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    comparison: Comparison
    """What is compared."""
    first: str
    """One attribute."""
    second: str
    """The other attribute, or the same."""
    overlap: float
    """Mean over the draws."""
    lowest: float
    """Smallest of the draws."""
    highest: float
    """Largest of the draws."""
    chance: float
    """Mean overlap of random subspaces of the same size."""


def comparison_rows(resampled: Resampled) -> list[ComparisonRow]:
    """One row for each side, comparison, matrix and pair."""
    rows = []
    for side, found in resampled.sides.items():
        for comparison, values in found.values.items():
            of_one = comparison is Comparison.HALVES_OF_ONE
            pairs = [(name, name) for name in resampled.names] if of_one else resampled.pairs
            chance = found.chance_of(comparison)
            for i, matrix in enumerate(resampled.matrices):
                for j, (first, second) in enumerate(pairs):
                    rows.append(
                        ComparisonRow(
                            path=matrix.path,
                            layer=matrix.layer,
                            side=side,
                            comparison=comparison,
                            first=first,
                            second=second,
                            overlap=float(values[:, i, j].mean()),
                            lowest=float(values[:, i, j].min()),
                            highest=float(values[:, i, j].max()),
                            chance=float(chance[i]),
                        )
                    )
    return rows


@dataclass(frozen=True)
class ComparisonSummary:
    """One side: medians over the matrices of means over attributes, pairs and draws, and shares of matrices."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    same: float
    """Overlap of halves of one attribute."""
    different: float
    """Overlap of halves of two attributes."""
    half_chance: float
    """Overlap of random subspaces as large as the halves'."""
    same_above_different: float
    """Share of the matrices in which halves of one attribute overlap more than halves of two in every division."""
    actual: float
    """Overlap of the attributes."""
    shuffled: float | None
    """Overlap of groups with shuffled labels; None if none were dealt."""
    below_shuffled: float | None
    """Share of the matrices in which the attributes overlap less than such groups; None if none were dealt."""
    chance: float
    """Overlap of random subspaces as large as the attributes'."""


def comparison_summary(resampled: Resampled) -> list[ComparisonSummary]:
    """One row for each side."""
    rows = []
    for side, found in resampled.sides.items():
        same, different = found.same.mean(axis=2), found.different.mean(axis=2)  # (splits, matrices)
        actual = found.actual.mean(axis=1)
        shuffled = found.shuffled.mean(axis=(0, 2)) if len(found.shuffled) else None
        rows.append(
            ComparisonSummary(
                side=side,
                same=float(np.median(same.mean(axis=0))),
                different=float(np.median(different.mean(axis=0))),
                half_chance=float(np.median(found.half_chance)),
                same_above_different=float(np.mean((excess(same, different) > 0).all(axis=0))),
                actual=float(np.median(actual)),
                shuffled=None if shuffled is None else float(np.median(shuffled)),
                below_shuffled=None if shuffled is None else float(np.mean(excess(actual, shuffled) < 0)),
                chance=float(np.median(found.chance)),
            )
        )
    return rows
