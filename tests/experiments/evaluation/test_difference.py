"""The paired test against SciPy's, and how often it decides where nothing differs."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from experiments.evaluation.difference import LEVEL, paired_test
from subspace.errors import InputError


@pytest.mark.parametrize("pairs", [2, 3, 40])
def test_interval_and_p_are_scipys(pairs):
    rng = np.random.default_rng(0)
    first = rng.gamma(2, size=pairs)
    second = first + rng.normal(0.1, 0.3, pairs)
    found, expected = paired_test(second - first), ttest_rel(second, first)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p == pytest.approx(expected.pvalue) and found.dof == expected.df == pairs - 1
    assert found.mean == pytest.approx((second - first).mean())


def test_pairing_matters():
    rng = np.random.default_rng(1)
    first = 10 * rng.normal(size=30)
    second = first + rng.normal(0.5, 0.1, 30)
    assert paired_test(second - first).p < 1e-6
    assert paired_test(rng.permutation(second) - first).p > 0.2


def test_there_is_no_difference_between_a_method_and_itself():
    found = paired_test(np.zeros(5))
    assert (found.low, found.high, found.p) == (0, 0, 1)


@pytest.mark.parametrize("pairs", [2, 3, 5, 40])
def test_false_alarms_are_as_rare_as_they_should_be(pairs):
    rng = np.random.default_rng(2)
    found = [paired_test(rng.normal(size=pairs)) for _ in range(1000)]
    assert 0.03 < np.mean([each.p < LEVEL for each in found]) < 0.07
    assert [each.p < LEVEL for each in found] == [each.low > 0 or each.high < 0 for each in found]


@pytest.mark.parametrize("shape", [(1,), (2, 2), (0,)])
def test_one_pair_is_no_test(shape):
    with pytest.raises(InputError, match="two pairs at least"):
        paired_test(np.zeros(shape))
