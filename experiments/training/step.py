"""One training step of k adapters on one shared base: a pure function from state and batch to state and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int, Shaped

from experiments.training.batch import TrainingBatch
from experiments.training.division import Division
from experiments.training.loss_function import Frozen, LossFunction, Params, Seen, judged_by, sequence_axes
from experiments.training.losses import Losses, Objective
from vggt_jax import Predictions
from vggt_jax.adapters import Maker

Metrics = dict[str, Shaped[Array, " k"]]
Step = Callable[["TrainingState", Frozen, TrainingBatch], tuple["TrainingState", Metrics]]
"""What training is made of, see :class:`TrainingStep`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainingState:
    """Everything that changes in training; every leaf but ``step`` has the adapters' axis k in front."""

    step: Int[Array, ""]
    """Steps taken, skipped ones included."""
    params: Params
    """What is trained."""
    optimizer: Any
    """Moments and the count of steps that were not skipped, which the learning rate follows."""
    skipped: Int[Array, " k"]
    """Steps without an update so far, as loss or gradient were not finite."""
    skipped_in_a_row: Int[Array, " k"]
    """The same since the last update."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdaptedBase:
    """What k adapters share."""

    base: nnx.State
    """Parameters of the model."""
    maker: Maker
    """From an adapter's numbers to updates of the weights."""


def adapter_loss(graphdef: nnx.GraphDef, objective: Objective) -> LossFunction:
    """The objective of a base model (``graphdef`` and the parameters in :class:`AdaptedBase`) with an adapter."""

    def predict(params: Params, frozen: AdaptedBase, seen: Seen) -> Predictions:
        model = nnx.merge(graphdef, frozen.base)
        return model(seen.images, deltas=frozen.maker.deltas(params), patch_tokens=seen.patch_tokens)

    return LossFunction(predict, judged_by(objective), sequence_axes)


def start(params: Params, optimizer: optax.GradientTransformation) -> TrainingState:
    """The state before the first step. ``params`` have the adapters' axis in front."""
    k = jax.tree.leaves(params)[0].shape[0]
    return TrainingState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        optimizer=jax.vmap(optimizer.init)(params),
        skipped=jnp.zeros(k, jnp.int32),
        skipped_in_a_row=jnp.zeros(k, jnp.int32),
    )


@dataclass(frozen=True)
class TrainingStep:
    """The step of k adapters, each with its own numbers, moments, norm clipping and batch; to be compiled by ``jit``.

    An adapter whose loss or gradient is not finite keeps its numbers and moments in this step, and is counted; the others
    go on. Metrics are the loss, its terms, the gradient's norm before clipping, and skipped steps, in all and in a row.
    """

    loss: LossFunction
    """What each adapter minimises."""
    optimizer: optax.GradientTransformation
    """What follows the gradients of one adapter."""
    division: Division = field(default_factory=Division)
    """How the sequences of a batch are divided; the step's results do not depend on it beyond rounding."""
    __name__ = "step"  # of the program in profiles

    def __call__(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
        params, moments, is_finite, metrics = jax.vmap(self._one, in_axes=(0, 0, None, 0))(
            state.params, state.optimizer, frozen, batch
        )
        state = TrainingState(
            step=state.step + 1,
            params=params,
            optimizer=moments,
            skipped=state.skipped + ~is_finite,
            skipped_in_a_row=jnp.where(is_finite, 0, state.skipped_in_a_row + 1),
        )
        return state, {**metrics, "skipped": state.skipped, "skipped_in_a_row": state.skipped_in_a_row}

    def _one(
        self, params: Params, moments: Any, frozen: Frozen, batch: TrainingBatch
    ) -> tuple[Params, Any, Bool[Array, ""], Losses]:
        loss = self.division.of(self.loss)
        (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(params, frozen, batch)
        gradients = self.division.summed(gradients)
        with jax.named_scope("optimizer"):
            norm = optax.tree.norm(jax.tree.leaves(gradients))
            is_finite = jnp.isfinite(value) & jnp.isfinite(norm)
            updates, new_moments = self.optimizer.update(gradients, moments, params)
            updated = (optax.apply_updates(params, updates), new_moments)
            kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), updated, (params, moments))
        return *kept, is_finite, {"loss": value, **terms, "gradient_norm": norm}
