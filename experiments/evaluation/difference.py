"""What differences of two methods say about their expectation: interval, p-value, and what would have been found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from subspace.errors import InputError

LEVEL = 0.05
"""Share of false decisions that is accepted, and what intervals leave out."""


@dataclass(frozen=True)
class DifferenceTest:
    """What differences say about their expectation."""

    mean: float
    """The mean difference."""
    standard_error: float
    """Of the mean, for what would be drawn anew: other seeds, other scenes, or both."""
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


def paired_test(differences: Float[np.ndarray, " pairs"]) -> DifferenceTest:
    """Pairs alone are drawn at random: Student's paired t test, right with few pairs too.

    Args:
        differences: of two methods, for each seed or each scene that both have.

    Raises:
        InputError: fewer than two pairs.
    """
    if differences.ndim != 1 or len(differences) < 2:
        raise InputError(f"a paired test needs two pairs at least, got {differences.shape}")
    values = differences.astype(np.float64)
    return DifferenceTest(float(values.mean()), float(stats.sem(values)), len(values) - 1)
