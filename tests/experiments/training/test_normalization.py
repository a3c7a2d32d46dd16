from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.batch import TrainingBatch
from experiments.training.normalization import normalize

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
