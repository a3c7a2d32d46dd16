import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from subspace import LowRank, generalized_eigenvalues, null_eigenvalues, null_p_value, null_percentile


@pytest.mark.parametrize(
    ("n", "d", "d_prime"),
    [
        (60, 4, 4),
        pytest.param(60, 5, 2, marks=pytest.mark.slow),
        pytest.param(60, 2, 5, marks=pytest.mark.slow),
        (9, 4, 4),
        (6, 4, 5),
        (5, 5, 5),
    ],
)
def test_same_distribution_as_random_subspaces(n, d, d_prime):
    """Every order statistic against subspaces that are drawn whole, by the two-sample Kolmogorov–Smirnov test."""
    samples = 2000
    null = np.asarray(null_eigenvalues(n, d, d_prime, samples, jax.random.key(0)))
    rng = np.random.default_rng(1)

    def draw(rank):
        return LowRank(rng.standard_normal((samples, n, rank)), np.ones((samples, 1, 1)) * np.eye(7, rank))

    whole = np.asarray(generalized_eigenvalues(draw(d), draw(d_prime)))
    assert null.shape == whole.shape == (samples, d + d_prime)
    for column, expected in zip(null.T, whole.T, strict=True):
        if np.ptp(expected) < 1e-9:  # directions that must be shared when d + d' > n, and the ones of |d - d'|
            np.testing.assert_allclose(column, expected, atol=1e-9)
        else:
            assert np.asarray(scipy.stats.ks_2samp(column, expected))[1] > 1e-4


def test_random_subspaces_of_vggt_are_nearly_orthogonal():
    null = null_eigenvalues(1024, 16, 16, 500, jax.random.key(0))
    assert abs(float(jnp.median(null[:, 0])) - 0.76) < 0.02
    np.testing.assert_array_equal(null, null_eigenvalues(1024, 16, 16, 500, jax.random.key(0)))


def test_percentile_equals_scipy():
    rng = np.random.default_rng(0)
    null, measured = rng.integers(0, 20, (200, 3)).astype(float), rng.integers(-1, 21, (4, 5, 3)).astype(float)
    found = null_percentile(measured, null)
    for index in np.ndindex(measured.shape):
        expected = scipy.stats.percentileofscore(null[:, index[-1]], measured[index], kind="mean")
        assert float(found[index]) == pytest.approx(expected)


def test_p_value_is_twice_the_smaller_tail_and_never_zero():
    null = np.arange(9.0)[:, None]
    found = null_p_value(np.array([[-1.0], [0.0], [4.0], [8.0], [9.0]]), null)
    np.testing.assert_allclose(found[:, 0], [0.2, 0.4, 1, 0.4, 0.2])


def test_what_rounding_tells_apart_is_tied():
    null, measured = np.ones((10, 1)), np.array([[1 + 1e-7], [1 - 1e-7]])
    np.testing.assert_array_equal(null_percentile(measured, null)[:, 0], [100, 0])
    np.testing.assert_array_equal(null_percentile(measured, null, rounding=1e-6)[:, 0], [50, 50])
    np.testing.assert_array_equal(null_p_value(measured, null, rounding=1e-6)[:, 0], [1, 1])


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_nan_is_neither_close_nor_far(as_array):
    null, measured = (
        as_array(np.arange(9.0, dtype=np.float32)[:, None]),
        as_array(np.float32([[np.nan], [4], [np.inf]])),
    )
    for function, expected in ((null_p_value, [np.nan, 1, 0.2]), (null_percentile, [np.nan, 50, 100])):
        found = function(measured, null)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(function)(measured, null), found)
        for bad in (np.nan, np.inf):
            with pytest.raises(ValueError, match="null has NaN or infinity"):
                function(measured, as_array(np.float32([[1], [bad]])))


@pytest.mark.slow
def test_percentiles_of_the_null_itself_are_uniform():
    null, fresh = (null_eigenvalues(100, 4, 4, 1000, jax.random.key(seed)) for seed in (0, 1))
    percentile = np.asarray(null_percentile(fresh, null))[:, 0]
    assert np.asarray(scipy.stats.kstest(percentile / 100, "uniform"))[1] > 1e-3


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 5, 2, 10), "d must lie between 1 and n=4, got 5"),
        ((4, 2, 0, 10), "d_prime must lie between 1 and n=4, got 0"),
        ((4, 2, 2, 0), "samples must be at least 1"),
    ],
)
def test_bad_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        null_eigenvalues(*arguments, jax.random.key(0))


@pytest.mark.wrong_types
def test_bad_percentile():
    with pytest.raises(ValueError, match=r"got \(3,\) and \(10, 2\)"):
        null_percentile(np.ones(3), np.ones((10, 2)))
