"""What "orthogonal" means here, measured on the adapters themselves.

Random subspaces are a weak null model: the gradients of one base model prefer some directions whatever it is trained on. So
two more comparisons, of subspaces mined anew:

* *Halves.* The adapters of each attribute are divided into two halves at random. Do the halves of one attribute overlap
  more than halves of different attributes? If they do not, that different attributes are orthogonal says nothing of them.
* *Shuffled labels.* All adapters are dealt anew to as many groups as there are attributes. If the real attributes overlap
  as much as such groups do, the attribute makes no difference to the subspace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.matrices import Matrix, over_matrices
from experiments.analysis.overlap import SIDES, eigenvalues_of_pairs, overlap_of
from experiments.analysis.resampling import adapter_counts, deal, halves, mine_members, room
from experiments.mining.folder import Inputs
from subspace import LowRank
from subspace.angles import Side

SPLITS = 3
"""Random divisions into halves, and random deals of the labels."""


@dataclass(frozen=True, eq=False)
class SideComparison:
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
    """(matrices,): as large as the attributes'."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare_empirically` finds."""

    names: list[str]
    pairs: list[tuple[str, str]]
    matrices: list[Matrix]
    half_sizes: dict[str, int]
    """Adapters in a half of each attribute."""
    sides: dict[Side, SideComparison]


def compare_empirically(inputs: Inputs, angles: Angles, seed: int, say: Callable[[str], None]) -> Comparison:
    """Mine halves and shuffled groups of the adapters, and measure their overlaps.

    Args:
      inputs: with adapters.
      angles: of the attributes themselves.
      seed: of the divisions and deals.
      say: gets a line before every group of minings.
    """
    counts = adapter_counts(inputs)
    rng = np.random.default_rng(seed)
    divisions = {name: halves(count, SPLITS, rng) for name, count in counts.items()}
    splits = min(len(found) for found in divisions.values())
    half_dims = room(inputs, min(counts.values()) // 2)
    same: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    different: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    for split in range(splits):
        say(f"halves of every attribute's adapters, {split + 1} of {splits}")
        mined = {
            f"{name}/{which}": mine_members(inputs, [(name, number) for number in own], half_dims)
            for name in inputs.names
            for which, own in enumerate(divisions[name][split])
        }
        for side, found in _overlaps(mined).items():
            between = {pair: found[:, i] for i, pair in enumerate(itertools.combinations(mined, 2))}
            same[side].append(np.stack([between[f"{name}/0", f"{name}/1"] for name in inputs.names], axis=-1))
            crossed = [
                np.mean([between[f"{a}/{i}", f"{b}/{j}"] for i in (0, 1) for j in (0, 1)], axis=0)
                for a, b in angles.pairs
            ]
            different[side].append(np.stack(crossed, axis=-1))
    shuffled = _shuffled(inputs, counts, rng, say)
    half_widths = np.array([half_dims[matrix.path] for matrix in angles.matrices])
    sides = {}
    for side in SIDES:
        spaces = np.array([matrix.size(side) for matrix in angles.matrices])
        actual = angles.sides[side].overlap
        sides[side] = SideComparison(
            same=np.stack(same[side]),
            different=np.stack(different[side]),
            shuffled=np.array(shuffled[side]).reshape(-1, *actual.shape),
            actual=actual,
            half_chance=half_widths / spaces,
            chance=angles.sides[side].expected,
        )
    return Comparison(
        inputs.names, angles.pairs, angles.matrices, {name: count // 2 for name, count in counts.items()}, sides
    )


def _shuffled(inputs: Inputs, counts: dict[str, int], rng: np.random.Generator, say) -> dict[Side, list[np.ndarray]]:
    found: dict[Side, list[np.ndarray]] = {side: [] for side in SIDES}
    if any(mined.ranks != inputs.first.ranks for mined in inputs.attributes.values()):
        return found
    dims = {path: stack.rank for path, stack in inputs.first.factors.items()}
    for number in range(SPLITS):
        say(f"shuffled labels, {number + 1} of {SPLITS}")
        groups = {name: mine_members(inputs, members, dims) for name, members in deal(counts, rng).items()}
        for side, overlap in _overlaps(groups).items():
            found[side].append(overlap)
    return found


def _overlaps(subspaces: dict[str, dict[str, LowRank]]) -> dict[Side, np.ndarray]:
    """side → (matrices, pairs)."""
    return {
        side: over_matrices({path: overlap_of(values) for path, values in found.items()}, 1)
        for side, found in eigenvalues_of_pairs(subspaces).items()
    }


def comparison_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row for each side, matrix, kind of comparison and pair, with mean and range over the random draws."""
    for side, found in comparison.sides.items():
        kinds = {
            "halves of one attribute": (found.same, [(name, name) for name in comparison.names], found.half_chance),
            "halves of two attributes": (found.different, comparison.pairs, found.half_chance),
            "shuffled labels": (found.shuffled, comparison.pairs, found.chance),
            "attributes": (found.actual[None], comparison.pairs, found.chance),
        }
        for kind, (values, pairs, chance) in kinds.items():
            for i, matrix in enumerate(comparison.matrices if len(values) else []):
                for j, (first, second) in enumerate(pairs):
                    yield {
                        "side": side,
                        "path": matrix.path,
                        "layer": matrix.layer,
                        "comparison": kind,
                        "first": first,
                        "second": second,
                        "overlap": float(values[:, i, j].mean()),
                        "lowest": float(values[:, i, j].min()),
                        "highest": float(values[:, i, j].max()),
                        "overlap by chance": float(chance[i]),
                    }


def comparison_summary(comparison: Comparison) -> list[dict[str, Any]]:
    """One row for each side: medians over the matrices of means over attributes, pairs and draws, and shares of matrices."""
    rows = []
    for side, found in comparison.sides.items():
        same, different = found.same.mean(axis=2), found.different.mean(axis=2)  # (splits, matrices)
        actual = found.actual.mean(axis=1)
        shuffled = found.shuffled.mean(axis=(0, 2)) if len(found.shuffled) else None
        rows.append(
            {
                "side": side,
                "halves of one attribute": float(np.median(same.mean(axis=0))),
                "halves of two attributes": float(np.median(different.mean(axis=0))),
                "chance (halves)": float(np.median(found.half_chance)),
                "same above different": float(np.mean((same > different).all(axis=0))),
                "attributes": float(np.median(actual)),
                "shuffled labels": None if shuffled is None else float(np.median(shuffled)),
                "attributes below shuffled": None if shuffled is None else float(np.mean(actual < shuffled)),
                "chance": float(np.median(found.chance)),
            }
        )
    return rows
