"""Is one method better than another? Its metrics scene by scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.evaluation.difference import DifferenceTest, paired_test
from experiments.evaluation.results import ALL_METRICS, SceneKey
from subspace.errors import InputError


@dataclass(frozen=True)
class Difference:
    """A metric of two methods on the same scenes."""

    first: float
    """Mean of the first method."""
    second: float
    """Mean of the second method."""
    test: DifferenceTest
    """Of second minus first, with scenes drawn at random."""


def compare_results(
    first: Mapping[SceneKey, Mapping[str, float]], second: Mapping[SceneKey, Mapping[str, float]]
) -> dict[str, Difference]:
    """Every metric that both results have of all scenes, by its name.

    Raises:
        InputError: the results are not of the same scenes, or of one only, or have no metric in common.
    """
    if alone := sorted(first.keys() ^ second.keys()):
        raise InputError(f"the results are not of the same scenes: {'/'.join(alone[0])} is in one of them only")

    if len(first) < 2:
        raise InputError(f"a comparison needs two scenes at least, these results have {len(first)}")

    def column(result: Mapping[SceneKey, Mapping[str, float]], name: str) -> np.ndarray:
        return np.array([result[key].get(name, np.nan) for key in first])

    columns = {metric.name: (column(first, metric.name), column(second, metric.name)) for metric in ALL_METRICS}
    measured = {name: both for name, both in columns.items() if not np.isnan(both).any()}
    if not measured:
        raise InputError("the results have no metric of all scenes in common")
    return {
        name: Difference(float(one.mean()), float(other.mean()), paired_test(other - one))
        for name, (one, other) in measured.items()
    }
