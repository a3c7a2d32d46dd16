"""What training minimises, in the two parts that let a batch be divided: predictions of each sequence, and what judges all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
from jaxtyping import Array, Float

from experiments.training.batch import TrainingBatch
from experiments.training.losses import Losses, Objective
from experiments.training.normalization import in_unit_interval, normalize
from vggt_jax import Predictions

Params = Any
"""A pytree of arrays, what one adapter trains."""
Frozen = Any
"""A pytree of arrays that all adapters share and nobody trains."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Seen:
    """What a model sees of a batch."""

    images: Float[Array, "b s h w 3"]
    """RGB in [0, 1]."""
    patch_tokens: Float[Array, "b s p c"] | None = None
    """The frozen encoder's tokens of ``images``, where they are known."""

    @classmethod
    def of(cls, batch: TrainingBatch) -> Seen:
        """The images of a batch, and their tokens."""
        return cls(in_unit_interval(batch.images), batch.patch_tokens)


def first_axes(predicted: Any) -> Any:
    """For predictions whose sequences lie along the first axis of every array."""
    return jax.tree.map(lambda _: 0, predicted)


@dataclass(frozen=True)
class LossFunction:
    """(one adapter's numbers, frozen ones, its batch in the data's units) → what to minimise, and terms to log.

    Sequences of a batch do not see each other until they are judged together: VGGT's losses choose outliers and count pixels
    among all of them. So a batch may go through the model part by part, or on several devices, but is judged as a whole
    (:class:`experiments.training.division.Division`).
    """

    predict: Callable[[Params, Frozen, Seen], Any]
    """(one adapter's numbers, frozen ones, some sequences) → a pytree of what is predicted of each."""
    judge: Callable[[Any, TrainingBatch, Params], tuple[Float[Array, ""], Losses]]
    """(predictions of all sequences, their batch, one adapter's numbers) → what to minimise, and terms to log."""
    axes: Callable[[Any], Any] = first_axes
    """Predictions → the axis of each array along which the sequences lie."""

    def __call__(self, params: Params, frozen: Frozen, batch: TrainingBatch) -> tuple[Float[Array, ""], Losses]:
        return self.judge(self.predict(params, frozen, Seen.of(batch)), batch, params)


def judged_by(objective: Objective) -> Callable[[Predictions, TrainingBatch, Params], tuple[Array, Losses]]:
    """The objective of a model's predictions, for batches in the data's units."""

    def judge(predictions: Predictions, batch: TrainingBatch, params: Params) -> tuple[Array, Losses]:
        batch = normalize(batch)
        with jax.named_scope("loss"):
            return objective(predictions, batch)

    return judge


def sequence_axes(predictions: Predictions) -> Predictions:
    """Where the sequences lie in each of a model's predictions."""
    later: Any = {name: 1 for name in ("pose_enc_list", "track_list") if getattr(predictions, name) is not None}
    return replace(first_axes(predictions), **later)
