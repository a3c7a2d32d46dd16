import jax.numpy as jnp
import numpy as np
import pytest

from vggt_jax.resize import resize_bilinear


@pytest.mark.parametrize(("size", "target"), [((5, 4), (10, 9)), ((4, 7), (4, 3)), ((1, 3), (4, 1)), ((2, 2), (5, 7))])
def test_interpolates_linearly_between_aligned_corners(size, target):
    image = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = image
    for axis, n in ((1, target[0]), (2, target[1])):
        m = expected.shape[axis]
        places = np.linspace(0, m - 1, n) if n > 1 else np.zeros(1)
        expected = np.apply_along_axis(lambda line, m=m, p=places: np.interp(p, np.arange(m), line), axis, expected)
    np.testing.assert_allclose(resize_bilinear(jnp.asarray(image), *target), expected, atol=1e-5)
