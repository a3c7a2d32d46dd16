import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.pretraining.correspondence import (
    Matches,
    affine_motion,
    matching_loss,
    share_found,
    share_in_place,
    towards_first,
    true_matches,
)
from experiments.training.batch import TrainingBatch
from vggt_jax.matching import directed_pairs, token_grid

# compiled once for each shape; without, every operation is a program of its own
matches_of = jax.jit(true_matches, static_argnums=1)
loss_of = jax.jit(matching_loss, static_argnums=2)

SIZE, PATCH, FOCAL, CENTRE = 32, 4, 40.0, 15.5
GRID = SIZE // PATCH
INTRINSICS = np.array([[FOCAL, 0, CENTRE], [0, FOCAL, CENTRE], [0, 0, 1]], np.float32)


def batch(depths, extrinsics, valid=True):
    """One sequence of two views."""
    depths = np.asarray(depths, np.float32)[None]
    return TrainingBatch(
        images=jnp.zeros((*depths.shape, 3)),
        depths=jnp.asarray(depths),
        point_masks=jnp.broadcast_to(jnp.asarray(valid), depths.shape),
        extrinsics=jnp.asarray(extrinsics, jnp.float32)[None],
        intrinsics=jnp.asarray(np.stack([INTRINSICS] * 2))[None],
        world_points=jnp.zeros((*depths.shape, 3)),
    )


def places():
    """Pixel (x, y) of every token."""
    return PATCH * np.asarray(token_grid(GRID, GRID)) + PATCH // 2


def moved(translation):
    return np.stack([np.eye(3, 4), np.concatenate([np.eye(3), np.reshape(translation, (3, 1))], axis=1)])


@pytest.mark.parametrize("distance", [2.0, 5.0])
def test_a_wall_is_shifted_by_focal_length_times_baseline_over_depth(distance):
    shift = FOCAL * 0.3 / distance
    found = matches_of(batch(np.full((2, SIZE, SIZE), distance), moved([0.3, 0, 0])), PATCH)
    expected = np.asarray(token_grid(GRID, GRID)) + np.array([shift / PATCH, 0])
    visible = np.asarray(found.surface[0, 0])
    np.testing.assert_array_equal(visible, places()[:, 0] + shift < SIZE - 0.5)
    np.testing.assert_allclose(np.asarray(found.position)[0, 0][visible], expected[visible], atol=1e-4)
    back = np.asarray(token_grid(GRID, GRID)) - [shift / PATCH, 0]
    visible = np.asarray(found.surface[0, 1])
    np.testing.assert_array_equal(visible, places()[:, 0] - shift > -0.5)
    np.testing.assert_allclose(np.asarray(found.position)[0, 1][visible], back[visible], atol=1e-4)
    assert not found.sky.any()


