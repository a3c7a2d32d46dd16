from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data.geometry import unproject
from experiments.training.batch import TrainingBatch
from experiments.training.losses import Objective
from experiments.training.normalization import in_unit_interval, normalize
from vggt_jax import Predictions

normalized = jax.jit(normalize)
"""Compiled once for all tests."""


@pytest.fixture(scope="module")
def case(golden):
    return golden("normalize_case")


def batch_of(case):
    b, s, h, w = case["depths"].shape
    names = ("extrinsics", "world_points", "depths", "point_masks")
    arrays = {name: jnp.asarray(case[name]) for name in names}
    return TrainingBatch(images=jnp.zeros((b, s, h, w, 3)), intrinsics=jnp.tile(jnp.eye(3), (b, s, 1, 1)), **arrays)


def test_official_values(case):
    found = normalized(batch_of(case))
    for name in ("extrinsics", "world_points", "depths"):
        expected = case[f"out_{name}"]
        assert np.abs(getattr(found, name) - expected).max() <= 2e-6 * np.abs(expected).max(), name


def test_first_camera_is_the_identity_and_the_mean_distance_one(case):
    found = normalized(batch_of(case))
    np.testing.assert_allclose(found.extrinsics[:, 0], np.tile(np.eye(3, 4), (2, 1, 1)), atol=1e-6)
    for points, mask in zip(np.asarray(found.world_points), case["point_masks"], strict=True):
        assert np.linalg.norm(points[mask], axis=-1).mean() == pytest.approx(1, rel=1e-5)


def test_unknown_points_do_not_spread(case):
    batch = batch_of(case)
    unknown = jnp.where(batch.point_masks[..., None], batch.world_points, jnp.nan)
    no_depth = jnp.where(batch.point_masks, batch.depths, jnp.inf)
    found = normalized(replace(batch, world_points=unknown, depths=no_depth))
    expected = normalized(batch)
    for name, mask in (("world_points", case["point_masks"][..., None]), ("depths", case["point_masks"])):
        np.testing.assert_array_equal(getattr(found, name), np.where(mask, getattr(expected, name), 0))


def test_pixels_are_the_quotients_of_numpy():
    values = np.arange(256, dtype=np.uint8)
    found = jax.jit(in_unit_interval)(values)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, values.astype(np.float32) / 255)
    np.testing.assert_array_equal(in_unit_interval(found), found)


def turned_cameras(rng, views):
    """World to camera, somewhere far from the world's origin."""
    rotations = np.linalg.qr(rng.normal(size=(2, views, 3, 3)))[0]
    rotations *= np.linalg.det(rotations)[..., None, None]
    centres = rng.normal(size=(2, 1, 3)) * 20 + rng.normal(size=(2, views, 3))
    return np.concatenate([rotations, -rotations @ centres[..., None]], axis=-1)


def in_float64(depths, masks, extrinsics, intrinsics):
    """Points in the frame of the first camera in units of their mean distance, and that distance, by other formulas."""
    rows = np.broadcast_to([0.0, 0, 0, 1], (*extrinsics.shape[:2], 1, 4))
    cameras = np.concatenate([extrinsics.astype(np.float64), rows], axis=-2)
    relative = cameras @ np.linalg.inv(cameras[:, :1])
    points = unproject(depths, relative[..., :3, :], intrinsics)
    distances = np.where(masks, np.linalg.norm(points, axis=-1), 0).sum(axis=(1, 2, 3)) / masks.sum(axis=(1, 2, 3))
    return points / distances[:, None, None, None, None], distances


@pytest.fixture(scope="module")
def seen():
    """Two sequences of four views of nothing in particular, as training sees them; and with points of float64."""
    rng, side = np.random.default_rng(0), 96
    depths = rng.uniform(1, 6, size=(2, 4, side, side)).astype(np.float32)
    masks = rng.uniform(size=depths.shape) < 0.9
    depths[~masks] = 0
    intrinsics = np.broadcast_to([[110.3, 0.4, 47.1], [0, 108.2, 48.4], [0, 0, 1]], (2, 4, 3, 3)).astype(np.float32)
    extrinsics = turned_cameras(rng, 4).astype(np.float32)
    images = rng.integers(0, 256, size=(*depths.shape, 3)).astype(np.uint8)
    batch = TrainingBatch(images, depths, masks, extrinsics, intrinsics)
    return batch, replace(batch, world_points=unproject(depths, extrinsics, intrinsics).astype(np.float32))


def test_points_of_depths_and_cameras_are_those_of_float64(seen):
    """Closer than points that float64 made and float32 rounded in the world's frame, 20 units from its origin."""
    masks, depths = seen[0].point_masks, seen[0].depths
    expected, distances = in_float64(depths, masks, seen[0].extrinsics, seen[0].intrinsics)
    found = [normalized(batch) for batch in seen]
    errors = [np.abs(np.asarray(batch.world_points) - expected)[masks].max() for batch in found]
    assert errors[0] < 2e-6 and errors[0] < 1.2 * errors[1]
    np.testing.assert_allclose(found[0].depths[masks], (depths / distances[:, None, None, None])[masks], rtol=1e-6)


def test_losses_do_not_tell_where_points_were_computed(seen):
    """Every term is within 1e-6 of itself."""
    rng = np.random.default_rng(1)
    shape = seen[0].depths.shape
    predictions = Predictions(
        pose_enc_list=jnp.asarray(rng.normal(size=(2, 2, 4, 9)), jnp.float32),
        depth=jnp.asarray(rng.uniform(0.2, 2, size=(*shape, 1)), jnp.float32),
        depth_conf=jnp.asarray(rng.uniform(1, 3, size=shape), jnp.float32),
    )
    objective = jax.jit(lambda batch: Objective()(predictions, batch))
    (total, terms), (expected, expected_terms) = (objective(normalized(batch)) for batch in seen)
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(expected_terms[name]), rel=1e-6), name
