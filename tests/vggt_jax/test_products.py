"""What the backward pass finds, and what it has to make again."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from vggt_jax.parameters import abstract_model


def count(jaxpr, name):
    """Operations called ``name`` in a program and in those inside of it."""
    inside = (
        value for equation in jaxpr.eqns for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=holds)
    )
    return sum(equation.primitive.name == name for equation in jaxpr.eqns) + sum(
        count(getattr(value, "jaxpr", value), name) for value in inside if holds(value)
    )


def holds(value):
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


@pytest.mark.parametrize(
    "choices, again",
    [
        ({"remat": True}, 0),
        ({"remat": True, "keep_attention": False}, 2),
        ({"remat": False}, 0),
    ],
    ids=str,
)
def test_attention_is_run_again_only_where_nothing_of_it_is_kept(tiny, choices, again):
    graphdef, params = nnx.split(abstract_model(replace(tiny, **choices)))
    tokens = jax.ShapeDtypeStruct((1, 2, 16, tiny.width), jnp.float32)
    images = jax.ShapeDtypeStruct((1, 2, 16, 16, 3), jnp.float32)

    def loss(params, images, tokens):
        found = nnx.merge(graphdef, params)(images, patch_tokens=tokens)
        return jnp.sum(found.depth) + jnp.sum(found.pose_enc)

    program = jax.make_jaxpr(jax.grad(loss))(params, images, tokens).jaxpr
    trained = 3  # frame blocks, global blocks, the camera head's, which is never recomputed
    assert count(program, "attention_forward") == trained + again
    assert count(program, "attention_backward") == trained
