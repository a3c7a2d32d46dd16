import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.pretraining import evaluation
from experiments.pretraining.evaluation import Baselines, Predicted, Truth, depth_metrics, evaluate, pose_metrics
from experiments.pretraining.sampling import stacked
from tests.experiments.pretraining import small


def cameras(rotations, translations):
    """Pairs whose first camera is not the world's."""
    rng = np.random.default_rng(5)
    worlds = Rotation.random(len(rotations), random_state=5)
    first = np.concatenate([worlds.as_matrix(), rng.normal(size=(len(rotations), 3, 1))], axis=-1)
    second = np.einsum("nij,njk->nik", rotations.as_matrix(), first)
    second[..., 3] += translations
    return np.stack([first, second], axis=1)


def test_depth_errors_against_their_definition():
    truth = np.full((2, 2, 1, 4), 2.0)
    predicted = truth * [[[[1, 1, 1, 2]]], [[[3, 3, 3, 3]]]]
    valid = np.ones_like(truth, bool)
    found = depth_metrics(predicted, truth, valid)
    # the median ratio is 1 for the first pair, 1/3 for the second
    assert found["abs_rel"] == pytest.approx((0.25 + 0) / 2)
    assert found["delta"] == pytest.approx((0.75 + 1) / 2)
    assert found["abs_rel_unscaled"] == pytest.approx((0.25 + 2) / 2)
    assert found["delta_unscaled"] == pytest.approx((0.75 + 0) / 2)


def test_unknown_pixels_and_pairs_without_any_do_not_count():
    truth, predicted = np.ones((2, 2, 2, 2)), np.ones((2, 2, 2, 2))
    predicted[0, 0, 0, 0], truth[1] = 50, np.nan
    valid = np.ones_like(truth, bool)
    valid[0, 0, 0, 0], valid[1] = False, False
    assert depth_metrics(predicted, truth, valid)["abs_rel"] == 0


def test_pose_errors_are_the_angles_that_were_put_in():
    rng = np.random.default_rng(0)
    true = Rotation.from_rotvec(0.3 * rng.normal(size=(5, 3)))
    axes = rng.normal(size=(5, 3))
    degrees = np.array([1.0, 2.0, 5.0, 30.0, 90.0])
    wrong = Rotation.from_rotvec(np.radians(degrees)[:, None] * axes / np.linalg.norm(axes, axis=1, keepdims=True))
    translations = rng.normal(size=(5, 3))
    across = np.cross(translations, axes)
    across *= np.linalg.norm(translations, axis=1, keepdims=True) / np.linalg.norm(across, axis=1, keepdims=True)
    tilt = np.radians([10.0, 20.0, 40.0, 60.0, 80.0])[:, None]
    tilted = 7 * (np.cos(tilt) * translations + np.sin(tilt) * across)  # of another length
    found = pose_metrics(cameras(wrong * true, tilted), cameras(true, translations))
    assert found["rotation"] == pytest.approx(5.0, abs=1e-6)
    assert found["direction"] == pytest.approx(40.0, abs=1e-6)


def test_correlations_are_per_axis():
    rng = np.random.default_rng(1)
    true = 0.2 * rng.normal(size=(40, 3))
    seen = np.stack([true[:, 0], 0.01 * rng.normal(size=40), -0.5 * true[:, 2]], axis=1)
    translations = rng.normal(size=(40, 3))
    found = pose_metrics(
        cameras(Rotation.from_rotvec(seen), translations), cameras(Rotation.from_rotvec(true), translations)
    )
    assert found["correlation_pitch"] == pytest.approx(1)
    assert found["correlation_yaw"] == pytest.approx(np.corrcoef(true[:, 1], seen[:, 1])[0, 1], abs=1e-6)
    assert found["correlation_roll"] == pytest.approx(-1)
    assert found["correlation_x"] == pytest.approx(1)
    still = cameras(Rotation.identity(40), translations)
    assert pose_metrics(still, cameras(Rotation.from_rotvec(true), translations))["correlation_yaw"] == 0


