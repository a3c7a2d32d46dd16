"""Both ways in which a layer applies a low-rank update: through thin factors, and as the sum W + dW."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from subspace import LowRank
from vggt_jax import layers
from vggt_jax.layers import Conv, Linear


def make_linear():
    return Linear(6, 5, rngs=nnx.Rngs(0)), (2, 9, 6), (5, 6)


def make_conv(**geometry):
    return Conv(4, 3, rngs=nnx.Rngs(0), **geometry), (2, 6, 5, 4), (3, 4 * geometry["kernel"] ** 2)


LAYERS = {
    "linear": make_linear,
    "1x1": lambda: make_conv(kernel=1),
    "3x3": lambda: make_conv(kernel=3, padding=1),
    "3x3, stride 2": lambda: make_conv(kernel=3, padding=1, stride=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_thin_factors_and_the_sum_give_the_same_values_and_gradients(name, monkeypatch):
    layer, shape, (n, m) = LAYERS[name]()
    rng = np.random.default_rng(0)
    # of a size that a trained update has: the sine of large numbers would show the rounding of each way many times larger
    x, a, b = (jnp.asarray(rng.normal(size=size, scale=0.5), jnp.float32) for size in (shape, (n, 2), (m, 2)))
    products, results = [], []

    for small in (0, 2**16):
        monkeypatch.setattr(layers, "_SMALL", small)

        def loss(x, a, b):  # made anew, since JAX remembers what a function was traced to
            y = layer(x, LowRank(a, b))
            return jnp.sum(jnp.sin(y)), y

        program = str(jax.make_jaxpr(loss)(x, a, b))
        products.append(program.count("dot_general") + program.count("conv_general_dilated["))
        results.append(jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(x, a, b))
    assert products[1] < products[0]  # they are two ways
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6), *results)


def test_a_sum_is_made_only_where_it_pays_and_loses_no_digits():
    small, large = jnp.zeros((64, 64)), jnp.zeros((3, 3, 256, 256))
    assert layers._summed_first(jnp.zeros((1, 64, 64)), small)
    assert not layers._summed_first(jnp.zeros((1, 8, 64)), small)
    assert not layers._summed_first(jnp.zeros((1, 64, 64), jnp.bfloat16), small)
    assert not layers._summed_first(jnp.zeros((1, 64, 64, 256)), large)
