import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from experiments.evaluation.moving_neighbours import MovingNeighbours

THRESHOLD = 0.1


class CountingTree(KDTree):
    """Counts the points that are searched for."""

    searched = 0

    def query(self, x, *arguments, **settings):
        self.searched += len(x)
        return super().query(x, *arguments, **settings)


def check(target, points, find):
    expected = cdist(points, target)
    distance, index = find(points)
    nearest = expected.min(axis=1)
    np.testing.assert_allclose(distance, np.where(nearest < THRESHOLD, nearest, np.inf), atol=1e-12)
    near = np.isfinite(distance)
    np.testing.assert_allclose(expected[np.flatnonzero(near), index[near]], nearest[near], atol=1e-12)
    return near.mean()


@pytest.mark.parametrize("step", [1e-4, 1e-2, 0.3])
def test_neighbours_are_those_of_brute_force_wherever_the_points_move(step):
    rng = np.random.default_rng(0)
    target = rng.uniform(size=(700, 3)) * [1, 1, 0.1]
    points = rng.uniform(-0.1, 1.1, size=(9000, 3)) * [1, 1, 0.3]  # more than one chunk
    find = MovingNeighbours(KDTree(target), THRESHOLD, len(points))
    for _ in range(4):
        assert 0.05 < check(target, points, find) < 0.95
        points = Rotation.from_rotvec(step * rng.normal(size=3)).apply(points) + step * rng.normal(size=3)


def test_small_steps_need_few_searches():
    rng = np.random.default_rng(1)
    tree, points = CountingTree(rng.uniform(size=(2000, 3))), rng.uniform(0, 2, size=(500, 3))
    find = MovingNeighbours(tree, THRESHOLD, len(points))
    find(points)
    assert tree.searched == 500
    for step in range(5):
        check(tree.data, points + 1e-4 * step, find)
    assert tree.searched < 520


def test_few_points_to_find():
    target = np.array([[0.0, 0, 0], [0.15, 0, 0]])
    find = MovingNeighbours(KDTree(target), THRESHOLD, 3)
    points = np.array([[0.01, 0, 0], [0.07, 0, 0], [0.3, 0, 0]])
    for shift in (0.0, 0.01, 0.02, 0.06, -0.06, 0.0):
        check(target, points + np.array([shift, 0, 0]), find)
