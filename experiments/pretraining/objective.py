"""What pre-training minimises: VGGT's losses and two helpers on tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from experiments.pretraining.correspondence import (
    Matches,
    affine_motion,
    matching_loss,
    share_in_place,
    towards_first,
    true_matches,
)
from experiments.storage.identity import NO_EFFECT_BY_DEFAULT
from experiments.training.batch import TrainingBatch
from experiments.training.loss_function import LossFunction, Seen, first_axes, sequence_axes
from experiments.training.losses import Losses, Objective
from experiments.training.normalization import normalize
from experiments.training.numerics import bounded, length, masked_mean
from vggt_jax import VGGT, Predictions, VGGTConfig
from vggt_jax.matching import Matcher, normed

FEATURES = 64
"""Channels of the features that are matched."""
_TEMPERATURE = 0.07
_MATCHED_LAYER = 1
"""Which of the layers that the dense heads read has its tokens matched: neither first nor last, so that later global
attention can use what was found."""


@dataclass(frozen=True)
class PretrainingObjective:
    """Weights of the terms; a term of weight 0, or a part of ``supervised`` that is None, is not computed."""

    supervised: Objective = field(default_factory=Objective)
    """VGGT's losses."""
    match: float = 1.0
    """Weight of :func:`~experiments.pretraining.correspondence.matching_loss` of encoder and aggregator tokens."""
    token_points: float = 1.0
    """Weight of the distance between each patch token's point in the first camera's frame, which one linear map reads off the
    last layer, and the true one."""
    motion: float = field(default=0.0, metadata=NO_EFFECT_BY_DEFAULT)
    """Weight of the error of :func:`~experiments.pretraining.correspondence.affine_motion` towards the first view, which a
    linear map reads off the camera tokens of each layer after the one that is matched."""


