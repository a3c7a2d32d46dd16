import numpy as np

from experiments.evaluation import cloud as cloud_module
from experiments.evaluation.cloud import Cloud
from tests.experiments.evaluation.test_similarity import drawn


def test_points_are_numbered_anew_and_found_again(monkeypatch):
    monkeypatch.setattr(cloud_module, "_COARSE", 16)
    given = np.random.default_rng(0).normal(size=(5000, 3))
    cloud = Cloud(given)
    np.testing.assert_array_equal(cloud.points(cloud.numbers()), given)
    np.testing.assert_array_equal(cloud.points(), given[cloud.order])
    np.testing.assert_array_equal(cloud.points(cloud.numbers(np.array([7, 3]))), given[[7, 3]])
    # what is near is numbered near: steps between consecutive points are shorter than at random
    steps = [np.linalg.norm(np.diff(points, axis=0), axis=1).mean() for points in (given, cloud.points())]
    assert steps[1] < 0.5 * steps[0]


def test_a_placed_cloud_answers_as_one_built_there():
    rng = np.random.default_rng(1)
    given, similarity, queries = rng.normal(size=(2000, 3)), drawn(5), rng.normal(size=(50, 3))
    placed, built = Cloud(given).place(similarity), Cloud(similarity(given))
    np.testing.assert_allclose(placed.points(placed.numbers()), built.points(built.numbers()), rtol=1e-12)
    found, expected = placed.nearest(similarity(queries)), built.nearest(similarity(queries))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_array_equal(placed.order[found[1]], built.order[expected[1]])
    normals = [cloud.normals(cloud.numbers(np.arange(100))) for cloud in (placed, built)]
    np.testing.assert_allclose(np.abs(np.sum(normals[0] * normals[1], axis=1)), 1, atol=1e-9)
