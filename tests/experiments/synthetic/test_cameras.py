"""Camera paths keep to their stated ranges, and views overlap as those of the paper do."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.scenes import schema
from experiments.synthetic import cameras
from experiments.synthetic.rooms import CAMERA_ZONE
from tests.experiments.synthetic import solids
from tests.experiments.synthetic.conftest import SETTINGS, draw

seeds = st.integers(0, 10_000)
some = settings(max_examples=25, deadline=None, derandomize=True)
MICRO = st.sampled_from([cameras.MICRO_EXTREME, cameras.MICRO_MODERATE])
ORBIT = st.sampled_from([cameras.ORBIT_EXTREME, cameras.ORBIT_MODERATE])
WALK = st.sampled_from([cameras.WALK_EXTREME, cameras.WALK_MODERATE])


def make(ranges, seed, views, width=112, height=112) -> schema.Cameras:
    rng = np.random.default_rng(seed)
    return cameras.cameras(rng, cameras.shared(rng, ranges), ranges, views, width, height)


def poses(seen: schema.Cameras) -> np.ndarray:
    return np.array([view.world_to_camera for view in seen.views]).reshape(-1, 3, 4)


@some
@given(MICRO | ORBIT | WALK, seeds, st.integers(1, 30))
def test_poses_are_rigid_and_intrinsics_megasynths(ranges, seed, views):
    seen = make(ranges, seed, views, 96, 64)
    turns = poses(seen)[:, :, :3]
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-9)
    for view in seen.views:
        assert (view.cx, view.cy) == (48, 32) and view.fx == view.fy == seen.views[0].fx
        assert 45 <= np.degrees(2 * np.arctan(48 / view.fx)) <= 70


@some
@given(MICRO, seeds, st.sampled_from([2, 8, 42]))
def test_micro_baselines_keep_their_limits(ranges, seed, views):
    seen = make(ranges, seed, views)
    places, turns = cameras.centers(seen), poses(seen)[:, :, :3]
    assert np.all(places >= CAMERA_ZONE[0] - 1e-9) and np.all(places <= CAMERA_ZONE[1] + 1e-9)
    pairs = list(combinations(range(views), 2))
    shifts = [np.linalg.norm(places[a] - places[b]) for a, b in pairs]
    angles = [np.degrees(np.arccos(np.clip((np.trace(turns[a] @ turns[b].T) - 1) / 2, -1, 1))) for a, b in pairs]
    assert 0.002 < max(shifts) <= ranges.translation[1] <= 0.08
    assert 0.1 < max(angles) <= ranges.rotation[1] <= 6
    assert np.all(turns[:, 2, 1] > 0.3)  # towards the back wall: the open side is never seen


@some
@given(WALK, seeds, st.sampled_from([2, 8, 42]))
def test_walks_stay_in_the_zone_and_look_at_the_stage(ranges, seed, views):
    seen = make(ranges, seed, views)
    places, turns = cameras.centers(seen), poses(seen)[:, :, :3]
    middle, size = CAMERA_ZONE.mean(axis=0), CAMERA_ZONE[1] - CAMERA_ZONE[0]
    assert np.all(np.abs(places - middle) <= ranges.zone[1] * size / 2 + 1e-9)
    assert np.all(turns[:, 2, 1] > 0.3)  # towards the back wall: the open side is never seen
    target = cameras.WALK_TARGET.mean(axis=0)
    reach = ranges.target[1] * np.linalg.norm(cameras.WALK_TARGET[1] - cameras.WALK_TARGET[0]) / 2
    along = np.einsum("vi,vi->v", turns[:, 2], target - places)
    assert np.all(np.linalg.norm(target - places - along[:, None] * turns[:, 2], axis=1) <= reach)
    rolls = np.degrees(np.arcsin(np.abs(turns[:, 0, 2])))
    assert rolls.max() <= ranges.roll + 1e-6


def test_walks_have_baselines_and_turns_to_match_across():
    """Between two of a path's views: a tenth of the distance to the scene or more, and turns of 5° to 45°."""
    shifts, angles = [], []
    for seed in range(10):
        seen = make(cameras.WALK_MODERATE, seed, 8)
        places, turns = cameras.centers(seen), poses(seen)[:, :, :3]
        for a, b in combinations(range(8), 2):
            shifts.append(np.linalg.norm(places[a] - places[b]))
            angles.append(np.degrees(np.arccos(np.clip((np.trace(turns[a] @ turns[b].T) - 1) / 2, -1, 1))))
    assert np.quantile(shifts, 0.1) > 0.3 and np.quantile(angles, 0.1) > 5 and np.quantile(angles, 0.9) > 30
    assert max(angles) < 90


