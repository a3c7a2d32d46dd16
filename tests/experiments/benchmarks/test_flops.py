import jax
import jax.numpy as jnp

from experiments.benchmarks import flops
from vggt_jax.attention import attention


def test_counts_products_convolutions_and_loops():
    x = jax.ShapeDtypeStruct((3, 4, 5), jnp.float32)
    y = jax.ShapeDtypeStruct((3, 5, 6), jnp.float32)
    assert flops.count(lambda x, y: x @ y, x, y) == 2 * 3 * 4 * 5 * 6
    assert flops.count(jax.jit(lambda x, y: jnp.exp(x @ y)), x, y) == 2 * 3 * 4 * 5 * 6

    square = jax.ShapeDtypeStruct((7, 7), jnp.float32)
    looped = lambda z: jax.lax.scan(lambda carry, _: (carry @ z, None), z, None, length=5)[0]  # noqa: E731
    assert flops.count(looped, square) == 5 * 2 * 7**3
    assert flops.count(jax.checkpoint(looped), square) == 5 * 2 * 7**3

    image, kernel = jax.ShapeDtypeStruct((1, 10, 8, 3), jnp.float32), jax.ShapeDtypeStruct((3, 3, 3, 16), jnp.float32)
    convolve = lambda x, w: jax.lax.conv_general_dilated(  # noqa: E731
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert flops.count(convolve, image, kernel) == 2 * 10 * 8 * 16 * 27


def test_attention_is_two_products_forward_and_five_backward():
    q, k = (jax.ShapeDtypeStruct((2, 3, tokens, 8), jnp.float32) for tokens in (5, 7))
    product = 2 * (2 * 3 * 5 * 7 * 8)
    assert flops.count(attention, q, k, k) == 2 * product
    assert flops.count(jax.grad(lambda *x: jnp.sum(attention(*x))), q, k, k) == 7 * product
