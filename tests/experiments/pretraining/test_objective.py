from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.pretraining.initial import initial_model
from experiments.pretraining.objective import (
    FEATURES,
    PretrainingObjective,
    initial_helpers,
    matcher,
    pretraining_loss,
)
from experiments.pretraining.sampling import choose_views, chosen, stacked
from experiments.training.losses import Objective
from tests.experiments.pretraining import small
from vggt_jax.matching import Matcher

MATCHING = PretrainingObjective(Objective(camera=None, depth=None), motion=0.5)


@pytest.fixture(scope="module")
def problem():
    """(graph definition, parts, helpers, batch) of the tiny model."""
    config = small.recipe().config
    graphdef, state = nnx.split(initial_model(config, 0))
    rng = np.random.default_rng(0)
    scenes = [small.box_scene(i) for i in range(2)]
    batch = stacked([chosen(scene, choose_views(scene.turns, 2, 40, rng)) for scene in scenes])
    return graphdef, dict(state), initial_helpers(config, 0, motion=True), jax.tree.map(jnp.asarray, batch)


@pytest.mark.slow
def test_helpers_teach_the_trunk_and_frozen_parts_get_no_gradient(problem):
    graphdef, parts, helpers, batch = problem
    loss = pretraining_loss(graphdef, MATCHING, patch=4)
    trained = {"model": {"aggregator": parts["aggregator"]}, "helpers": helpers}
    frozen = {name: part for name, part in parts.items() if name != "aggregator"}
    (value, terms), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained, frozen, batch)
    total = terms["loss_match"] + terms["loss_match_encoder"] + terms["loss_token_points"] + 0.5 * terms["loss_motion"]
    np.testing.assert_allclose(value, total, rtol=1e-5)
    assert 0 < terms["matched_in_place"] < 1
    assert set(gradients["model"]) == {"aggregator"}
    assert all(np.abs(gradient).max() > 0 for gradient in gradients["helpers"].values())
    aggregator = gradients["model"]["aggregator"]
    for block in (aggregator["frame_blocks"], aggregator["global_blocks"], aggregator["patch_embed"]["blocks"]):
        # every layer learns: those before the matched one by the matches, the later ones by the points
        assert (np.abs(block["mlp"]["fc1"]["kernel"][...]).max(axis=(1, 2)) > 0).all()


def test_the_unit_and_the_world_of_the_data_do_not_matter(problem):
    graphdef, parts, helpers, batch = problem
    loss = jax.jit(pretraining_loss(graphdef, MATCHING, patch=4))
    params = {"model": parts, "helpers": helpers}
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    extrinsics = np.array(batch.extrinsics)
    extrinsics[..., :3] = extrinsics[..., :3] @ turn.T
    extrinsics[..., 3] *= 10
    other = replace(
        batch,
        depths=10 * batch.depths,
        extrinsics=jnp.asarray(extrinsics),
        world_points=10 * batch.world_points @ turn.T,
    )
    first, terms = loss(params, {}, batch)
    second, other_terms = loss(params, {}, other)
    np.testing.assert_allclose(second, first, rtol=1e-3)
    assert other_terms["matched_in_place"] == terms["matched_in_place"]


def test_helpers_begin_with_the_matcher_of_the_model_that_training_goes_on_from(problem):
    config = small.recipe().config
    known = Matcher(jnp.ones((2 * config.width, FEATURES)), jnp.asarray(-3.0), 1)
    fresh, kept = initial_helpers(config, 0), initial_helpers(config, 0, known=known)
    assert fresh.keys() == kept.keys() and "motion" not in fresh
    np.testing.assert_array_equal(matcher(kept).kernel, known.kernel)
    assert float(matcher(kept).log_temperature) == -3
    np.testing.assert_array_equal(kept["encoder_features"], fresh["encoder_features"])
