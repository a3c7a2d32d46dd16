from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from experiments.evaluation.icp import register
from experiments.evaluation.similarity import Similarity


@pytest.fixture(scope="module")
def open3d():
    with np.load(Path(__file__).parents[2] / "fixtures" / "evaluation" / "open3d.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("iterations", [1, 5, 30, 200])
def test_every_iteration_is_open3ds(open3d, iterations):
    found = register(open3d["source"], KDTree(open3d["target"]), iterations=iterations)
    expected = open3d[f"icp_{iterations}"]
    np.testing.assert_allclose(found.motion.rotation, expected[:3, :3], atol=1e-12)
    np.testing.assert_allclose(found.motion.translation, expected[:3, 3], atol=1e-12)
    np.testing.assert_allclose([found.fitness, found.rmse], open3d[f"icp_{iterations}_fitness_rmse"], atol=1e-12)
    assert (found.iterations, found.converged) == (min(iterations, 22), iterations >= 22)
    assert found.motion.scale == 1


def test_a_small_motion_is_undone_and_strays_do_not_count():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    target = np.stack([x, y, 0.3 * np.sin(3 * x) * np.cos(2 * y)], axis=-1).reshape(-1, 3)
    motion = Similarity(1.0, Rotation.from_rotvec([0.004, -0.003, 0.005]).as_matrix(), np.array([0.003, -0.004, 0.002]))
    source = np.concatenate([motion(target), rng.uniform(3, 4, (200, 3))])
    found = register(source, KDTree(target))
    np.testing.assert_allclose(found.motion(source[:1600]), target, atol=1e-6)
    assert found.converged and found.fitness == 1600 / 1800 and found.rmse < 1e-6


def test_without_neighbours_nothing_moves():
    source = np.random.default_rng(1).normal(size=(10, 3))
    found = register(source, KDTree(source + 100))
    np.testing.assert_array_equal(found.motion(source), source)
    assert (found.fitness, found.rmse, found.iterations, found.converged) == (0, 0, 0, False)
    # two neighbours do not determine a motion
    found = register(source, KDTree(source[:2]), threshold=1e-9)
    assert found.fitness == 0.2 and found.iterations == 0
