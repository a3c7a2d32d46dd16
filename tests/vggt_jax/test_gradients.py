"""Gradients of two losses through the whole model, against the official ones; with and without rematerialisation."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vggt_jax.parameters import abstract_model
from weights_convert.names import to_official

MAIN = ("pose_enc_list", "depth", "depth_conf", "world_points", "world_points_conf")
TRACK = ("track_list", "vis", "conf")


def loss_and_gradients(small, reference, outputs, jit, **choices):
    """The loss of the reference data's config.json, and its gradients under official names."""
    graphdef = nnx.graphdef(abstract_model(replace(small.config, **choices)))
    case, weights = reference("case_a"), reference("grads_case")

    @jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss(params, images, query_points):
        predictions = nnx.merge(graphdef, params)(images, query_points)
        found = {name: getattr(predictions, name) for name in outputs}
        return sum(jnp.mean(weights[f"w_{name}"] * array) for name, array in found.items()), found

    (_, found), gradients = loss(small.params, jnp.asarray(case["images"]), jnp.asarray(case["query_points"]))
    # The terms cancel to a fifth: summed in float32 they would add as much noise as the whole model does.
    value = sum(np.mean(np.float64(weights[f"w_{name}"]) * np.float64(array)) for name, array in found.items())
    return value, to_official(gradients)


def assert_official(found, reference, error_of, loss, tolerance):
    value, gradients = found
    expected = reference("grads_case")
    assert error_of(value, expected[f"loss_{loss}"]) <= 1e-5
    names = [name.removeprefix(f"grad_{loss}/") for name in expected if name.startswith(f"grad_{loss}/")]
    assert names
    errors = {name: error_of(gradients[name], expected[f"grad_{loss}/{name}"]) for name in names}
    assert {name: e for name, e in errors.items() if e > tolerance} == {}


@pytest.mark.slow
def test_poses_depth_and_points(small, reference, error_of, as_users_jit):
    found = loss_and_gradients(small, reference, MAIN, as_users_jit)
    assert_official(found, reference, error_of, "main", 2e-5)


@pytest.mark.slow
def test_rematerialisation_and_chunks_of_frames(small, reference, error_of):
    found = loss_and_gradients(small, reference, MAIN, jax.jit, remat=True, frames_chunk=2)
    assert_official(found, reference, error_of, "main", 2e-5)


@pytest.mark.slow
def test_tracks(small, reference, error_of):
    found = loss_and_gradients(small, reference, TRACK, jax.jit)
    assert_official(found, reference, error_of, "track", 2e-4)
