from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from experiments.evaluation.cloud import Cloud
from experiments.evaluation.point_metrics import align, choose, compare
from experiments.evaluation.similarity import Similarity
from tests.experiments.evaluation.test_similarity import drawn


@pytest.fixture(scope="module")
def open3d():
    with np.load(Path(__file__).parents[2] / "fixtures" / "evaluation" / "open3d.npz") as stored:
        return dict(stored)


def all_of(*clouds):
    return [np.arange(len(cloud)) for cloud in clouds]


def sphere(count, radius=1.0, seed=0):
    directions = np.random.default_rng(seed).normal(size=(count, 3))
    return radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def test_normals_are_open3ds(open3d):
    for name in ("source", "target"):
        cloud = Cloud(open3d[name])
        found = cloud.normals(cloud.numbers())
        np.testing.assert_allclose(np.abs(np.sum(found * open3d[f"{name}_normals"], axis=1)), 1, atol=1e-9)


def test_distances_are_open3ds(open3d):
    clouds = Cloud(open3d["source"]), Cloud(open3d["target"])
    found = compare(*clouds, *all_of(*clouds))
    assert found.accuracy == pytest.approx(open3d["source_to_target"].mean(), rel=1e-12)
    assert found.accuracy_median == pytest.approx(np.median(open3d["source_to_target"]), rel=1e-12)
    assert found.completeness == pytest.approx(open3d["target_to_source"].mean(), rel=1e-12)
    assert found.completeness_median == pytest.approx(np.median(open3d["target_to_source"]), rel=1e-12)
    # normals of Open3D, nearest points by brute force
    distances = cdist(open3d["source"], open3d["target"])
    normals = np.abs(open3d["source_normals"] @ open3d["target_normals"].T)
    each = normals[range(1500), distances.argmin(axis=1)], normals[distances.argmin(axis=0), range(2000)]
    assert found.normal_consistency == pytest.approx((each[0].mean() + each[1].mean()) / 2, abs=1e-9)
    medians = [np.median(values) for values in each]
    assert found.normal_consistency_median == pytest.approx(np.mean(medians), abs=1e-9)


def test_concentric_spheres_are_their_radii_apart():
    inner, outer = Cloud(sphere(4000, 1.0)), Cloud(1.1 * sphere(4000, 1.0))
    found = compare(inner, outer, *all_of(inner, outer))
    for value in (found.accuracy, found.accuracy_median, found.completeness, found.completeness_median):
        assert value == pytest.approx(0.1, abs=1e-9)
    assert found.normal_consistency > 0.9999
    normals = inner.normals(np.arange(0, 4000, 10))
    assert np.abs(np.sum(normals * inner.points()[::10], axis=1)).min() > 0.99


def test_half_of_a_plane_is_accurate_but_not_complete():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(40.0), np.arange(40.0)))
    whole = np.stack([x, y, 0 * x], axis=1)
    half = whole[x < 20]
    found = compare(Cloud(half), Cloud(whole), *all_of(half, whole))
    assert found.accuracy == found.accuracy_median == 0
    assert found.completeness == pytest.approx(np.maximum(np.arange(40) - 19, 0).mean())
    assert found.completeness_median == pytest.approx(0.5)
    assert found.normal_consistency == pytest.approx(1)
    turned = half[:, [0, 2, 1]] + [0, -10, 10]  # a wall on the floor
    found = compare(Cloud(turned), Cloud(whole), *all_of(turned, whole))
    assert found.normal_consistency == pytest.approx(0, abs=1e-9)


def test_alignment_brings_back_what_was_moved_shrunk_and_turned(open3d):
    truth = Cloud(open3d["target"])
    moved = drawn(3)(open3d["target"])
    similarity, registration = align(Cloud(moved), truth, np.arange(len(truth)))
    np.testing.assert_allclose(similarity(moved), open3d["target"], atol=1e-6)
    assert registration.fitness == 1 and registration.rmse < 1e-9


def test_metrics_do_not_depend_on_the_predictions_frame(open3d):
    truth = Cloud(open3d["target"])
    rng = np.random.default_rng(0)
    predicted = open3d["target"] + 0.02 * rng.normal(size=open3d["target"].shape)
    found = []
    for frame in (Similarity.identity(), drawn(4)):
        cloud = Cloud(frame(predicted))
        similarity, _ = align(cloud, truth, np.arange(len(truth)))
        found.append(compare(cloud.place(similarity), truth, *all_of(truth, truth)))
    for name, value in found[0].__dict__.items():
        assert found[1].__dict__[name] == pytest.approx(value, rel=1e-6)


def test_a_sample_of_the_queries_estimates_the_whole():
    rng = np.random.default_rng(1)
    points = sphere(6000, seed=2)
    truth = Cloud(points)
    predicted = Cloud(points * (1 + 0.05 * rng.normal(size=(6000, 1))))
    whole = compare(predicted, truth, *all_of(predicted, truth))
    some = compare(predicted, truth, choose(6000, 1500, rng), choose(6000, 1500, rng))
    distances, _ = truth.tree.query(predicted.points())
    error = distances.std() / np.sqrt(1500)
    assert 0 < abs(some.accuracy - whole.accuracy) < 4 * error
    assert some.normal_consistency == pytest.approx(whole.normal_consistency, abs=0.03)


def test_choice():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(choose(5, 5, rng), np.arange(5))
    np.testing.assert_array_equal(choose(5, None, rng), np.arange(5))
    some = choose(1000, 100, rng)
    assert len(set(some)) == 100 and (np.diff(some) > 0).all() and some.max() > 900


def test_small_clouds_have_normals_too():
    points = np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
    np.testing.assert_allclose(np.abs(Cloud(points).normals(np.arange(4))), [[0, 0, 1]] * 4, atol=1e-12)