def test_what_something_nearer_hides_is_not_visible():
    depths = np.full((2, SIZE, SIZE), 4.0)
    depths[1, :, : SIZE // 2] = 1.0
    found = matches_of(batch(depths, moved([0, 0, 0])), PATCH)
    visible = np.asarray(found.surface)[0].reshape(2, GRID, GRID)
    assert not visible[:, :, : GRID // 2].any() and visible[:, :, GRID // 2 :].all()


def test_the_sky_moves_by_the_rotation_alone():
    rotation = Rotation.from_rotvec([0.05, -0.1, 0.2]).as_matrix()
    extrinsics = moved([0.5, -0.2, 0.3])
    extrinsics[1, :, :3] = rotation
    found = matches_of(batch(np.full((2, SIZE, SIZE), np.nan), extrinsics, valid=False), PATCH)
    homography = INTRINSICS @ rotation @ np.linalg.inv(INTRINSICS)
    there = np.concatenate([places(), np.ones((GRID * GRID, 1))], axis=1) @ homography.T
    there = there[:, :2] / there[:, 2:]
    visible = np.asarray(found.sky[0, 0])
    np.testing.assert_array_equal(visible, np.all((there > -0.5) & (there < SIZE - 0.5), axis=1))
    assert 20 < visible.sum() < GRID * GRID
    position = (there - PATCH // 2) / PATCH
    np.testing.assert_allclose(np.asarray(found.position)[0, 0][visible], position[visible], atol=0.01)
    assert not found.surface.any()


def test_sky_before_a_surface_matches_nothing():
    valid = np.ones((2, SIZE, SIZE), bool)
    valid[1] = False
    found = matches_of(batch(np.full((2, SIZE, SIZE), 3.0), moved([0, 0, 0]), valid), PATCH)
    assert not found.surface.any() and not found.sky.any()


def test_pairs_go_from_the_first_view_to_the_others_and_back():
    assert directed_pairs(2) == ((0, 1), (1, 0))
    assert directed_pairs(3) == ((0, 0, 1, 2), (1, 2, 0, 0))


def test_features_that_name_the_place_are_matched_and_others_are_not():
    grid = np.asarray(token_grid(GRID, GRID))
    moved_by_two = np.stack([grid + np.array([2, 0]), grid - np.array([2, 0])])[None]
    inside = (moved_by_two >= 0).all(-1) & (moved_by_two < GRID).all(-1)
    truth = Matches(jnp.asarray(moved_by_two), jnp.asarray(inside), jnp.zeros_like(inside))
    names = np.eye(GRID * GRID, dtype=np.float32).reshape(GRID, GRID, -1)
    features = np.stack([names, np.roll(names, 2, axis=1)])[None].reshape(1, 2, GRID * GRID, -1)
    loss, share = loss_of(jnp.asarray(features), truth, (GRID, GRID), jnp.asarray(0.05))
    assert share == 1 and loss < 1e-3
    loss, share = loss_of(jnp.ones_like(features), truth, (GRID, GRID), jnp.asarray(0.05))
    np.testing.assert_allclose(loss, np.log(GRID * GRID), rtol=1e-5)
    assert share < 0.1
    assert share_in_place(truth, (GRID, GRID)) == 0


def test_a_label_between_tokens_is_spread_as_bilinear_interpolation_is():
    position = jnp.full((1, 2, 1, 2), 0.0).at[..., 0].set(0.25)
    truth = Matches(position, jnp.ones((1, 2, 1), bool), jnp.zeros((1, 2, 1), bool))
    features = jnp.asarray([[[[1.0, 0.0]], [[0.6, 0.8]]]])
    # one row of one token: everything that can be chosen is that token
    loss, _ = loss_of(features, truth, (1, 1), jnp.asarray(1.0))
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    grid = jnp.asarray([[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    two = Matches(
        jnp.broadcast_to(position, (1, 2, 2, 2)), jnp.asarray([[[True, False]] * 2]), jnp.zeros((1, 2, 2), bool)
    )
    loss, _ = loss_of(grid, two, (1, 2), jnp.asarray(1.0))
    log_probability = np.log(np.exp([1, 0]) / np.exp([1, 0]).sum())
    np.testing.assert_allclose(loss, -(0.75 * log_probability[0] + 0.25 * log_probability[1]), rtol=1e-5)


def test_near_is_half_a_token():
    truth = Matches(jnp.zeros((1, 1, 4, 2)), jnp.asarray([[[True, True, True, False]]]), jnp.zeros((1, 1, 4), bool))
    guess = jnp.asarray([[[[0.3, 0.39], [0.31, 0.4], [0.0, 0.51], [0.0, 0.0]]]])
    np.testing.assert_allclose(share_found(guess, truth), 1 / 3, rtol=1e-6)


def test_the_motion_towards_the_first_view_is_the_affine_fit_of_its_matches():
    rng = np.random.default_rng(4)
    grid, views = (3, 5), 3
    where = np.asarray(token_grid(*grid))
    position = where + rng.normal(size=(1, 2 * (views - 1), 15, 2))
    surface = rng.uniform(size=position.shape[:-1]) < 0.8
    surface[0, -1, 5:] = False  # too few of the last pair
    truth = Matches(jnp.asarray(position, jnp.float32), jnp.asarray(surface), jnp.asarray(~surface))
    back = towards_first(truth)
    np.testing.assert_array_equal(
        back.position, truth.position[:, views - 1 :]
    )  # directed_pairs: others to first come last
    found, counts = affine_motion(back, grid)
    assert counts.tolist() == [[True, False]] and np.isfinite(found).all()
    half = np.array([2.5, 1.5])
    terms = np.column_stack([np.ones(15), (where - [2, 1]) / half])
    seen = surface[0, views - 1]
    wanted = np.linalg.lstsq(terms[seen], ((position[0, views - 1] - where) / half)[seen], rcond=None)[0]
    np.testing.assert_allclose(found[0, 0].reshape(2, 3).T, wanted, atol=0.02)
