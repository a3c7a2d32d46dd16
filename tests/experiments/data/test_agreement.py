"""Agreement of views on a wall in front of cameras that look straight at it: every count is known."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.data.agreement import Agreement, Geometry, cross_view_agreement

SIZE, DISTANCE, FOCAL = 12, 2.0, 12.0
STEP = np.array([2.5, 0.5])
"""Columns and rows from one view of the wall to the next; no pixel falls exactly on another."""


def wall(count):
    """Cameras side by side."""
    extrinsics = np.stack([np.eye(3, 4)] * count)
    extrinsics[:, :2, 3] = -np.arange(count)[:, None] * STEP * DISTANCE / FOCAL
    middle = (SIZE - 1) / 2
    intrinsics = np.array([[FOCAL, 0, middle], [0, FOCAL, middle], [0, 0, 1.0]])
    normals = np.broadcast_to(np.array([0.0, 0, -1]), (count, SIZE, SIZE, 3))
    return Geometry(np.full((count, SIZE, SIZE), DISTANCE), normals, extrinsics, np.stack([intrinsics] * count))


def test_a_wall_agrees_with_itself():
    found = cross_view_agreement(wall(2))
    assert found.pixels == 2 * SIZE**2 and found.co_visible == found.agreeing == found.roughly
    assert found.share == found.rough_share == 1
    assert found.co_visible == 2 * (SIZE - 3) * (SIZE - 1)


@pytest.mark.parametrize(("factor", "shares"), [(1.005, (1, 1)), (1.03, (0, 1)), (1.08, (0, 0))])
def test_tolerances_are_relative(factor, shares):
    scene = wall(2)
    depths = scene.depths * np.array([1, factor])[:, None, None]
    found = cross_view_agreement(replace(scene, depths=depths))
    assert found.co_visible > 0 and (found.share, found.rough_share) == shares


def test_what_is_unknown_is_not_seen():
    scene = wall(2)
    known = np.ones_like(scene.depths)
    known[1, :, :6] = 0
    found = cross_view_agreement(replace(scene, depths=scene.depths * known))
    assert found.pixels == SIZE**2 + SIZE * 6 and found.share == 1
    assert found.co_visible == 2 * 3 * (SIZE - 1)
    nothing = cross_view_agreement(replace(scene, depths=np.zeros_like(scene.depths)))
    assert nothing == Agreement(0, 0, 0, 0) and np.isnan(nothing.share)


def test_other_objects_and_other_normals_are_other_surfaces():
    scene = wall(2)
    labels = np.ones(scene.depths.shape, int)
    assert cross_view_agreement(replace(scene, object_ids=labels)) == cross_view_agreement(scene)
    assert cross_view_agreement(replace(scene, object_ids=labels * np.arange(2)[:, None, None])).co_visible == 0
    turned = scene.normals.copy()
    turned[1] = [np.sin(np.radians(30)), 0, -np.cos(np.radians(30))]
    assert cross_view_agreement(replace(scene, normals=turned)).co_visible == 0


def test_of_many_views_some_pairs_are_compared():
    few, many = cross_view_agreement(wall(9)), cross_view_agreement(wall(11))
    assert few.pixels == 9 * 8 * SIZE**2
    pairs = sum(2 * (11 - distance) for distance in (1, 2, 4, 8))
    assert many.pixels == pairs * SIZE**2 and many.share == 1


def test_large_views_are_sampled():
    scene = wall(2)
    larger = 8
    views = Geometry.of_depths(
        np.full((2, larger * SIZE, larger * SIZE), DISTANCE),
        scene.extrinsics,
        scene.intrinsics * np.array([[larger], [larger], [1]]),
    )
    found = cross_view_agreement(views)
    assert found.pixels <= 2 * 4096 and found.share == 1 and found.co_visible > 0.7 * found.pixels
