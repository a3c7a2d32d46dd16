"""The ways in which a layer applies a low-rank update: through thin factors, within W's product, and as the sum W + dW."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import ndtr
from scipy.stats import norm

from subspace import LowRank
from vggt_jax import layers
from vggt_jax.deltas import linear_delta
from vggt_jax.layers import Conv, Linear, gelu
from vggt_jax.products import adapted_product, product


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


@pytest.mark.parametrize("inputs, outputs", [(6, 9), (9, 6)])
def test_an_update_inside_the_product_gives_the_same_values_and_gradients(inputs, outputs):
    shapes = (2, 7, inputs), (inputs, outputs), (outputs, 2), (inputs, 2)
    arguments = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]

    def inside(x, w, a, b):
        return jnp.sum(jnp.sin(adapted_product(x, w, a, b) / 9))

    def apart(x, w, a, b):
        return jnp.sum(jnp.sin((x @ w + (x @ b) @ a.mT) / 9))

    found, expected = (jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*arguments) for loss in (inside, apart))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6), found, expected)


def test_an_update_inside_the_product_is_rounded_once():
    layer = Linear(64, 96, dtype="bfloat16", rngs=nnx.Rngs(0))
    x, a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(50, 64), (96, 4), (64, 4)]))
    delta = LowRank(0.1 * a, 0.1 * b)
    exact = np.asarray(x, np.float64) @ (layer.kernel[...] + delta.to_dense().mT) + layer.bias[...]
    found = np.asarray(layer(x, delta), np.float64)
    apart = np.asarray(layer(x) + linear_delta(x.astype(jnp.bfloat16), delta), np.float64)
    assert np.linalg.norm(found - exact) < 5e-3 * np.linalg.norm(exact)
    assert np.linalg.norm(found - exact) < np.linalg.norm(apart - exact)


def test_a_sum_is_made_only_where_it_pays_and_loses_no_digits():
    small, large = jnp.zeros((64, 64)), jnp.zeros((3, 3, 256, 256))
    assert layers._summed_first(jnp.zeros((1, 64, 64)), small)
    assert not layers._summed_first(jnp.zeros((1, 8, 64)), small)
    assert not layers._summed_first(jnp.zeros((1, 64, 64), jnp.bfloat16), small)
    assert not layers._summed_first(jnp.zeros((1, 64, 64, 256)), large)


def test_gelu_and_its_derivative_are_those_of_the_normal_distribution():
    x = np.linspace(-9, 9, 20_001, dtype=np.float32)
    exact = np.float64(x)
    rounding = 9 * np.finfo(np.float32).eps  # of 1 + erf(x / √2), times x
    np.testing.assert_allclose(gelu(jnp.asarray(x)), exact * ndtr(exact), atol=rounding, rtol=0)
    (slope,) = jax.vjp(gelu, jnp.asarray(x))[1](jnp.ones_like(x))
    np.testing.assert_allclose(slope, ndtr(exact) + exact * norm.pdf(exact), atol=3e-7, rtol=0)


@pytest.mark.parametrize("inputs, outputs", [(6, 9), (9, 6)])
def test_the_gradient_of_a_product_is_a_sum_over_all_positions(inputs, outputs):
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=shape) for shape in ((2, 7, inputs), (inputs, outputs), (2, 7, outputs)))
    of_x, of_w = jax.vjp(product, *(jnp.asarray(y, jnp.float32) for y in (x, w)))[1](jnp.asarray(g, jnp.float32))
    np.testing.assert_allclose(of_x, g @ w.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_w, np.einsum("btm,btn->mn", x, g), rtol=1e-5, atol=1e-5)
