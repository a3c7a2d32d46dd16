"""What is measured on held-out scenes beside the loss, which has −log of a confidence: errors of depth and cameras, which mean
something by themselves, and the depth itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from experiments.data.poses import direction_error, relative_pose, rotation_error
from experiments.training.batch import TrainingBatch
from experiments.training.loss_function import LossFunction, Params
from experiments.training.losses import Losses
from experiments.training.normalization import normalize
from vggt_jax import Predictions
from vggt_jax.pose_encoding import decode_pose

ABS_REL, ROTATION, DIRECTION = "abs_rel", "rotation_degrees", "direction_degrees"
"""Names of the errors, beside those of a loss's terms."""
MEAN_DEPTH = "mean_depth"
"""Name of the mean over all pixels of what is predicted; it is the same for all scenes where a model sees them no longer."""


def with_errors(loss: LossFunction) -> LossFunction:
    """``loss`` with :func:`errors` of what was predicted among its terms; what it minimises stays the same."""

    def judge(predicted: Any, batch: TrainingBatch, params: Params) -> tuple[Array, Losses]:
        value, terms = loss.judge(predicted, batch, params)
        return value, {**terms, **errors(predicted, normalize(batch))}

    return replace(loss, judge=judge)


def errors(predicted: Predictions, batch: TrainingBatch) -> Losses:
    """Of a normalised batch; only of heads that the model has.

    AbsRel is that of depth after one scale for each sequence, the median ratio over all its pixels; NaN where no pixel of the
    batch is known. Beside it stands the mean depth as it is predicted. Rotation is the mean angle between a view's turn from
    the first view and the true one, direction that between the translations.
    """
    found = {}
    if predicted.depth is not None:
        found[ABS_REL] = _abs_rel(predicted.depth[..., 0], batch.depths, batch.point_masks)
        found[MEAN_DEPTH] = predicted.depth.mean()
    if predicted.pose_enc is not None:
        extrinsics, _ = decode_pose(predicted.pose_enc, batch.image_size)
        ours, true = (relative_pose(poses[:, :1], poses[:, 1:]) for poses in (extrinsics, batch.extrinsics))
        found[ROTATION] = rotation_error(ours[..., :3], true[..., :3]).mean()
        found[DIRECTION] = direction_error(ours[..., 3], true[..., 3]).mean()
    return found


def _abs_rel(
    found: Float[Array, "b s h w"], true: Float[Array, "b s h w"], valid: Bool[Array, "b s h w"]
) -> Float[Array, ""]:
    ratio = jnp.where(valid, true / jnp.maximum(found, 1e-6), jnp.nan)
    scale = jnp.nanmedian(ratio, axis=(1, 2, 3), keepdims=True)
    error = jnp.abs(scale * found - true) / jnp.maximum(true, 1e-6)
    return jnp.sum(jnp.where(valid, error, 0.0)) / jnp.sum(valid)
