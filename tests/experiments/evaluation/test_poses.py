"""Pose metrics against evo, against what VGGT's evaluation computes, and on cases whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.evaluation.poses import pose_metrics
from tests.experiments.evaluation.test_similarity import drawn

VIEWS = 7


def cameras(seed=0, noise=0.0):
    """World to camera, on a winding path; another seed only changes the noise."""
    path = np.random.default_rng(0)
    errors = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(path.normal(size=(VIEWS, 3))) * Rotation.from_rotvec(
        noise * errors.normal(size=(VIEWS, 3))
    )
    moved = path.normal(size=(VIEWS, 3)) + noise * errors.normal(size=(VIEWS, 3))
    return np.concatenate([turns.as_matrix(), moved[..., None]], axis=2)


def inverse(extrinsics):
    rotation = np.swapaxes(extrinsics[..., :3], 1, 2)
    return np.concatenate([rotation, -rotation @ extrinsics[..., 3:]], axis=2)


def elsewhere(extrinsics, similarity):
    """The same cameras in a world that is moved, turned and scaled."""
    rotation = extrinsics[..., :3] @ similarity.rotation.T
    translation = similarity.scale * extrinsics[..., 3] - np.einsum("sij,j->si", rotation, similarity.translation)
    return np.concatenate([rotation, translation[..., None]], axis=2)


def test_true_cameras_in_any_world_are_perfect():
    found = pose_metrics(elsewhere(cameras(), drawn(1)), cameras())
    assert found.rra_5 == found.rta_5 == found.auc_30 == found.auc_5 == 1
    assert max(found.ate, found.rpe_translation) < 1e-9 and found.rpe_rotation < 1e-5


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_path_errors_are_those_of_evo(noise):
    metrics, trajectory = pytest.importorskip("evo.core.metrics"), pytest.importorskip("evo.core.trajectory")
    truth, predicted = cameras(), elsewhere(cameras(1, noise), drawn(2))

    def path(extrinsics):
        bottom = np.broadcast_to([0, 0, 0, 1.0], (VIEWS, 1, 4))
        return trajectory.PosePath3D(poses_se3=list(np.concatenate([inverse(extrinsics), bottom], axis=1)))

    reference, estimate = path(truth), path(predicted)
    estimate.align(reference, correct_scale=True)

    def rmse(metric):
        metric.process_data((reference, estimate))
        return metric.get_statistic(metrics.StatisticsType.rmse)

    found, of = pose_metrics(predicted, truth), metrics.PoseRelation
    assert found.ate == pytest.approx(rmse(metrics.APE(of.translation_part)), rel=1e-9)
    step = {"delta": 1, "delta_unit": metrics.Unit.frames, "all_pairs": False}
    assert found.rpe_translation == pytest.approx(rmse(metrics.RPE(of.translation_part, **step)), rel=1e-9)
    assert found.rpe_rotation == pytest.approx(rmse(metrics.RPE(of.rotation_angle_deg, **step)), rel=1e-9)


def test_accuracies_and_areas_are_those_of_the_definition():
    truth, predicted = cameras(), elsewhere(cameras(3, 0.05), drawn(2))
    turn, direction = [], []
    homogeneous = [
        np.concatenate([e, np.broadcast_to([0, 0, 0, 1.0], (VIEWS, 1, 4))], axis=1) for e in (predicted, truth)
    ]
    for i in range(VIEWS):
        for j in range(i + 1, VIEWS):
            found, true = (e[i] @ np.linalg.inv(e[j]) for e in homogeneous)
            trace = np.trace(found[:3, :3] @ true[:3, :3].T)
            turn.append(np.degrees(np.arccos((trace - 1) / 2)))
            cosine = found[:3, 3] @ true[:3, 3] / np.linalg.norm(found[:3, 3]) / np.linalg.norm(true[:3, 3])
            direction.append(np.degrees(np.arccos(abs(cosine))))
    metrics, worse = pose_metrics(predicted, truth), np.maximum(turn, direction)
    for limit in (5, 10, 30):
        assert getattr(metrics, f"rra_{limit}") == np.mean(np.array(turn) < limit)
        assert getattr(metrics, f"rta_{limit}") == np.mean(np.array(direction) < limit)
        histogram = np.histogram(worse, bins=np.arange(limit + 1))[0] / len(worse)
        assert getattr(metrics, f"auc_{limit}") == pytest.approx(np.mean(np.cumsum(histogram)))
    assert 0 < metrics.auc_5 < metrics.auc_10 < metrics.auc_30 < 1


def test_wrong_conventions_show_at_once():
    flip = np.diag([1.0, -1, -1])
    assert pose_metrics(inverse(cameras()), cameras()).auc_30 < 0.2
    assert pose_metrics(flip @ cameras(), cameras()).auc_30 < 0.2


def test_opposite_directions_count_as_the_same():
    """As in VGGT's evaluation."""
    opposite = cameras()[:2] * np.array([1, 1, 1, -1])
    assert pose_metrics(opposite, cameras()[:2]).rta_5 == 1


def test_what_cannot_be_known():
    assert all(np.isnan(value) for value in vars(pose_metrics(cameras()[:1], cameras()[:1])).values())
    two = pose_metrics(cameras()[:2], cameras()[:2])
    assert two.auc_30 == 1 and two.rpe_rotation < 1e-5 and np.isnan(two.ate) and np.isnan(two.rpe_translation)
    still = cameras()
    still[..., 3] = 0
    found = pose_metrics(still, cameras())  # no direction is off by a right angle
    assert found.rra_5 == 1 and found.rta_30 == 0 and np.isnan(found.ate)
