"""VGGT's training losses on normalised batches (VGGT, Sec. 3.4, and its published training code).

Every function compiles: masks weigh where PyTorch code would select. Lengths are in units of the normalised scene (see
:mod:`experiments.training.normalization`), angles in radians. Compared with the official values and gradients in
``tests/fixtures/losses``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from experiments.training.batch import TrainingBatch
from experiments.training.numerics import bounded, kth_smallest, length, magnitude, masked_mean, quantile_rank
from experiments.training.spatial_losses import gradient_loss, normal_loss, over_scales
from subspace.errors import InputError
from vggt_jax import Predictions
from vggt_jax.pose_encoding import encode_pose

_FEWEST_PIXELS = 100
"""A batch with fewer valid pixels teaches no depth; a sequence needs more than these in its first frame to teach cameras."""
_FEWEST_FILTERED = 1000
"""The quantile filter leaves samples of at most this size alone."""
_ITERATION_DECAY = 0.6
_FIELD_OF_VIEW_WEIGHT = 0.5
_GRADIENT_SCALES = 4
_NORMAL_SCALES = 3

Losses = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class CameraLoss:
    """The camera term and its weight."""

    weight: float = 5.0
    """Weight of the term in the objective."""
    norm: Literal["l1", "l2"] = "l1"
    """How the errors of an encoding's entries are joined: the sum of their absolute values or their Euclidean length."""


@dataclass(frozen=True)
class RegressionLoss:
    """The three terms of a dense prediction (depth or points), and their common weight."""

    weight: float = 1.0
    """Weight of the three terms in the objective."""
    spatial: Literal["", "grad", "grad_conf", "normal", "normal_conf"] = "grad"
    """Name of the loss between neighbouring pixels; "" for none."""
    valid_range: float = 0.98
    """Quantile of the errors above which pixels count as outliers; 0 keeps all pixels."""
    gamma: float = 1.0
    """Weight of the errors times the confidence."""
    alpha: float = 0.2
    """Weight of −log(confidence)."""


@dataclass(frozen=True)
class Objective:
    """What training minimises; a part that is None is not computed. The defaults are VGGT's without the point head.

    Every field takes part in :func:`experiments.storage.identity.identity`.
    """

    camera: CameraLoss | None = field(default_factory=CameraLoss)
    """Loss of the camera head's encodings."""
    depth: RegressionLoss | None = field(default_factory=RegressionLoss)
    """Loss of the depth maps."""
    point: RegressionLoss | None = None
    """Loss of the point maps."""

    def __call__(self, predictions: Predictions, batch: TrainingBatch) -> tuple[Float[Array, ""], Losses]:
        """The objective for a normalised batch, and the terms that it is made of, under the official names.

        Raises InputError for a part whose head the model lacks.
        """
        total, terms = jnp.zeros(()), {}
        if self.camera is not None:
            poses = _needed(predictions.pose_enc_list, "camera")
            truth = encode_pose(batch.extrinsics, batch.intrinsics, batch.image_size)
            found = camera_loss(poses, truth, batch.point_masks, self.camera.norm)
            total = total + self.camera.weight * found["loss_camera"]
            terms |= found
        for name, settings, map_, confidence, truth in (
            ("depth", self.depth, predictions.depth, predictions.depth_conf, batch.depths[..., None]),
            ("point", self.point, predictions.world_points, predictions.world_points_conf, batch.world_points),
        ):
            if settings is None:
                continue
            map_, confidence = _needed(map_, name), _needed(confidence, name)
            assert truth is not None  # of a normalised batch
            found = regression_loss(map_, confidence, truth, batch.point_masks, settings)
            total = total + settings.weight * sum(found.values())
            terms |= {f"{term}_{name}": value for term, value in found.items()}
        return total, terms


