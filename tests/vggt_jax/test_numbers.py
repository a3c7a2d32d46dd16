"""What rounding to bfloat16 does to outputs and gradients: the errors that ``docs/accelerators.md`` states."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.pallas import tpu as pltpu

from subspace import LowRank
from vggt_jax.attention import exact, pallas
from vggt_jax.deltas import dotted
from vggt_jax.parameters import adaptable_matrices, for_products


def error(found, expected):
    """Norm of the difference as a fraction of the expected norm, all arrays together."""
    both = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in both]
    return np.sqrt(sum(np.sum((x - y) ** 2) for x, y in pairs) / sum(np.sum(y**2) for _, y in pairs))


def forward_and_backward(kernel, q, k, v, g):
    out, statistics = kernel.forward(q, k, v, statistics=True)
    return out, kernel.backward(q, k, v, out, statistics, g)


@pytest.mark.slow
def test_attention_in_bfloat16():
    arrays = [jax.random.normal(jax.random.key(i), (1, 1, 131, 16)) for i in range(4)]
    rounded = [x.astype(jnp.bfloat16) for x in arrays]
    out, gradients = forward_and_backward(exact, *(x.astype(jnp.float32) for x in rounded))
    with pltpu.force_tpu_interpret_mode():
        of_pallas = jax.jit(lambda *x: forward_and_backward(pallas, *x))(*rounded)
    for found in (of_pallas, forward_and_backward(exact, *rounded)):
        assert found[0].dtype == jnp.bfloat16
        assert error(found[0], out) < 4e-3
        assert error(found[1], gradients) < 4e-3


@pytest.fixture(scope="module")
def step(tiny, random_model_of, tiny_images):
    """Outputs of the tiny model with an adapter, and the gradient with respect to that, with any types."""
    matrices = adaptable_matrices(tiny)
    draw = iter(jax.random.split(jax.random.key(0), 2 * len(matrices)))
    factors = {
        path: tuple(0.2 * jax.random.normal(next(draw), (*m.stack, size, 2)) for size in (m.n, m.m))
        for path, m in matrices.items()
    }

    def run(**types):
        graphdef, params = nnx.split(random_model_of(replace(tiny, **types), 0))

        def loss(factors):
            deltas = {path: LowRank(*pair) for path, pair in factors.items()}
            found = nnx.merge(graphdef, params)(tiny_images, deltas=deltas)
            return jnp.mean(jnp.log(found.depth)) + jnp.mean(found.pose_enc), (found.depth, found.pose_enc)

        (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(factors)
        return outputs, gradients

    return run


@pytest.mark.slow
def test_a_step_in_bfloat16(step):
    outputs, gradients = step()
    for types, of_outputs, of_gradients in (
        ({"dtype": "bfloat16"}, 4e-3, 3e-2),
        ({"dtype": "bfloat16", "head_dtype": "bfloat16"}, 2e-2, 8e-2),
    ):
        found = step(**types)
        assert error(found[0], outputs) < of_outputs
        assert error(found[1], gradients) < of_gradients


@pytest.mark.slow
@pytest.mark.parametrize("head_dtype", ["float32", "bfloat16"])
def test_kernels_that_are_stored_as_they_are_multiplied_change_no_number(
    tiny, random_model_of, tiny_images, head_dtype
):
    config = replace(tiny, dtype="bfloat16", head_dtype=head_dtype)
    graphdef, params = nnx.split(random_model_of(config, 0))
    stored = for_products(params, config)
    kernels = {dotted(path): leaf.dtype for path, leaf in jax.tree.leaves_with_path(stored) if "kernel" in dotted(path)}
    assert {dtype for path, dtype in kernels.items() if path.startswith("aggregator.")} == {jnp.dtype("bfloat16")}
    assert {dtype for path, dtype in kernels.items() if "head" in path} == {jnp.dtype(head_dtype)}

    predict = jax.jit(lambda params: nnx.merge(graphdef, params)(tiny_images))
    jax.tree.map(np.testing.assert_array_equal, predict(stored), predict(params))
