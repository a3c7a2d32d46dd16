import pytest

from experiments.evaluation.paired import compare_results
from experiments.evaluation.report import comparison_table
from experiments.evaluation.results import METRICS


def results(offset=0.0, scenes=("a", "b", "c")):
    return {
        ("set", scene): {metric.name: i + 0.1 * metric.better + offset for metric in METRICS}
        for i, scene in enumerate(scenes)
    }


def test_results_are_matched_by_scene_whatever_their_order():
    second = dict(reversed(results(1.0).items()))
    found = compare_results(results(), second)
    for difference in found.values():
        assert difference.second - difference.first == pytest.approx(1)
        assert (difference.test.mean, difference.test.low, difference.test.high) == pytest.approx((1, 1, 1))
    lines = comparison_table(found).splitlines()
    assert "first is better" in next(line for line in lines if line.startswith("Acc ↓"))
    assert "second is better" in next(line for line in lines if line.startswith("NC ↑"))
    assert lines[-1] == f"{len(METRICS)} metrics; intervals and p are not corrected for their number"
    with pytest.raises(ValueError, match="set/d is in one of them only"):
        compare_results(results(), results(scenes=("a", "b", "c", "d")))
    with pytest.raises(ValueError, match="two scenes at least"):
        compare_results(results(scenes=("a",)), results(scenes=("a",)))
