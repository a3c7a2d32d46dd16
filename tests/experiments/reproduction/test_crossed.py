"""The crossed test against a least-squares analysis of variance, SciPy's t-tests, and a correction by hand."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.evaluation.difference import DifferenceTest
from experiments.reproduction.crossed import corrected, crossed_test
from subspace.errors import InputError


def mean_squares(table):
    """Of seeds, scenes and the rest, from the residuals of regressions on indicator variables."""
    seeds, scenes = table.shape
    of_seed, of_scene = np.divmod(np.arange(table.size), scenes)
    ones, rows, columns = np.ones((table.size, 1)), np.eye(seeds)[of_seed], np.eye(scenes)[of_scene]

    def residual(*parts):
        design = np.hstack(parts)
        values = table.ravel()
        return np.sum((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2)

    both = residual(ones, rows, columns)
    return (
        (residual(ones, columns) - both) / (seeds - 1),
        (residual(ones, rows) - both) / (scenes - 1),
        both / ((seeds - 1) * (scenes - 1)),
    )


@pytest.fixture(params=[(3, 16), (6, 5), (2, 24)])
def table(request):
    rng = np.random.default_rng(7)
    seeds, scenes = request.param
    return 0.4 + rng.normal(size=(seeds, 1)) + rng.normal(size=(1, scenes)) + 0.3 * rng.normal(size=(seeds, scenes))


def test_variance_is_that_of_an_analysis_of_variance(table):
    a, b, e = mean_squares(table)
    assert min(a, b) > e  # so that no component is set to zero
    found = crossed_test(table)
    variance = a + b - e
    assert found.mean == pytest.approx(table.mean())
    assert found.standard_error == pytest.approx(np.sqrt(variance / table.size))
    assert found.dof == len(table) - 1
    interval = stats.t.interval(0.95, found.dof, found.mean, found.standard_error)
    assert (found.low, found.high) == pytest.approx(interval)
    assert found.p == pytest.approx(2 * stats.t.cdf(-abs(found.mean) / found.standard_error, found.dof))


def t_test(values, *, about=0.0, alternative="two-sided"):
    found: Any = stats.ttest_1samp(values, about, alternative=alternative)
    return found


def test_without_scenes_it_is_the_t_test_over_seeds():
    by_seed = np.array([0.3, 0.5, 0.1, 0.6])
    found = crossed_test(np.tile(by_seed[:, None], (1, 9)))
    expected = t_test(by_seed)
    assert (found.p, found.dof) == pytest.approx((expected.pvalue, 3))
    low, high = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))


def test_without_seeds_it_is_more_careful_than_the_t_test_over_scenes():
    by_scene = np.array([0.3, 0.5, -0.1, 0.6, 0.2])
    found = crossed_test(np.tile(by_scene, (3, 1)))
    assert found.standard_error == pytest.approx(stats.sem(by_scene))
    assert found.p > t_test(by_scene).pvalue


def test_a_component_below_zero_counts_as_none():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3, 30))
    table -= table.mean(axis=1, keepdims=True)  # seeds agree better than chance
    a, b, e = mean_squares(table)
    assert a < e
    assert crossed_test(table).standard_error == pytest.approx(np.sqrt(max(b, e) / table.size))


def test_alike_is_two_one_sided_tests():
    by_seed = np.array([0.3, 0.5, 0.1, 0.6])
    found, margin = crossed_test(np.tile(by_seed[:, None], (1, 3))), 0.9
    above = t_test(by_seed, about=-margin, alternative="greater").pvalue
    below = t_test(by_seed, about=margin, alternative="less").pvalue
    assert found.p_alike(margin) == pytest.approx(max(above, below))
    assert found.p_apart(0.1) == pytest.approx(t_test(by_seed, about=0.1, alternative="greater").pvalue)


def test_what_does_not_vary_is_certain():
    assert crossed_test(np.full((2, 3), 0.5)).p == 0 and crossed_test(np.zeros((2, 3))).p == 1


def test_a_detectable_difference_is_found_that_often():
    seeds, scenes = 8, 20
    rng = np.random.default_rng(3)
    expected = DifferenceTest(0.0, np.sqrt(1 / seeds), seeds - 1).detectable()
    drawn = expected + rng.normal(size=(800, seeds, 1)) + np.zeros((800, seeds, scenes))
    assert np.mean([crossed_test(each).p < 0.05 for each in drawn]) == pytest.approx(0.8, abs=0.05)


def test_correction_is_that_of_benjamini_and_hochberg():
    p = [0.04, 0.001, 0.9, 0.012]
    assert corrected(p) == pytest.approx([0.04 * 4 / 3, 0.004, 0.9, 0.024])
    assert corrected([]) == []


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (9,)])
def test_one_seed_or_one_scene_is_no_test(shape):
    with pytest.raises(InputError, match="two seeds and two scenes"):
        crossed_test(np.zeros(shape))
