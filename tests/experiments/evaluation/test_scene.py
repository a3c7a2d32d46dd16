import dataclasses

import numpy as np
import pytest

from experiments.data.geometry import project
from experiments.evaluation import scene
from experiments.evaluation.scene import Reconstruction, evaluate_scene
from tests.experiments import analytic_scene
from tests.experiments.evaluation.test_similarity import drawn

SIZE = 24


@pytest.fixture(scope="module")
def truth():
    cameras = analytic_scene.ring([(SIZE, SIZE)] * 3)
    depths = np.stack([analytic_scene.render(*camera)[1] for camera in cameras])
    return Reconstruction(
        depths, np.stack([camera.extrinsics for camera in cameras]), np.stack([camera.intrinsics for camera in cameras])
    )


@pytest.fixture(scope="module")
def mask(truth):
    return truth.depths < analytic_scene.SKY_DEPTH


def in_another_frame(truth, similarity):
    """The same scene, whose world is moved, turned and scaled."""
    rotation = truth.extrinsics[..., :3] @ similarity.rotation.T
    translation = similarity.scale * truth.extrinsics[..., 3] - np.einsum("sij,j->si", rotation, similarity.translation)
    return Reconstruction(
        similarity.scale * truth.depths, np.concatenate([rotation, translation[..., None]], axis=-1), truth.intrinsics
    )


def test_a_perfect_prediction_in_any_frame_has_no_error(truth, mask):
    similarity = drawn(0)
    predicted = in_another_frame(truth, similarity)
    np.testing.assert_allclose(predicted.points, similarity(truth.points), atol=1e-9)
    found = evaluate_scene(predicted, truth, mask)
    metrics = found.metrics
    for value in (metrics.points.accuracy, metrics.points.completeness, metrics.abs_rel, metrics.abs_rel_optimal):
        assert value < 1e-6
    assert metrics.points.normal_consistency == pytest.approx(1, abs=1e-6)
    assert metrics.delta == metrics.delta_optimal == metrics.icp_fitness == 1
    assert metrics.scale == pytest.approx(1 / similarity.scale, rel=1e-6)
    assert metrics.pixels == metrics.queries == mask.sum()
    np.testing.assert_allclose(found.aligned[mask], truth.points[mask], atol=1e-6)


def test_only_the_mask_counts(truth, mask):
    inner = mask.copy()
    inner[:, :8] = False
    spoilt = dataclasses.replace(truth, depths=np.where(inner, truth.depths, np.nan))
    assert evaluate_scene(spoilt, truth, inner).metrics.points.accuracy < 1e-6
    with pytest.raises(
        ValueError, match=r"view 0: \d+ predicted depth\(s\) in the mask are no positive numbers, such as nan"
    ):
        evaluate_scene(spoilt, truth, mask)


def test_a_view_of_another_scale_spoils_points_but_not_depth(truth, mask):
    wrong = dataclasses.replace(truth, depths=truth.depths * np.array([1, 1.5, 1])[:, None, None])
    metrics = evaluate_scene(wrong, truth, mask).metrics
    assert metrics.abs_rel < 1e-6 and metrics.delta == 1
    assert metrics.points.accuracy > 0.05 and metrics.points.completeness > 0.05


def test_depth_errors_are_means_over_views(truth, mask):
    noise = np.random.default_rng(0).normal(size=truth.depths.shape)
    wrong = dataclasses.replace(truth, depths=truth.depths * np.exp(0.1 * noise))
    together = evaluate_scene(wrong, truth, mask).metrics
    alone = []
    for view in range(3):
        one = np.zeros_like(mask)
        one[view] = mask[view]
        alone.append(evaluate_scene(wrong, truth, one).metrics)
    for name in ("abs_rel", "delta", "abs_rel_optimal", "delta_optimal"):
        assert getattr(together, name) == pytest.approx(np.mean([getattr(each, name) for each in alone]), rel=1e-6)
    assert 0.02 < together.abs_rel < 0.2 and 0.5 < together.delta < 1


def test_camera_points_project_onto_their_pixels(truth):
    pixels = np.arange(0, SIZE**2, 7)
    found, depth = project(truth.camera_points(1, pixels), np.eye(3, 4), truth.intrinsics[1])
    np.testing.assert_allclose(found, np.stack([pixels % SIZE, pixels // SIZE], axis=1), atol=1e-9)
    np.testing.assert_allclose(depth, truth.depths[1].ravel()[pixels])


def test_large_scenes_are_sampled_unless_told_otherwise(truth, mask, monkeypatch):
    monkeypatch.setattr(scene, "EXACT", 100)
    monkeypatch.setattr(scene, "QUERIES", 400)
    noise = np.random.default_rng(1).normal(size=truth.depths.shape)
    wrong = dataclasses.replace(truth, depths=truth.depths + 0.05 * noise)
    some, everything = (evaluate_scene(wrong, truth, mask, exact).metrics for exact in (False, True))
    assert (some.queries, everything.queries) == (400, mask.sum())
    assert some == evaluate_scene(wrong, truth, mask).metrics
    assert 0 < abs(some.points.accuracy / everything.points.accuracy - 1) < 0.2
    assert some.abs_rel == everything.abs_rel


def test_what_is_refused(truth, mask):
    few = np.zeros_like(mask)
    few[0, -1, :20] = True
    with pytest.raises(ValueError, match="only 20 pixels"):
        evaluate_scene(truth, truth, few)
    with pytest.raises(ValueError, match="same views"):
        evaluate_scene(truth, truth, mask[:2])
    point = dataclasses.replace(truth, depths=np.full_like(truth.depths, 1e-200))
    with pytest.raises(ValueError, match="on a line or coincide"):
        evaluate_scene(point, truth, mask & (np.arange(3) == 0)[:, None, None])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0, 0.0])
def test_a_depth_that_is_no_positive_number_is_refused_with_its_view(truth, mask, value):
    depths = truth.depths.copy()
    row, column = np.argwhere(mask[1])[0]
    depths[1, row, column] = value
    wrong = dataclasses.replace(truth, depths=depths)
    message = f"1 {{}} depth(s) in the mask are no positive numbers, such as {value}"
    with pytest.raises(ValueError) as error:
        evaluate_scene(wrong, truth, mask, views=[4, 7, 9])
    assert str(error.value) == "view 7: " + message.format("predicted")
    with pytest.raises(ValueError) as error:
        evaluate_scene(truth, wrong, mask)
    assert str(error.value) == "view 1: " + message.format("true")
