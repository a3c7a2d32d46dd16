"""Crowds of adapters against dense float64 formulas, where float32 would lose what counts."""

import numpy as np

from subspace import LowRank
from subspace.crowd import Crowd
from subspace.shared import EPSILON, of_crowd
from tests.subspace import oracle


def test_small_residuals_of_nearly_equal_adapters_keep_their_digits():
    k, size, r = 12, 60, 4
    (base_A, B), (noise, _) = oracle.random_adapters(0, 1, size, size, r), oracle.random_adapters(1, k, size, size, r)
    adapters = LowRank(*(np.float32(x) for x in (base_A + 1e-4 * noise, np.repeat(B, k, 0))))
    found, _ = of_crowd(Crowd(adapters), r, 1.0, EPSILON, 1e-5, 100)
    expected = oracle.shared_subspace(oracle.dense(adapters), r, 1.0, EPSILON, int(found.iterations))
    assert found.converged and found.iterations < 5
    np.testing.assert_allclose(found.residuals, expected.residuals, rtol=0.01)
    np.testing.assert_allclose(found.weights * k, expected.weights * k, atol=1e-4)


def test_the_energy_of_a_small_difference_of_large_products_keeps_its_digits():
    (A, B), (noise, _) = oracle.random_adapters(0, 3, 60, 50, 4), oracle.random_adapters(1, 3, 60, 50, 4)
    pissa = LowRank(*(np.float32(np.concatenate(x, -1)) for x in ((A + 1e-3 * noise, -A), (B, B))))
    crowd = Crowd(pissa)
    expected = np.sum(oracle.dense(pissa) ** 2, axis=(1, 2))
    np.testing.assert_allclose(crowd.energy * crowd.unit**2, expected, rtol=1e-3)