def initial_helpers(
    config: VGGTConfig, seed: int, motion: bool = False, known: Matcher | None = None
) -> dict[str, Array]:
    """Linear maps from tokens to features and points, and the logarithms of the two temperatures.

    Args:
        config: of the model.
        seed: of what is drawn.
        motion: with the map that :attr:`PretrainingObjective.motion` needs.
        known: the matcher of a model that is trained on.
    """
    rng = np.random.default_rng(seed)

    def kernel(inputs: int, outputs: int) -> np.ndarray:
        return rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)

    drawn = {
        "encoder_features": kernel(config.width, FEATURES),
        "layer_features": kernel(2 * config.width, FEATURES),
        "log_temperatures": np.full(2, np.log(_TEMPERATURE)),
        "points": 0.1 * kernel(2 * config.width, 3),
        "points_bias": np.array([0.0, 0.0, 1.0]),
    }
    if motion:
        later = len(config.layers) - _MATCHED_LAYER - 1
        drawn["motion"] = 0.1 * np.stack([kernel(2 * config.width, 6) for _ in range(later)])
    if known is not None:
        drawn["layer_features"] = known.kernel
        drawn["log_temperatures"] = np.array([np.log(_TEMPERATURE), float(known.log_temperature)])
    return {name: jnp.asarray(value, jnp.float32) for name, value in drawn.items()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ForwardPass:
    """What one forward pass gives to the losses."""

    predictions: Predictions
    """What the heads say."""
    encoded: Float[Array, "b s p c"]
    """The encoder's patch tokens."""
    patches: Float[Array, "layers b s p c2"]
    """The aggregator's patch tokens after each layer that the heads read."""
    cameras: Float[Array, "layers b s c2"]
    """The camera tokens there."""


def forward(graphdef: nnx.GraphDef[VGGT], parts: Mapping[str, Any], images: Float[Array, "b s h w 3"]) -> ForwardPass:
    """A pass through the model of these parts (aggregator and heads by name)."""
    model = nnx.merge(graphdef, nnx.State(parts))
    size = images.shape[2], images.shape[3]
    encoded = model.aggregator.encode(images)
    layers = model.aggregator(encoded, size, layers=model.config.layers)
    patches = layers[..., model.config.patch_start :, :]
    return ForwardPass(model.read(layers, size), encoded, patches, layers[..., 0, :])


def pretraining_loss(graphdef: nnx.GraphDef[VGGT], objective: PretrainingObjective, patch: int) -> LossFunction:
    """The loss of parameters {"model": the trained parts by name, "helpers": ...}; frozen are the other parts.

    ``patch`` is the side of the model's patches in pixels.
    """

    def predict(params: Mapping[str, Any], frozen: Mapping[str, Any], seen: Seen) -> ForwardPass:
        return forward(graphdef, {**frozen, **params["model"]}, seen.images)

    def judge(outputs: ForwardPass, batch: TrainingBatch, params: Mapping[str, Any]) -> tuple[Array, Losses]:
        batch = normalize(batch)
        total, terms = objective.supervised(outputs.predictions, batch)
        truth = true_matches(batch, patch) if objective.match or objective.motion else None
        if objective.match:
            assert truth is not None
            found = matching(params["helpers"], outputs, batch, patch, truth)
            total = total + objective.match * (found["loss_match"] + found["loss_match_encoder"])
            terms |= found
        if objective.token_points:
            terms["loss_token_points"] = _token_points(params["helpers"], outputs.patches[-1], batch, patch)
            total = total + objective.token_points * terms["loss_token_points"]
        if objective.motion:
            assert truth is not None
            terms["loss_motion"] = _motion(params["helpers"]["motion"], outputs.cameras, truth, batch.image_size, patch)
            total = total + objective.motion * terms["loss_motion"]
        return total, terms

    return LossFunction(predict, judge, _axes)


def _axes(outputs: ForwardPass) -> ForwardPass:
    axes: Any = first_axes(outputs)
    return replace(axes, predictions=sequence_axes(outputs.predictions), patches=1, cameras=1)


def matching(
    helpers: Mapping[str, Array],
    outputs: ForwardPass,
    batch: TrainingBatch,
    patch: int,
    truth: Matches | None = None,
) -> Losses:
    """Losses and shares of found tokens, of encoder and aggregator; ``batch`` is normalised, ``truth`` its matches if known."""
    truth = true_matches(batch, patch) if truth is None else truth
    height, width = batch.image_size
    grid = (height // patch, width // patch)
    temperatures = jnp.exp(helpers["log_temperatures"])
    of_encoder = normed(outputs.encoded) @ helpers["encoder_features"]
    of_layer = matcher(helpers).features(outputs.patches)
    encoder_loss, encoder_share = matching_loss(of_encoder, truth, grid, temperatures[0])
    layer_loss, layer_share = matching_loss(of_layer, truth, grid, temperatures[1])
    return {
        "loss_match": layer_loss,
        "loss_match_encoder": encoder_loss,
        "matched": layer_share,
        "matched_encoder": encoder_share,
        "matched_in_place": share_in_place(truth, grid),
    }


def matcher(helpers: Mapping[str, Array]) -> Matcher:
    """The helper that is worth keeping: it finds the aggregator's tokens in other views."""
    return Matcher(helpers["layer_features"], helpers["log_temperatures"][1], _MATCHED_LAYER)


def _motion(
    kernels: Float[Array, "later c2 6"],
    cameras: Float[Array, "layers b s c2"],
    truth: Matches,
    size: tuple[int, int],
    patch: int,
) -> Float[Array, ""]:
    there = towards_first(truth)
    motion, counts = affine_motion(there, (size[0] // patch, size[1] // patch))
    found = jnp.einsum("lbsc,lcf->lbsf", normed(cameras[-len(kernels) :, :, 1:]), kernels)
    error = jnp.abs(found - motion).sum(axis=-1)
    return masked_mean(bounded(error), jnp.broadcast_to(counts, error.shape))


def _token_points(
    helpers: Mapping[str, Array], tokens: Float[Array, "b s p c2"], batch: TrainingBatch, patch: int
) -> Float[Array, ""]:
    found = normed(tokens) @ helpers["points"] + helpers["points_bias"]
    place = slice(patch // 2, None, patch)
    assert batch.world_points is not None  # as it is normalised
    truth = batch.world_points[:, :, place, place].reshape(found.shape)
    return masked_mean(bounded(length(found - truth)), batch.point_masks[:, :, place, place].reshape(found.shape[:3]))
