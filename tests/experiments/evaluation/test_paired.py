import numpy as np
import pytest
from scipy.stats import ttest_rel

from experiments.evaluation.paired import compare_results, paired_test
from experiments.evaluation.report import comparison_table
from experiments.evaluation.results import METRICS


@pytest.mark.parametrize("scenes", [2, 3, 40])
def test_interval_and_p_are_scipys(scenes):
    rng = np.random.default_rng(0)
    first = rng.gamma(2, size=scenes)
    second = first + rng.normal(0.1, 0.3, scenes)
    found, expected = paired_test(first, second), ttest_rel(second, first)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean == pytest.approx((second - first).mean())
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))


def test_pairing_matters():
    rng = np.random.default_rng(1)
    first = 10 * rng.normal(size=30)
    assert paired_test(first, first + rng.normal(0.5, 0.1, 30)).p < 1e-6
    assert paired_test(first, rng.permutation(first) + 0.5).p > 0.2


def test_there_is_no_difference_between_a_method_and_itself():
    values = np.arange(5.0)
    found = paired_test(values, values)
    assert (found.low, found.high, found.p) == (0, 0, 1)


@pytest.mark.parametrize("scenes", [2, 3, 5, 40])
def test_false_alarms_are_as_rare_as_they_should_be(scenes):
    rng = np.random.default_rng(2)
    found = [paired_test(np.zeros(scenes), rng.normal(size=scenes)) for _ in range(1000)]
    assert 0.03 < np.mean([each.p < 0.05 for each in found]) < 0.07
    assert [each.p < 0.05 for each in found] == [each.low > 0 or each.high < 0 for each in found]


def results(offset=0.0, scenes=("a", "b", "c")):
    return {
        ("set", scene): {metric.name: i + 0.1 * metric.better + offset for metric in METRICS}
        for i, scene in enumerate(scenes)
    }


def test_results_are_matched_by_scene_whatever_their_order():
    second = dict(reversed(results(1.0).items()))
    found = compare_results(results(), second)
    for difference in found.values():
        assert (difference.mean, difference.low, difference.high) == pytest.approx((1, 1, 1))
    lines = comparison_table(found).splitlines()
    assert "first is better" in next(line for line in lines if line.startswith("Acc ↓"))
    assert "second is better" in next(line for line in lines if line.startswith("NC ↑"))
    with pytest.raises(ValueError, match="set/d is in one of them only"):
        compare_results(results(), results(scenes=("a", "b", "c", "d")))
    with pytest.raises(ValueError, match="two scenes at least"):
        compare_results(results(scenes=("a",)), results(scenes=("a",)))
