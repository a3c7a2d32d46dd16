"""Is one method better than another? Paired bootstrap over scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.evaluation.results import ALL_METRICS, SceneKey
from subspace.errors import InputError

RESAMPLES = 10_000
_BATCH = 1_000
"""Resamples drawn at a time, which bounds the memory."""


@dataclass(frozen=True)
class Difference:
    """Difference of a metric's mean over scenes, second method minus first."""

    first: float
    """Mean of the first method."""
    second: float
    """Mean of the second method."""
    low: float
    """Lower end of the difference's 95 % percentile interval."""
    high: float
    """Upper end of the difference's 95 % percentile interval."""
    p: float
    """Two-sided p-value: twice the share of resamples in which the difference has the other sign or none, at most 1."""

    @property
    def mean(self) -> float:
        return self.second - self.first


def paired_bootstrap(
    first: Float[np.ndarray, " scenes"], second: Float[np.ndarray, " scenes"], seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Draw scenes with replacement, both methods' values together (Efron and Tibshirani, 1993; percentile interval).

    Args:
        first: a metric by scene.
        second: of the same scenes, in the same order.
        seed: of the draws.
        resamples: how many; the smallest p that can be told is 2 / (resamples + 1).

    Raises:
        InputError: fewer than two scenes, or not the same number.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise InputError(f"a paired comparison needs two scenes at least, got {first.shape} and {second.shape}")
    rng, difference = np.random.default_rng(seed), second - first
    drawn = np.concatenate(
        [
            difference[rng.integers(len(difference), size=(min(_BATCH, resamples - start), len(difference)))].mean(
                axis=1
            )
            for start in range(0, resamples, _BATCH)
        ]
    )
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = (1 + min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))) / (1 + resamples)
    return Difference(float(first.mean()), float(second.mean()), float(low), float(high), float(min(1, 2 * tail)))


def compare_results(
    first: Mapping[SceneKey, Mapping[str, float]], second: Mapping[SceneKey, Mapping[str, float]], seed: int = 0
) -> dict[str, Difference]:
    """Every metric that both results have of all scenes, by its name; all are resampled with the same scenes.

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
    return {name: paired_bootstrap(*both, seed) for name, both in measured.items()}
