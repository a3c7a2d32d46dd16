"""How well the cameras of a scene were found: relative poses of pairs of views, and the path that the cameras took.

Pairs, as VGGT's evaluation has them: of every two views i < j, the pose of camera j seen from camera i. Its rotation is off by
an angle, its translation by the angle between two directions, of which t and −t count as the same. RRA@τ and RTA@τ are the
shares of pairs that are off by less than τ degrees; AUC@τ is the mean of the shares that are off by less than 1, 2, … τ
degrees in both. They need no alignment of the prediction to the truth, so they show a wrong convention at once.

Paths, as evaluations of odometry have them: ATE is the root mean square of the distances between true and predicted centres
after the best similarity; RPE that of the motion between each view and the next, in length (with that similarity's scale) and
in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.data.poses import direction_error, relative_pose, rotation_error
from experiments.evaluation.similarity import Similarity, fit_similarity
from subspace.errors import InputError

_THRESHOLDS = (5, 10, 30)
"""Degrees."""


@dataclass(frozen=True)
class PoseMetrics:
    """NaN where there are too few views, or poses are not known; lengths in the truth's unit."""

    rra_5: float
    """Share of pairs of views whose relative rotation is off by less than 5°."""
    rra_10: float
    """The same for 10°."""
    rra_30: float
    """The same for 30°."""
    rta_5: float
    """Share of pairs of views the direction of whose relative translation is off by less than 5°."""
    rta_10: float
    """The same for 10°."""
    rta_30: float
    """The same for 30°."""
    auc_5: float
    """Mean share of pairs that are off by less than 1° to 5° in rotation and direction."""
    auc_10: float
    """The same up to 10°."""
    auc_30: float
    """The same up to 30°."""
    ate: float
    """Root mean square distance between true and predicted centres of the cameras, after the best similarity."""
    rpe_translation: float
    """Root mean square error of the motion from each view to the next, with that similarity's scale."""
    rpe_rotation: float
    """Root mean square error of the turn from each view to the next, in degrees."""

    @classmethod
    def unknown(cls) -> PoseMetrics:
        """NaN in everything."""
        return cls(*12 * [float("nan")])


def pose_metrics(predicted: Float[np.ndarray, "s 3 4"], truth: Float[np.ndarray, "s 3 4"]) -> PoseMetrics:
    """Of world-to-camera poses of the same views in the same order; each in a world and unit of its own."""
    if len(truth) < 2:
        return PoseMetrics.unknown()
    found, true = predicted.astype(np.float64), truth.astype(np.float64)
    rotation, direction = relative_errors(found, true)
    worse = np.maximum(rotation, direction)
    similarity = _placement(centres(found), centres(true))
    if similarity is None:
        ate = rpe_translation = float("nan")
    else:
        ate = _rms(np.linalg.norm(similarity(centres(found)) - centres(true), axis=1))
        rpe_translation = _rms(np.linalg.norm(_step_errors(found, true, similarity.scale), axis=1))
    turns = rotation_error(*(relative_pose(poses[1:], poses[:-1])[..., :3] for poses in (found, true)))
    return PoseMetrics(
        *(float(np.mean(errors < limit)) for errors in (rotation, direction) for limit in _THRESHOLDS),
        *(area_under_curve(worse, limit) for limit in _THRESHOLDS),
        ate=ate,
        rpe_translation=rpe_translation,
        rpe_rotation=_rms(np.asarray(turns)),
    )


def relative_errors(
    predicted: Float[np.ndarray, "s 3 4"], truth: Float[np.ndarray, "s 3 4"]
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Errors of rotation and of the translation's direction in degrees, of every pair of views."""
    i, j = np.triu_indices(len(truth), 1)
    found, true = (relative_pose(poses[j], poses[i]) for poses in (predicted, truth))
    rotation = rotation_error(found[..., :3], true[..., :3])
    return np.asarray(rotation), np.asarray(direction_error(found[..., 3], true[..., 3], either_way=True))


def area_under_curve(errors: Float[np.ndarray, " pairs"], limit: int) -> float:
    """Mean over the whole degrees 1 to ``limit`` of the share of errors below them."""
    return float(np.mean([np.mean(errors < degrees) for degrees in range(1, limit + 1)]))


def centres(extrinsics: Float[np.ndarray, "s 3 4"]) -> Float[np.ndarray, "s 3"]:
    """Where cameras stand in the world."""
    return -np.einsum("sji,sj->si", extrinsics[..., :3], extrinsics[..., 3])


def _step_errors(
    found: Float[np.ndarray, "s 3 4"], true: Float[np.ndarray, "s 3 4"], scale: float
) -> Float[np.ndarray, "steps 3"]:
    """Translation of the motion that is left between the predicted and the true step to each next view."""
    guesses, steps = (np.asarray(relative_pose(poses[1:], poses[:-1])) for poses in (found, true))
    return np.einsum("sji,sj->si", steps[..., :3], scale * guesses[..., 3] - steps[..., 3])


def _placement(found: Float[np.ndarray, "s 3"], true: Float[np.ndarray, "s 3"]) -> Similarity | None:
    try:
        return fit_similarity(found, true)
    except InputError:  # two views, or cameras on a line
        return None


def _rms(errors: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(errors**2)))
