import numpy as np
import pytest
from scipy.stats import bootstrap

from experiments.evaluation.bootstrap import compare_results, paired_bootstrap
from experiments.evaluation.report import comparison_table
from experiments.evaluation.results import METRICS


def test_interval_is_scipys():
    rng = np.random.default_rng(0)
    first = rng.gamma(2, size=40)
    second = first + rng.normal(0.1, 0.3, 40)
    found = paired_bootstrap(first, second)
    expected = bootstrap(
        (second - first,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)
    assert found.mean == pytest.approx((second - first).mean())
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))


def test_pairing_matters():
    rng = np.random.default_rng(1)
    first = 10 * rng.normal(size=30)
    assert paired_bootstrap(first, first + rng.normal(0.5, 0.1, 30)).p == pytest.approx(2 / 10_001)
    assert paired_bootstrap(first, rng.permutation(first) + 0.5).p > 0.2


def test_there_is_no_difference_between_a_method_and_itself():
    values = np.arange(5.0)
    found = paired_bootstrap(values, values)
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_false_alarms_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(2)
    p = [paired_bootstrap(np.zeros(40), rng.normal(size=40), resamples=500).p for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.12


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