@pytest.fixture(scope="module")
def pairs():
    return evaluation.held_out_pairs([small.box_scene(i) for i in range(3)], per_scene=2, seed=0)


def test_a_perfect_model_has_no_error_and_padding_does_not_count(pairs):
    def predict(batch):
        assert batch.images.shape[0] == 4
        truth = Truth.of(batch)
        return Predicted(np.where(truth.valid, 3 * truth.depths, 1), batch.extrinsics, solved=still)

    still = np.broadcast_to(np.eye(3, 4), (4, 2, 3, 4))
    truth = Truth.of(stacked(pairs))
    found = evaluate(predict, pairs, Baselines.of(truth), batch_size=4)
    assert found["model"]["abs_rel"] < 1e-5 and found["model"]["delta"] == 1
    assert found["model"]["abs_rel_unscaled"] == pytest.approx(2, abs=1e-4)
    assert found["model"]["rotation"] < 1e-2 and found["model"]["direction"] < 1e-1
    turns = [scene.turns[0, 1] for scene in pairs]
    assert found["constant"]["rotation"] == pytest.approx(np.median(turns), abs=1e-3)
    assert found["solved"]["rotation"] == found["constant"]["rotation"] and "abs_rel" not in found["solved"]
    assert 0.01 < found["mean_depth"]["abs_rel"] < found["constant"]["abs_rel"]
    assert found["model"]["chamfer"] < 1e-3 < 0.01 < found["mean_depth"]["chamfer"]
    assert found["mean_depth"]["direction"] == found["constant"]["direction"] > 1


def test_pairs_are_the_same_every_time_and_near_each_other(pairs):
    again = evaluation.held_out_pairs([small.box_scene(i) for i in range(3)], per_scene=2, seed=0)
    for a, b in zip(pairs, again, strict=True):
        np.testing.assert_array_equal(a.extrinsics, b.extrinsics)
    assert len(pairs) == 6 and all(scene.turns[0, 1] <= evaluation.LARGEST_TURN for scene in pairs)


def test_baselines_are_means_over_what_is_known():
    depths = np.array([[[[1.0, 4.0, 9.0]], [[3.0, 0.0, 9.0]]]])
    valid = np.array([[[[True, True, False]], [[True, False, False]]]])
    extrinsics = cameras(Rotation.identity(1), np.array([[0.0, 0.0, 5.0]]))
    found = Baselines.of(Truth(depths, valid, extrinsics, np.broadcast_to(np.eye(3), (1, 2, 3, 3))))
    np.testing.assert_allclose(found.mean_depth, [[2, 4, 8 / 3]])
    np.testing.assert_allclose(found.direction, [0, 0, 1], atol=1e-9)


def test_the_chamfer_distance_is_that_of_the_clouds_moved_apart():
    pixels = 40
    intrinsics = np.broadcast_to(np.diag([1e6, 1e6, 1.0]), (1, 2, 3, 3))  # all points of a view are nearly one
    depths, valid = np.full((1, 2, 1, pixels), 2.0), np.ones((1, 2, 1, pixels), bool)
    true = np.broadcast_to(np.eye(3, 4), (1, 2, 3, 4)).copy()
    true[:, 1, :, 3] = [0.0, 0.0, -2.0]
    turned = true.copy()
    turned[:, 1, :, 3] = [0.0, 0.0, 1.0]  # of another length, and the other way
    truth = Truth(depths, valid, true, intrinsics)
    # points at depths 2 and 4, or 2 and 0 with the turned camera
    assert evaluation.chamfer(3 * depths, true, truth) == pytest.approx(0, abs=1e-3)
    assert evaluation.chamfer(depths, turned, truth) == pytest.approx((0 + 2) / 2, abs=1e-3)
