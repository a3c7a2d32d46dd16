"""Is one method better than another, for other seeds and for other scenes? A test with both as random factors.

Each seed of two methods is evaluated on each scene, so that differences fill a table of seeds × scenes. Resampling scenes alone
would ask about these very trainings; what one seed gives is not what the next one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from experiments.evaluation.difference import DifferenceTest
from subspace.errors import InputError


def crossed_test(differences: Float[np.ndarray, "seeds scenes"]) -> DifferenceTest:
    """Both seeds and scenes are drawn at random: difference = mean + seed + scene + rest.

    The variance of the mean is (MS_seeds + MS_scenes − MS_rest) / (seeds · scenes) with the mean squares of a two-way
    analysis of variance, no component below zero. Its degrees of freedom are those of the seeds, seeds − 1, the fewest that
    it can have. Satterthwaite's formula (1946) gives more where few seeds agree by chance: with it up to 17 % of tables in
    which nothing differs have a false decision after the correction, with seeds − 1 at most 5 %
    (``tests/experiments/reproduction/test_false_decisions.py``).

    Args:
        differences: first method minus second, the same seed and the same scene of both.

    Raises:
        InputError: fewer than two seeds or two scenes.
    """
    if differences.ndim != 2 or min(differences.shape) < 2:
        raise InputError(f"a crossed test needs two seeds and two scenes at least, got {differences.shape}")
    values = differences.astype(np.float64)
    seeds, scenes = values.shape
    mean, by_seed, by_scene = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = float(np.sum((values - by_seed[:, None] - by_scene + mean) ** 2)) / ((seeds - 1) * (scenes - 1))
    of_seeds = max(scenes * float(by_seed.var(ddof=1)), rest)
    of_scenes = max(seeds * float(by_scene.var(ddof=1)), rest)
    variance = of_seeds + of_scenes - rest
    return DifferenceTest(float(mean), (variance / (seeds * scenes)) ** 0.5, seeds - 1)


def corrected(p: Sequence[float]) -> list[float]:
    """p-values of a family such that those below 0.05 have at most 5 % false ones among them (Benjamini and Hochberg, 1995)."""
    return [float(each) for each in stats.false_discovery_control(list(p))] if p else []
