"""Normalisation with kept statistics against the plain layer."""

import jax
import jax.numpy as jnp
import numpy as np

from vggt_jax.layers import LayerNorm


def test_kept_statistics_give_the_values_and_gradients_of_the_layer():
    x, w = 3 + jax.random.normal(jax.random.key(0), (4, 5, 32)), jax.random.normal(jax.random.key(1), (4, 5, 32))

    def loss(norm, x):
        return jnp.sum(w * norm(x))

    plain, kept = LayerNorm(32), LayerNorm(32, keep_statistics=True)
    found, expected = (jax.jit(jax.value_and_grad(lambda x, norm=norm: loss(norm, x)))(x) for norm in (kept, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
    same = kept(jnp.full((2, 32), 7.0))
    assert np.all(np.isfinite(same)) and np.allclose(same, 0, atol=1e-2)  # no variance below 0
