import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.numerics import bounded, finite, kth_smallest, length, magnitude, masked_mean, quantile_rank


@pytest.mark.parametrize("quantile", [0.98, 0.9, 0.5, 0.125])
def test_quantile_rank_is_pythons_rounding(quantile):
    counts = np.concatenate([np.arange(1, 5000), np.arange(8_000_000, 8_002_000)])
    expected = [round(quantile * (int(count) - 1)) + 1 for count in counts]
    np.testing.assert_array_equal(quantile_rank(quantile, jnp.asarray(counts, jnp.int32)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kth_smallest_is_a_sorts(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=300), np.repeat(0.25, 50), [0.0, -0.0, 1e-30, -1e-30, 100, -100, 3e38]])
    mask = rng.uniform(size=x.size) < 0.7
    with jax.enable_x64(dtype == "float64"):
        x = x.astype(dtype)
        found = jax.vmap(kth_smallest, in_axes=(None, None, 0))(x, mask, jnp.arange(1, mask.sum() + 1))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.sort(x[mask]))


def test_length_and_its_gradient():
    x = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(length(x), [5, 0])
    np.testing.assert_allclose(jax.grad(lambda x: length(x).sum())(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_magnitude_and_its_gradient():
    x = jnp.asarray([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(magnitude(x), [2, 0, 3])
    np.testing.assert_array_equal(jax.grad(lambda x: magnitude(x).sum())(x), [-1, 0, 1])


def test_bounded_passes_no_gradient_beyond_the_limit():
    x = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 150.0, -150.0, 3.0])
    np.testing.assert_array_equal(finite(x), [0, 0, 0, 150, -150, 3])
    np.testing.assert_array_equal(bounded(x), [0, 0, 0, 100, -100, 3])
    np.testing.assert_array_equal(jax.grad(lambda x: bounded(x).sum())(x), [0, 0, 0, 0, 0, 1])


def test_mean_of_nothing_is_zero():
    assert masked_mean(jnp.asarray([jnp.nan, 2.0]), jnp.asarray([False, False])) == 0
    assert masked_mean(jnp.asarray([jnp.nan, 2.0]), jnp.asarray([False, True])) == 2
