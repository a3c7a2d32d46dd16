import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vggt_jax.resize import interpolation, resize_bilinear


@pytest.mark.parametrize(("size", "target"), [((5, 4), (10, 9)), ((4, 7), (4, 3)), ((1, 3), (4, 1)), ((2, 2), (5, 7))])
def test_interpolates_linearly_between_aligned_corners(size, target):
    image = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = image
    for axis, n in ((1, target[0]), (2, target[1])):
        m = expected.shape[axis]
        places = np.linspace(0, m - 1, n) if n > 1 else np.zeros(1)
        expected = np.apply_along_axis(lambda line, m=m, p=places: np.interp(p, np.arange(m), line), axis, expected)
    np.testing.assert_allclose(resize_bilinear(jnp.asarray(image), *target), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "target"), [(70, 101), (101, 70), (70, 200), (65, 1)])
def test_gathering_is_the_product_with_the_interpolation_matrix_both_ways(size, target):
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(1, n, 1, 2)).astype(np.float32) for n in (size, target))
    matrix = interpolation(size, target)
    assert np.allclose(matrix.sum(axis=1), 1)
    out, pull = jax.vjp(lambda x: resize_bilinear(x, target, 1), jnp.asarray(x))
    np.testing.assert_allclose(out[0, :, 0], matrix @ x[0, :, 0], atol=1e-5)
    np.testing.assert_allclose(pull(jnp.asarray(g))[0][0, :, 0], matrix.T @ g[0, :, 0], atol=1e-5)


def test_both_axes_at_once_are_one_after_the_other_both_ways():
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(2, *size, 3)).astype(np.float32) for size in ((66, 67), (68, 99)))
    rows, columns = interpolation(66, 68), interpolation(67, 99)
    out, pull = jax.vjp(lambda x: resize_bilinear(x, 68, 99), jnp.asarray(x))
    np.testing.assert_allclose(out, np.einsum("nijc,pi,qj->npqc", x, rows, columns), atol=1e-5)
    np.testing.assert_allclose(pull(jnp.asarray(g))[0], np.einsum("npqc,pi,qj->nijc", g, rows, columns), atol=1e-5)


def test_no_gradient_is_a_scatter():
    def loss(x):
        return jnp.sum(resize_bilinear(x, 80, 80) ** 2)

    for size in (40, 72):
        x = jnp.zeros((1, size, size, 2))
        assert "scatter" not in str(jax.make_jaxpr(jax.grad(loss))(x))