@some
@given(ORBIT, seeds, st.sampled_from([4, 8, 16, 100]))
def test_orbits_cover_the_circle(ranges, seed, views):
    seen = make(ranges, seed, views)
    x, y, z = cameras.centers(seen).T
    azimuth = np.sort(np.degrees(np.arctan2(y, x)))
    gaps = np.diff(np.append(azimuth, azimuth[0] + 360))
    assert gaps.max() <= cameras.AZIMUTH_GAP * 360 / views
    distance = np.sqrt(x * x + y * y + z * z)
    filling = 1 / np.sin(np.arctan(56 / seen.views[0].fx))
    assert np.all(distance >= max(cameras.CLOSEST_ORBIT, ranges.distance[0] * filling) - 1e-9)
    assert np.all(distance <= max(cameras.CLOSEST_ORBIT, ranges.distance[1] * filling) + 1e-9)
    elevation = np.degrees(np.arcsin(z / distance))
    assert np.all(elevation >= ranges.elevation[0] - 1e-6) and np.all(elevation <= ranges.elevation[1] + 1e-6)
    forward = poses(seen)[:, 2, :3]
    towards = -cameras.centers(seen) / distance[:, None]
    assert np.all(np.degrees(np.arccos(np.sum(forward * towards, axis=1))) < 16)


def test_the_middle_of_the_path_looks_where_it_should():
    """OpenCV: x right, y down, z forward; without roll the camera's x axis is level and its y axis points down."""
    turn = cameras.look_at(np.array([0.0, -3.0, 1.0]), np.array([0.0, 0.0, 1.0]), 0.0)
    np.testing.assert_allclose(turn, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)
    rolled = cameras.look_at(np.array([0.0, -3.0, 1.0]), np.array([0.0, 0.0, 1.0]), 90.0)
    np.testing.assert_allclose(rolled[2], turn[2], atol=1e-12)
    assert abs(rolled[0] @ turn[1]) == pytest.approx(1)


def _project(view: schema.View, points: np.ndarray) -> np.ndarray:
    """Where points are in the picture, pixels; NaN behind the camera."""
    pose = np.array(view.world_to_camera).reshape(3, 4)
    x, y, z = (points @ pose[:, :3].T + pose[:, 3]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            z[:, None] > 0.1, np.stack([view.fx * x / z + view.cx, view.fy * y / z + view.cy], axis=1), np.nan
        )


@pytest.mark.parametrize("attribute", ["camera", "texture"])
def test_micro_baseline_views_overlap(attribute):
    """Of the scene's points that are in one view, at least 85 % are in each other one; parallax is a few pixels of 112."""
    for seed in range(3):
        scene = draw(attribute, "micro_baseline", seed, views=8)
        points = np.concatenate([solids.world_points(thing)[::7] for thing in scene.objects])
        pixels = np.stack([_project(view, points) for view in scene.cameras.views])
        seen = np.all((pixels >= 0) & (pixels <= 112), axis=2)
        for a, b in combinations(range(8), 2):
            assert (seen[a] & seen[b]).sum() >= 0.85 * seen[a].sum() > 0
        both = seen.all(axis=0)
        motion = np.linalg.norm(pixels[:, both] - pixels[:1, both], axis=2)
        assert 0.3 < np.median(motion.max(axis=0)) < 18


def test_orbits_look_at_the_cluster():
    for seed in range(3):
        scene = draw("camera", "object_centric", seed, views=8)
        points = np.concatenate([solids.world_points(thing)[::7] for thing in scene.objects])
        for view in scene.cameras.views:
            pixels = _project(view, points)
            assert np.all((pixels >= 0) & (pixels <= 112), axis=1).mean() > 0.6


@pytest.mark.parametrize("setting", SETTINGS)
def test_camera_data_sets_have_ranges_of_their_own(setting):
    def elevations(dataset):
        paths = [cameras.centers(draw("camera", setting, 1, dataset, scene, 8).cameras) for scene in range(3)]
        return np.concatenate([np.linalg.norm(path, axis=1) for path in paths])

    ranges = [(values.min(), values.max()) for values in map(elevations, range(3))]
    assert len(set(ranges)) == 3
    focal = {draw("camera", setting, 1, dataset).cameras.views[0].fx for dataset in range(3)}
    assert len(focal) == 3
