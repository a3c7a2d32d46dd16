import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace.svd import svd

MARK = 7.0


def _matrices():
    """Three of 6×4, of which the second begins with the mark."""
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    x[1, 0, 0] = MARK
    return x


def _fails_where_the_mark_is_first(module):
    real = module.linalg.svd

    def fails(x, **options):
        first = x[..., 0, 0] == MARK
        return tuple(
            module.where(first.reshape(first.shape + (1,) * (y.ndim - first.ndim)), np.nan, y)
            for y in real(x, **options)
        )

    return fails


def _assert_decomposes(found, x):
    U, sigma, Vt = (np.asarray(y, np.float64) for y in found)
    np.testing.assert_allclose(U * sigma[..., None, :] @ Vt, x, atol=1e-5)
    np.testing.assert_allclose(np.swapaxes(U, -1, -2) @ U, np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-5)
    np.testing.assert_allclose(sigma, np.linalg.svd(x.astype(np.float64), compute_uv=False), rtol=1e-5)


@pytest.mark.parametrize("batched", [False, True])
def test_what_jax_cannot_decompose_is_decomposed_in_another_order(batched, monkeypatch):
    monkeypatch.setattr(jnp.linalg, "svd", _fails_where_the_mark_is_first(jnp))
    x = _matrices()
    found = jax.jit(jax.vmap(svd) if batched else svd)(jnp.asarray(x))
    _assert_decomposes(found, x)


@pytest.mark.parametrize("raises", [False, True])
def test_the_same_of_numpy(raises, monkeypatch):
    fails = _fails_where_the_mark_is_first(np)

    def svd_or_error(x, **options):
        found = fails(x, **options)
        if raises and np.isnan(found[1]).any():
            raise np.linalg.LinAlgError("SVD did not converge")
        return found

    monkeypatch.setattr(np.linalg, "svd", svd_or_error)
    found = svd(x := _matrices())
    monkeypatch.undo()
    _assert_decomposes(found, x)


def test_nan_stays_nan_and_is_refused_by_numpy():
    x = _matrices()
    x[0, 0, 0] = np.nan
    assert np.isnan(svd(jnp.asarray(x))[1][0]).all()
    with pytest.raises(np.linalg.LinAlgError):
        svd(x)


def test_derivatives_are_those_of_jax():
    x = jnp.asarray(_matrices()[0])

    def largest(decompose):
        return jax.grad(lambda y: decompose(y)[1][0])(x)

    expected = largest(lambda y: jnp.linalg.svd(y, full_matrices=False))
    np.testing.assert_allclose(largest(svd), expected, atol=1e-6)
