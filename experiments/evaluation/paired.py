"""Is one method better than another? Student's paired t test over scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from experiments.evaluation.results import ALL_METRICS, SceneKey
from subspace.errors import InputError

LEVEL = 0.95
"""Of the interval."""


@dataclass(frozen=True)
class Difference:
    """Difference of a metric's mean over scenes, second method minus first."""

    first: float
    """Mean of the first method."""
    second: float
    """Mean of the second method."""
    low: float
    """Lower end of the difference's 95 % interval."""
    high: float
    """Upper end of the difference's 95 % interval."""
    p: float
    """Two-sided p-value of no difference."""

    @property
    def mean(self) -> float:
        return self.second - self.first


def paired_test(first: Float[np.ndarray, " scenes"], second: Float[np.ndarray, " scenes"]) -> Difference:
    """Student's t of the differences of scenes, which count as drawn at random; right with few scenes too.

    Args:
        first: a metric by scene.
        second: of the same scenes, in the same order.

    Raises:
        InputError: fewer than two scenes, or not the same number.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise InputError(f"a paired comparison needs two scenes at least, got {first.shape} and {second.shape}")
    difference = second - first
    mean, error = float(difference.mean()), float(stats.sem(difference))
    if error == 0:  # the same in all scenes
        low, high, p = mean, mean, float(mean == 0)
    else:
        low, high = stats.t.interval(LEVEL, len(difference) - 1, mean, error)
        p = 2 * stats.t.sf(abs(mean) / error, len(difference) - 1)
    return Difference(float(first.mean()), float(second.mean()), float(low), float(high), float(p))


def compare_results(
    first: Mapping[SceneKey, Mapping[str, float]], second: Mapping[SceneKey, Mapping[str, float]]
) -> dict[str, Difference]:
    """Every metric that both results have of all scenes, by its name.

    Raises:
        InputError: the results are not of the same scenes, or of one only, or have no metric in common.
    """
    if alone := sorted(first.keys() ^ second.keys()):
        raise InputError(f"the results are not of the same scenes: {'/'.join(alone[0])} is in one of them only")

    def column(result: Mapping[SceneKey, Mapping[str, float]], name: str) -> np.ndarray:
        return np.array([result[key].get(name, np.nan) for key in first])

    columns = {metric.name: (column(first, metric.name), column(second, metric.name)) for metric in ALL_METRICS}
    measured = {name: both for name, both in columns.items() if not np.isnan(both).any()}
    if not measured:
        raise InputError("the results have no metric of all scenes in common")
    return {name: paired_test(*both) for name, both in measured.items()}
