"""The CPU's loops against one plain product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from vggt_jax.attention import attention, exact


def plain(q, k, v):
    weights = jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k, precision="highest") / np.sqrt(q.shape[-1]), axis=-1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, v, precision="highest")


@pytest.fixture(
    params=[
        (2, 3, 10, 10, 10_000),  # all at once
        (2, 3, 10, 10, 250),  # two heads at a time
        (5, 1, 10, 10, 250),  # groups that do not divide the rows
        (1, 2, 11, 7, 40),  # chunks of queries, the last one padded
        (1, 1, 3, 50, 20),  # not even one query fits
    ],
    ids=str,
)
def arrays(request, monkeypatch):
    b, heads, tq, tk, scores = request.param
    monkeypatch.setattr(exact, "CPU_SCORES", scores)
    shapes = ((b, heads, tq, 8), (b, heads, tk, 8), (b, heads, tk, 8), (b, heads, tq, 8))
    return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


def test_equals_plain_attention(arrays):
    q, k, v, _ = arrays
    np.testing.assert_allclose(attention(q, k, v), plain(q, k, v), atol=1e-6)


def test_gradients_equal_those_of_plain_attention(arrays):
    q, k, v, w = arrays
    found, expected = (
        jax.grad(lambda q, k, v, f=f: jnp.sum(w * f(q, k, v)), argnums=(0, 1, 2))(q, k, v) for f in (attention, plain)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_the_statistics_are_logarithms_of_sums(arrays):
    q, k, v, _ = arrays
    _, found = exact.forward(q, k, v, statistics=True, scores=exact.CPU_SCORES)
    scores = np.einsum("bhqd,bhkd->bhqk", np.float64(q), np.float64(k)) / np.sqrt(q.shape[-1])
    np.testing.assert_allclose(found, logsumexp(scores, axis=-1, keepdims=True), atol=1e-6)


def test_large_scores_do_not_overflow(arrays):
    q, k, v, w = arrays
    large = 300 * q
    np.testing.assert_allclose(attention(large, k, v), plain(large, k, v), atol=1e-5)
    found, expected = (jax.grad(lambda q, f=f: jnp.sum(w * f(q, k, v)))(large) for f in (attention, plain))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_maps_over_adapters(arrays):
    q, k, v, _ = arrays
    several = jnp.stack([q, 2 * q, -q])
    found = jax.vmap(attention, in_axes=(0, None, None))(several, k, v)
    np.testing.assert_allclose(found, jnp.stack([plain(x, k, v) for x in several]), atol=1e-6)


def test_keeps_half_precision_and_sums_in_float32():
    q, k = (jax.random.normal(jax.random.key(i), (1, 2, 9, 8), jnp.bfloat16) for i in range(2))
    v = jnp.ones((1, 2, 9, 8), jnp.bfloat16)
    found = attention(q, k, v)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), 1, atol=1e-2)


def test_gradients_in_half_precision_are_near_those_in_float32(arrays):
    half = [x.astype(jnp.bfloat16) for x in arrays]
    single = [x.astype(jnp.float32) for x in half]
    found, expected = (
        jax.grad(lambda q, k, v, w, f=f: jnp.sum(w * f(q, k, v)), argnums=(0, 1, 2))(*some)
        for f, some in ((attention, half), (plain, single))
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(jnp.float32), other, atol=0.02 * float(jnp.abs(other).max()))
