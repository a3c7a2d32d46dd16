import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.reconstruction.matched_pose import solve_pose, solve_views

SIZE, PATCH = 96, 8
K = np.array([[80.0, 0, 47.5], [0, 82.0, 47.5], [0, 0, 1]])
STILL = np.eye(3, 4)[None]


def wall(pose):
    """Depths (2, h, w) of a plane z = 2 + 0.3 x - 0.2 y of the first camera, seen by both."""
    normal, offset = np.array([-0.3, 0.2, 1.0]), 2.0
    rotation, translation = pose[:, :3], pose[:, 3]
    normals = [normal, rotation @ normal]
    offsets = [offset, offset + normals[1] @ translation]
    y, x = np.mgrid[:SIZE, :SIZE]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    return np.stack([o / (rays @ n) for n, o in zip(normals, offsets, strict=True)])


def tokens(depths):
    side = SIZE // PATCH
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    pixels = PATCH * np.stack([columns, rows], -1).reshape(-1, 2) + PATCH // 2
    return pixels, np.stack([depth[pixels[:, 1], pixels[:, 0]] for depth in depths])


def seen(points, pose):
    there = (points @ pose[:, :3].T + pose[:, 3]) @ K.T
    return there[:, :2] / there[:, 2:]


def exact(pose):
    """Tokens, their depths and their true pixels in the other view."""
    pixels, depths = tokens(wall(pose))
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(K).T
    back = np.concatenate([pose[:, :3].T, -pose[:, :3].T @ pose[:, 3:]], 1)
    matched = np.stack([seen(d[:, None] * rays, p) for d, p in zip(depths, (pose, back), strict=True)])
    return pixels, depths, matched


def a_pose(degrees=(4.0, -22.0, 3.0), translation=(0.5, -0.1, 0.2)):
    rotation = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    return np.concatenate([rotation, np.reshape(translation, (3, 1))], 1)


def turn_between(a, b):
    return np.degrees((Rotation.from_matrix(a[:, :3]) * Rotation.from_matrix(b[:, :3]).inv()).magnitude())


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (4.0, -22.0, 3.0), (-10.0, 35.0, 8.0)])
def test_exact_matches_give_the_exact_pose(degrees):
    pose = a_pose(degrees)
    pixels, depths, matched = exact(pose)
    found, agreeing = solve_pose(depths, pixels, matched, np.ones(depths.shape), np.stack([K, K]), STILL, PATCH / 2)
    np.testing.assert_allclose(found, pose, atol=1e-6)
    assert agreeing == 1


def test_a_third_of_wrong_matches_and_noise_hardly_matter():
    rng = np.random.default_rng(0)
    pose = a_pose()
    pixels, depths, matched = exact(pose)
    matched = matched + rng.normal(scale=1.0, size=matched.shape)
    wrong = rng.uniform(size=depths.shape) < 0.33
    matched[wrong] = rng.uniform(0, SIZE, size=(wrong.sum(), 2))
    found, agreeing = solve_pose(depths, pixels, matched, np.ones(depths.shape), np.stack([K, K]), STILL, PATCH / 2)
    assert turn_between(found, pose) < 1.0
    assert 0.6 < agreeing < 0.72
    np.testing.assert_allclose(found[:, 3], pose[:, 3], atol=0.05)


def test_matches_without_weight_do_not_count():
    pose = a_pose()
    pixels, depths, matched = exact(pose)
    weights = np.ones(depths.shape)
    weights[:, ::2] = 0
    matched[:, ::2] += 30
    found, agreeing = solve_pose(depths, pixels, matched, weights, np.stack([K, K]), STILL, PATCH / 2)
    np.testing.assert_allclose(found, pose, atol=1e-6)
    assert agreeing == 1


def test_the_start_with_the_lowest_cost_wins():
    pose = a_pose((0.0, 160.0, 0.0), (0.0, 0.0, 4.0))
    pixels, depths, matched = exact(pose)
    near = a_pose((0.0, 150.0, 0.0), (0.1, 0.0, 3.8))
    starts = np.stack([STILL[0], near])
    found, _ = solve_pose(depths, pixels, matched, np.ones(depths.shape), np.stack([K, K]), starts, PATCH / 2)
    np.testing.assert_allclose(found, pose, atol=1e-5)


def test_nothing_to_go_by_is_refused():
    pixels, depths, matched = exact(a_pose())
    with pytest.raises(ValueError, match="positive weight"):
        solve_pose(depths, pixels, matched, np.zeros(depths.shape), np.stack([K, K]), STILL, 4.0)
    with pytest.raises(ValueError, match="at least one start"):
        solve_pose(depths, pixels, matched, np.ones(depths.shape), np.stack([K, K]), STILL[:0], 4.0)


def test_every_view_is_solved_against_the_first():
    """The first camera is not the world, and the last view has no matches."""
    world_to_first = a_pose((5.0, 60.0, -7.0), (1.0, 2.0, 3.0))
    poses = [a_pose(), a_pose((-3.0, 12.0, 0.0), (-0.2, 0.1, 0.1)), a_pose((1.0, 2.0, 3.0), (0.3, 0.2, 0.1))]
    seen_by = [wall(pose) for pose in poses]
    depths = np.stack([seen_by[0][0], *(both[1] for both in seen_by)])
    matched = np.stack(
        [(exact(pose)[2] - PATCH // 2) / PATCH for pose in poses], axis=1
    )  # (direction, view, tokens, 2)
    weights = np.ones(matched.shape[:3])
    weights[:, 2] = 0
    predicted = np.stack([world_to_first] * 4)
    found = solve_views(depths, matched.reshape(6, -1, 2), weights.reshape(6, -1), np.stack([K] * 4), predicted, PATCH)
    for view, pose in enumerate(poses[:2], start=1):
        expected = np.concatenate(
            [pose[:, :3] @ world_to_first[:, :3], pose[:, :3] @ world_to_first[:, 3:] + pose[:, 3:]], axis=1
        )
        np.testing.assert_allclose(found[view], expected, atol=1e-6)
    np.testing.assert_allclose(found[[0, 3]], predicted[[0, 3]], atol=1e-12)


def test_matches_that_contradict_each_other_leave_the_camera():
    rng = np.random.default_rng(0)
    depths = wall(a_pose())
    matched = rng.uniform(0, SIZE // PATCH, size=(2, (SIZE // PATCH) ** 2, 2))
    predicted = np.stack([np.eye(3, 4), a_pose((0.0, 20.0, 0.0))])
    found = solve_views(depths, matched, np.ones(matched.shape[:2]), np.stack([K, K]), predicted, PATCH)
    np.testing.assert_allclose(found, predicted, atol=1e-12)
