"""Normalisation and rotation in one, against the two layers."""

import jax
import jax.numpy as jnp
import numpy as np

from vggt_jax.layers import LayerNorm
from vggt_jax.rope import normalise_and_rotate, rotate, rotation, token_positions


def test_one_pass_gives_the_values_and_gradients_of_the_layers():
    by = rotation(token_positions(2, 3, 2), 16, 100.0)
    x, w, scale, bias = (
        jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(2, 3, 8, 16)] * 2 + [(16,)] * 2)
    )
    norm = LayerNorm(16, eps=1e-5, affine=False)

    def in_turn(x, scale, bias):
        return jnp.sum(w * rotate(norm(x) * scale + bias, by))

    def in_one(x, scale, bias):
        return jnp.sum(w * normalise_and_rotate(x, scale, bias, by, 1e-5))

    found, expected = (jax.jit(jax.value_and_grad(way, (0, 1, 2)))(x, scale, bias) for way in (in_one, in_turn))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)
    assert normalise_and_rotate(x.astype(jnp.bfloat16), scale, bias, by, 1e-5).dtype == jnp.bfloat16
