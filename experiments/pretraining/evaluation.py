"""How good depth and pose are on pairs of held-out views, beside what one gets without looking at the pictures.

Depth: each sequence's prediction is multiplied by one number, the median of truth / prediction over the known pixels of
all its views; then AbsRel is the mean of |prediction − truth| / truth over these pixels and δ the share of them where
max(prediction / truth, truth / prediction) < 1.25. Both are averaged over sequences. The same without alignment, in units of
VGGT's normalised scenes, is called ``unscaled``.

Pose: of the second view relative to the first. The rotation's error is the angle between prediction and truth, that of the
translation the angle between the two directions; medians over sequences, degrees. Both together make points, which
:func:`chamfer` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from experiments.data.geometry import unproject
from experiments.data.poses import direction_error, relative_pose, rotation_error
from experiments.pretraining.sampling import choose_views, chosen, stacked
from experiments.pretraining.scenes import LoadedScene
from experiments.training.batch import TrainingBatch
from experiments.training.normalization import normalize

AXES = ("pitch", "yaw", "roll")
"""Turns about the camera's x, y and z."""
LARGEST_TURN = 45.0
"""Degrees between the two views of a pair."""
_DELTA = 1.25
_POINTS = 1000
"""Pixels of a pair whose points are compared."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Predicted:
    """What a model (or a guess) says about N pairs of views."""

    depths: Float[np.ndarray, "n 2 h w"]
    """z in the camera, in any unit."""
    extrinsics: Float[np.ndarray, "n 2 3 4"]
    """World to camera, whatever the world."""
    solved: Float[np.ndarray, "n 2 3 4"] | None = None
    """The same from matched tokens and depth (:mod:`experiments.reconstruction.matched_pose`), where that was asked for."""


def held_out_pairs(scenes: Sequence[LoadedScene], per_scene: int, seed: int) -> list[LoadedScene]:
    """``per_scene`` pairs of views of each scene, turned by at most :data:`LARGEST_TURN` where there are such."""
    pairs = []
    for place, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, place])
        pairs += [chosen(scene, choose_views(scene.turns, 2, LARGEST_TURN, rng)) for _ in range(per_scene)]
    return pairs


@dataclass(frozen=True)
class Truth:
    """N pairs in VGGT's normalised form: the first camera is the world, the mean distance of the points the unit."""

    depths: Float[np.ndarray, "n 2 h w"]
    """z in the camera; anything where it is not known."""
    valid: Bool[np.ndarray, "n 2 h w"]
    """Where the depth is known."""
    extrinsics: Float[np.ndarray, "n 2 3 4"]
    """World to camera."""
    intrinsics: Float[np.ndarray, "n 2 3 3"]
    """In pixels."""

    @classmethod
    def of(cls, batch: TrainingBatch) -> Truth:
        """From a batch in any unit."""
        normal = normalize(batch)
        arrays = (normal.depths, normal.point_masks, normal.extrinsics, normal.intrinsics)
        return cls(*(np.asarray(x) for x in arrays))


@dataclass(frozen=True)
class Baselines:
    """The best guesses that never look at a picture, from pairs of the training scenes."""

    mean_depth: Float[np.ndarray, "h w"]
    """Mean normalised depth of each pixel."""
    direction: Float[np.ndarray, "3"]
    """Mean direction of the translation."""

    @classmethod
    def of(cls, truth: Truth) -> Baselines:
        weights = truth.valid.sum(axis=(0, 1))
        depths = np.where(truth.valid, truth.depths, 0).sum(axis=(0, 1))
        overall = depths.sum() / max(weights.sum(), 1)
        mean_depth = np.where(weights > 0, depths / np.maximum(weights, 1), overall)
        direction = _directions(relative(truth.extrinsics)[..., 3]).mean(axis=0)
        return cls(mean_depth, _directions(direction))


def depth_metrics(
    predicted: Float[np.ndarray, "n 2 h w"], truth: Float[np.ndarray, "n 2 h w"], valid: Bool[np.ndarray, "n 2 h w"]
) -> Metrics:
    """AbsRel and δ < 1.25 as the module defines them; pairs without a known pixel do not count."""
    rows = [_depth_errors(p[v], t[v]) for p, t, v in zip(predicted, truth, valid, strict=True) if v.any()]
    names = ("abs_rel", "delta", "abs_rel_unscaled", "delta_unscaled")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def _depth_errors(predicted: Float[np.ndarray, " p"], truth: Float[np.ndarray, " p"]) -> list[float]:
    predicted, truth = (np.maximum(x.astype(np.float64), 1e-6) for x in (predicted, truth))
    errors = []
    for scale in (np.median(truth / predicted), 1.0):
        scaled = scale * predicted
        errors.append(np.mean(np.abs(scaled - truth) / truth))
        errors.append(np.mean(np.maximum(scaled / truth, truth / scaled) < _DELTA))
    return errors


def relative(extrinsics: Float[np.ndarray, "n 2 3 4"]) -> Float[np.ndarray, "n 3 4"]:
    """The second camera of each pair, seen from the first."""
    return np.asarray(relative_pose(*np.moveaxis(extrinsics.astype(np.float64), 1, 0)))


