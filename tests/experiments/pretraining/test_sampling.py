import numpy as np
import pytest

from experiments.data.geometry import project, unproject
from experiments.pretraining.sampling import (
    Augmentation,
    StageSampler,
    choose_views,
    mirrored,
    recoloured,
    stacked,
)
from experiments.pretraining.scenes import relative_angles, split
from tests.experiments.pretraining import small


@pytest.fixture(scope="module")
def scene():
    return small.box_scene(0)


def test_views_are_turned_from_the_first_by_no_more_than_asked(scene):
    turns = scene.turns
    for seed in range(50):
        reference, *others = choose_views(turns, 3, 45.0, np.random.default_rng(seed))
        assert len({reference, *others}) == 3
        near = np.sort(turns[reference])[1:3]
        assert turns[reference, others].max() <= max(45.0, near.max())


def test_the_nearest_views_are_taken_where_none_is_near_enough(scene):
    for seed in range(20):
        reference, other = choose_views(scene.turns, 2, 0.1, np.random.default_rng(seed))
        assert scene.turns[reference, other] == np.sort(scene.turns[reference])[1]


def test_all_eligible_pairs_are_drawn(scene):
    rng = np.random.default_rng(0)
    drawn = {tuple(choose_views(scene.turns, 2, 360.0, rng).tolist()) for _ in range(500)}
    assert len(drawn) == scene.num_views * (scene.num_views - 1)


def test_angles_are_those_between_rotations():
    angles = np.radians([0, 10, -30, 100])
    about_z = [[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles]
    found = relative_angles(np.array(about_z))
    np.testing.assert_allclose(found, np.abs(np.degrees(angles[:, None] - angles)), atol=1e-5)


def test_a_mirrored_scene_is_a_scene(scene):
    other = mirrored(scene)
    np.testing.assert_allclose(np.linalg.det(other.extrinsics[..., :3]), 1, rtol=1e-5)
    points = unproject(scene.depths, scene.extrinsics, scene.intrinsics)
    seen = unproject(other.depths, other.extrinsics, other.intrinsics)
    np.testing.assert_allclose(
        seen[scene.valid[:, :, ::-1]], (points * [-1, 1, 1])[:, :, ::-1][scene.valid[:, :, ::-1]], atol=1e-4
    )
    point = np.array([[0.2, 0.1, -0.3]])
    pixel, depth = project(point, scene.extrinsics[1], scene.intrinsics[1])
    mirror_pixel, mirror_depth = project(point * [-1, 1, 1], other.extrinsics[1], other.intrinsics[1])
    np.testing.assert_allclose(mirror_pixel, [[small.SIZE - 1, 0]] + pixel * [-1, 1], atol=1e-4)
    np.testing.assert_allclose(mirror_depth, depth, rtol=1e-6)


def test_colours_go_through_each_views_own_table(scene):
    tables = Augmentation().tables(2, np.random.default_rng(3))
    found = recoloured(scene.images[:2], tables)
    for view, row, column, channel in [(0, 3, 4, 0), (1, 3, 4, 2), (1, 15, 0, 1)]:
        assert found[view, row, column, channel] == tables[view, channel, scene.images[view, row, column, channel]]
    assert tables.min() >= 0 and tables.max() <= 1
    assert (np.diff(tables, axis=-1) >= 0).all() and not np.allclose(tables[0], tables[1])
    still = Augmentation(gain=0, gamma=0, colour=0).tables(1, np.random.default_rng(0))
    np.testing.assert_allclose(still[0, 0], np.arange(256) / 255, atol=1e-6)


def test_a_batch_depends_on_seed_and_step_alone(scene):
    def sampler(seed):
        return StageSampler([scene, small.box_scene(1)], 4, (2,), (20, 60), 10, seed, Augmentation())

    first, again = sampler(0)(7), sampler(0)(7)
    assert first.images.shape == (1, 2, 2, small.SIZE, small.SIZE, 3) and first.images.dtype == np.float32
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.extrinsics, again.extrinsics)
    assert not np.array_equal(first.images, sampler(1)(7).images)
    assert not np.array_equal(first.images, sampler(0)(8).images)


def test_rotations_widen_linearly_and_then_stay(scene):
    sampler = StageSampler([scene], 4, (2, 4), (20.0, 60.0), 100, 0)
    assert [sampler.largest_turn(step) for step in (0, 50, 100, 1000)] == [20, 40, 60, 60]
    assert {sampler(step).images.shape[2] for step in range(8)} == {2, 4}


def test_points_of_a_batch_lie_on_the_box(scene):
    batch = stacked([scene])
    assert batch.world_points is not None
    floor_or_box = np.abs(batch.world_points[0][scene.valid]) - [9, 0.5, 9]
    assert floor_or_box[:, 1].max() < 1e-3


@pytest.mark.parametrize(
    ("images", "views", "problem"), [(4, (3,), "must be at least 2 and divide 4"), (14, (7,), "has 6 views, 7")]
)
def test_impossible_batches_are_refused(scene, images, views, problem):
    with pytest.raises(ValueError, match=problem):
        StageSampler([scene], images, views, (10, 20), 1, 0)


def test_the_last_scenes_are_held_out(scene):
    assert split([1, 2, 3], 1) == ([1, 2], [3])
    for count in (0, 3):
        with pytest.raises(ValueError, match="cannot hold out"):
            split([1, 2, 3], count)
