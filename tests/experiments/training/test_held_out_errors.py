"""Errors against SciPy's rotations and NumPy's medians; planted ones are found."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from experiments.training.batch import TrainingBatch
from experiments.training.held_out_errors import ABS_REL, DIRECTION, MEAN_DEPTH, ROTATION, errors, with_errors
from experiments.training.loss_function import LossFunction
from vggt_jax import Predictions
from vggt_jax.pose_encoding import encode_pose

RNG = np.random.default_rng(3)
VIEWS, SIZE = 3, (4, 6)
INTRINSICS = np.broadcast_to(np.array([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]], np.float32), (1, VIEWS, 3, 3))


def cameras(rotations, translations):
    poses = np.concatenate([rotations.as_matrix(), translations[..., None]], axis=-1)
    return np.concatenate([np.eye(3, 4)[None], poses])[None].astype(np.float32)


def batch(depths, valid, extrinsics):
    return TrainingBatch(
        images=jnp.zeros((1, VIEWS, *SIZE, 3)),
        depths=jnp.asarray(depths, jnp.float32),
        point_masks=jnp.asarray(valid),
        extrinsics=jnp.asarray(extrinsics),
        intrinsics=jnp.asarray(INTRINSICS),
        world_points=jnp.zeros((1, VIEWS, *SIZE, 3)),
    )


def test_errors_are_those_that_were_put_in():
    true = Rotation.from_rotvec(0.4 * RNG.normal(size=(VIEWS - 1, 3)))
    wrong = Rotation.from_rotvec(np.radians([[10.0, 0, 0], [0, 0, 30.0]])) * true
    translations = np.array([[1.0, 0, 0], [0, 2.0, 0]])
    moved = np.array([[0.0, 3.0, 0], [0, 1.0, 0]])  # 90 degrees away, and along the same line
    depths = RNG.uniform(1, 3, size=(1, VIEWS, *SIZE))
    valid = RNG.uniform(size=depths.shape) < 0.7
    found_depth = 2.5 * depths * RNG.uniform(0.8, 1.2, size=depths.shape)
    found_depth[~valid] = 50
    encoded = encode_pose(jnp.asarray(cameras(wrong, moved)), jnp.asarray(INTRINSICS), SIZE)
    predicted = Predictions(pose_enc=encoded, depth=jnp.asarray(found_depth[..., None], jnp.float32))
    found = jax.jit(errors)(predicted, batch(depths, valid, cameras(true, translations)))
    np.testing.assert_allclose(found[ROTATION], 20, atol=0.05)
    np.testing.assert_allclose(found[DIRECTION], 45, atol=0.05)
    scaled = np.median((depths / found_depth)[valid]) * found_depth
    np.testing.assert_allclose(found[ABS_REL], np.mean((np.abs(scaled - depths) / depths)[valid]), rtol=1e-4)
    np.testing.assert_allclose(found[MEAN_DEPTH], found_depth.mean(), rtol=1e-5)


def test_what_is_minimised_stays_and_heads_that_are_not_there_have_no_errors():
    loss = LossFunction(
        lambda *_: None, lambda predicted, batch, params: (jnp.asarray(2.0), {"term": jnp.asarray(1.0)})
    )
    extrinsics = cameras(Rotation.identity(VIEWS - 1), np.ones((VIEWS - 1, 3)))
    given = batch(np.ones((1, VIEWS, *SIZE)), np.ones((1, VIEWS, *SIZE), bool), extrinsics)
    depth = Predictions(depth=3 * given.depths[..., None])
    value, terms = with_errors(loss).judge(depth, given, None)
    assert value == 2 and terms.keys() == {"term", ABS_REL, MEAN_DEPTH} and float(terms[ABS_REL]) < 1e-6


def test_nothing_is_perfect_where_nothing_was_measured():
    extrinsics = cameras(Rotation.identity(VIEWS - 1), np.ones((VIEWS - 1, 3)))
    known, unknown = (
        batch(np.ones((1, VIEWS, *SIZE)), np.full((1, VIEWS, *SIZE), each), extrinsics) for each in (True, False)
    )
    predicted = Predictions(depth=known.depths[..., None])
    assert float(errors(predicted, known)[ABS_REL]) < 1e-6 and np.isnan(errors(predicted, unknown)[ABS_REL])
    broken = Predictions(depth=jnp.full_like(known.depths, jnp.nan)[..., None])
    assert np.isnan(errors(broken, known)[ABS_REL])