def pose_metrics(predicted: Float[np.ndarray, "n 2 3 4"], truth: Float[np.ndarray, "n 2 3 4"]) -> Metrics:
    """Median errors of rotation and translation direction in degrees, and for each axis the correlation over pairs.

    A correlation with something that does not vary is 0.
    """
    found, true = relative(predicted), relative(truth)
    turns, true_turns = (Rotation.from_matrix(pose[..., :3]) for pose in (found, true))
    metrics = {
        "rotation": float(np.median(rotation_error(found[..., :3], true[..., :3]))),
        "direction": float(np.median(direction_error(found[..., 3], true[..., 3]))),
    }
    for axis, a, b in zip(AXES, turns.as_rotvec().T, true_turns.as_rotvec().T, strict=True):
        metrics[f"correlation_{axis}"] = _correlation(a, b)
    for axis, a, b in zip("xyz", _directions(found[..., 3]).T, _directions(true[..., 3]).T, strict=True):
        metrics[f"correlation_{axis}"] = _correlation(a, b)
    return metrics


def chamfer(depths: Float[np.ndarray, "n 2 h w"], extrinsics: Float[np.ndarray, "n 2 3 4"], truth: Truth) -> float:
    """Mean Chamfer distance between the points of both views as predicted and as they are, in the first camera's frame.

    In units of VGGT's normalised scenes, after the scale of AbsRel and with the true intrinsics; of :data:`_POINTS` pixels.
    Translations of unknown length, such as the guesses', count as the true one's length.
    """
    found, true = relative(extrinsics), relative(truth.extrinsics)
    found[..., 3] = _directions(found[..., 3]) * np.linalg.norm(true[..., 3], axis=-1, keepdims=True)
    distances = []
    for i, valid in enumerate(truth.valid):
        if not valid.any():
            continue
        scale = np.median((truth.depths[i] / np.maximum(depths[i], 1e-6))[valid])
        some = np.random.default_rng(i).permutation(np.flatnonzero(valid))[:_POINTS]
        clouds = [
            unproject(depth, np.stack([np.eye(3, 4), pose]), truth.intrinsics[i]).reshape(-1, 3)[some]
            for depth, pose in ((scale * depths[i], found[i]), (truth.depths[i], true[i]))
        ]
        trees = [KDTree(cloud) for cloud in clouds]
        there, back = (trees[1 - side].query(clouds[side])[0].mean() for side in (0, 1))
        distances.append((there + back) / 2)
    return float(np.mean(distances))


def evaluate(
    predict: Callable[[TrainingBatch], Predicted],
    pairs: Sequence[LoadedScene],
    baselines: Baselines,
    batch_size: int = 16,
) -> dict[str, Metrics]:
    """Metrics of a model on pairs of views, and of the guesses that look at no picture.

    Args:
        predict: of batches of exactly ``batch_size`` pairs; the last one is filled up with pairs without a valid pixel.
        pairs: from :func:`held_out_pairs`.
        baselines: of the training scenes.

    Returns:
        "model", "mean_depth", "constant" (depth 1 everywhere; no turn, the mean direction), and "solved", which has
        pose metrics only, if the predictions have solved poses.
    """
    depths, extrinsics, solved, truths = [], [], [], []
    for start in range(0, len(pairs), batch_size):
        some = list(pairs[start : start + batch_size])
        filler = replace(some[-1], valid=np.zeros_like(some[-1].valid))
        batch = stacked(some + [filler] * (batch_size - len(some)))
        predicted, truth = predict(batch), Truth.of(batch)
        depths.append(predicted.depths[: len(some)])
        extrinsics.append(predicted.extrinsics[: len(some)])
        if predicted.solved is not None:
            solved.append(predicted.solved[: len(some)])
        truths.append(Truth(*(getattr(truth, each.name)[: len(some)] for each in fields(Truth))))
    truth = joined(truths)
    still = np.broadcast_to(np.eye(3, 4), truth.extrinsics.shape).copy()
    still[:, 1, :, 3] = baselines.direction
    guesses = {"mean_depth": baselines.mean_depth, "constant": np.ones_like(baselines.mean_depth)}
    found = np.concatenate(depths), np.concatenate(extrinsics)
    return {
        "model": {
            **depth_metrics(found[0], truth.depths, truth.valid),
            **pose_metrics(found[1], truth.extrinsics),
            "chamfer": chamfer(*found, truth),
        },
        **({"solved": pose_metrics(np.concatenate(solved), truth.extrinsics)} if solved else {}),
        **{
            name: {
                **depth_metrics(np.broadcast_to(guess, truth.depths.shape), truth.depths, truth.valid),
                **pose_metrics(still, truth.extrinsics),
                "chamfer": chamfer(np.broadcast_to(guess, truth.depths.shape), still, truth),
            }
            for name, guess in guesses.items()
        },
    }


def joined(truths: Sequence[Truth]) -> Truth:
    """Several as one."""
    return Truth(*(np.concatenate([getattr(truth, each.name) for truth in truths]) for each in fields(Truth)))


def _directions(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / size) if size > 1e-12 else 0.0