def camera_loss(
    pose_enc_list: Float[Array, "iterations b s 9"],
    truth: Float[Array, "b s 9"],
    point_masks: Bool[Array, "b s h w"],
    norm: Literal["l1", "l2"] = "l1",
) -> Losses:
    """Errors of translation, quaternion and fields of view, averaged over the head's iterations (later ones weigh more).

    Sequences whose first frame has at most 100 valid pixels do not count; without any other, every term is 0.
    """
    counts = jnp.broadcast_to((jnp.sum(point_masks[:, 0], axis=(-2, -1)) > _FEWEST_PIXELS)[:, None], truth.shape[:2])

    def mean_error(predicted: Array, part: slice) -> Array:
        error = predicted[..., part] - truth[..., part]
        error = length(error)[..., None] if norm == "l2" else magnitude(error)
        return masked_mean(bounded(error), jnp.broadcast_to(counts[..., None], error.shape))

    iterations = pose_enc_list.shape[0]

    def over_iterations(part: slice) -> Array:
        weighted = [_ITERATION_DECAY ** (iterations - 1 - i) * mean_error(p, part) for i, p in enumerate(pose_enc_list)]
        return jnp.stack(weighted).mean()

    translation, rotation, field_of_view = (over_iterations(part) for part in (slice(3), slice(3, 7), slice(7, 9)))
    total = translation + rotation + _FIELD_OF_VIEW_WEIGHT * field_of_view
    return {"loss_camera": total, "loss_T": translation, "loss_R": rotation, "loss_FL": field_of_view}


def regression_loss(
    predicted: Float[Array, "b s h w c"],
    confidence: Float[Array, "b s h w"],
    truth: Float[Array, "b s h w c"],
    masks: Bool[Array, "b s h w"],
    settings: RegressionLoss,
) -> Losses:
    """The terms ``loss_conf``, ``loss_reg`` and ``loss_grad``; all 0 with fewer than 100 valid pixels in the batch."""
    truth = bounded(truth)
    error = bounded(length(truth - predicted))
    weighted = bounded(settings.gamma * error * confidence - settings.alpha * jnp.log(confidence))
    terms = {
        "loss_conf": masked_mean(weighted, inliers(weighted, masks, settings.valid_range)),
        "loss_reg": masked_mean(error, inliers(error, masks, settings.valid_range)),
        "loss_grad": _spatial_loss(predicted, confidence, truth, masks, settings.spatial),
    }
    enough = jnp.sum(masks) >= _FEWEST_PIXELS
    return {name: jnp.where(enough, term, 0) for name, term in terms.items()}


def inliers(errors: Float[Array, "*shape"], mask: Bool[Array, "*shape"], valid_range: float) -> Bool[Array, "*shape"]:
    """The part of ``mask`` whose errors, none above ``LARGEST_ERROR``, are strictly below their ``valid_range`` quantile.

    The whole mask for a ``valid_range`` of 0, for at most 1,000 errors, and where at most 1,000 would stay.
    """
    if valid_range <= 0:
        return mask
    count = jnp.sum(mask)
    threshold = kth_smallest(errors, mask, quantile_rank(valid_range, count))
    kept = mask & (errors < threshold)
    return jnp.where((count > _FEWEST_FILTERED) & (jnp.sum(kept) > _FEWEST_FILTERED), kept, mask)


def _spatial_loss(predicted: Array, confidence: Array, truth: Array, masks: Array, kind: str) -> Array:
    weighting = confidence if kind.endswith("_conf") else None
    if kind.startswith("normal"):
        return over_scales(normal_loss, _NORMAL_SCALES, predicted, truth, masks, weighting)
    if kind.startswith("grad"):
        return over_scales(gradient_loss, _GRADIENT_SCALES, predicted, truth, masks, weighting)
    return jnp.zeros((), predicted.dtype)


def _needed(prediction: Array | None, head: str) -> Array:
    if prediction is None:
        raise InputError(f"objective: the model has no {head} head")
    return prediction
