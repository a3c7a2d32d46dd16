"""Is one method better than another, for other seeds and for other scenes? A test with both as random factors.

Each seed of two methods is evaluated on each scene, so that differences fill a table of seeds × scenes. Resampling scenes alone
would ask about these very trainings; what one seed gives is not what the next one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from subspace.errors import InputError

LEVEL = 0.05
"""Share of false decisions that is accepted, and what intervals leave out."""
_MOST_DOF_PER_SEED = 3
"""Degrees of freedom are at most this many for each seed beyond the first. With three seeds the variance between seeds is
sometimes small by chance, and Satterthwaite's formula then gives many. Without the limit 9 % of tables whose claims are all
null have a false decision after the correction, with it at most 5 %
(``tests/experiments/reproduction/test_false_decisions.py``)."""


@dataclass(frozen=True)
class DifferenceTest:
    """What differences say about their expectation."""

    mean: float
    """The mean difference."""
    standard_error: float
    """Of the mean, for what would be drawn anew: other seeds, and in a crossed test other scenes."""
    dof: float
    """Degrees of freedom of the standard error."""

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean difference; it is not corrected for other comparisons."""
        return float(stats.t.ppf(1 - LEVEL / 2, self.dof)) * self.standard_error

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.mean + self.half_width

    @property
    def p(self) -> float:
        """Two-sided: of no difference."""
        return min(1.0, 2 * self._beyond(abs(self.mean)))

    def p_alike(self, margin: float) -> float:
        """Of a difference of ``margin`` or more: the larger of two one-sided tests (Schuirmann, 1987)."""
        return self._beyond(margin - abs(self.mean))

    def p_apart(self, margin: float) -> float:
        """One-sided: of a difference of at most ``margin``."""
        return self._beyond(abs(self.mean) - margin)

    def detectable(self, power: float = 0.8) -> float:
        """The difference that such data would tell from none, uncorrected, with about this probability.

        With one degree of freedom the probability is 0.73 where 0.8 is asked for, with six 0.8.
        """
        return float(stats.t.ppf(1 - LEVEL / 2, self.dof) + stats.t.ppf(power, self.dof)) * self.standard_error

    def _beyond(self, distance: float) -> float:
        """Probability of an error of more than this."""
        if self.standard_error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stats.t.sf(distance / self.standard_error, self.dof))


def crossed_test(differences: Float[np.ndarray, "seeds scenes"]) -> DifferenceTest:
    """Both seeds and scenes are drawn at random: difference = mean + seed + scene + rest.

    The variance of the mean is (MS_seeds + MS_scenes − MS_rest) / (seeds · scenes) with the mean squares of a two-way
    analysis of variance, no component below zero, and its degrees of freedom are Satterthwaite's (1946).

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
    most = _MOST_DOF_PER_SEED * (seeds - 1)
    if variance == 0:
        return DifferenceTest(float(mean), 0.0, most)
    spread = of_seeds**2 / (seeds - 1) + of_scenes**2 / (scenes - 1) + rest**2 / ((seeds - 1) * (scenes - 1))
    return DifferenceTest(float(mean), (variance / (seeds * scenes)) ** 0.5, min(variance**2 / spread, most))


def seeds_test(differences: Float[np.ndarray, " seeds"]) -> DifferenceTest:
    """Seeds alone are drawn at random: Student's t of paired differences.

    Args:
        differences: first method minus second, the same seed of both.

    Raises:
        InputError: fewer than two seeds.
    """
    if differences.ndim != 1 or len(differences) < 2:
        raise InputError(f"a test over seeds needs two of them at least, got {differences.shape}")
    values = differences.astype(np.float64)
    return DifferenceTest(float(values.mean()), float(stats.sem(values)), len(values) - 1)


def corrected(p: Sequence[float]) -> list[float]:
    """p-values of a family such that those below 0.05 have at most 5 % false ones among them (Benjamini and Hochberg, 1995)."""
    return [float(each) for each in stats.false_discovery_control(list(p))] if p else []
