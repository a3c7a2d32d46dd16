"""One training step of k adapters on one shared base: a pure function from state and batch to state and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from experiments.training.batch import TrainingBatch
from experiments.training.losses import Losses, Objective
from experiments.training.normalization import normalize
from vggt_jax.adapters import Maker

Params = Any
"""A pytree of arrays, what one adapter trains."""
Frozen = Any
"""A pytree of arrays that all adapters share and nobody trains."""
LossFunction = Callable[[Params, Frozen, TrainingBatch], tuple[Float[Array, ""], Losses]]
"""(one adapter's numbers, frozen ones, its batch in the data's units) → what to minimise, and terms to log."""
Metrics = dict[str, Shaped[Array, " k"]]
Step = Callable[["TrainingState", Frozen, TrainingBatch], tuple["TrainingState", Metrics]]
"""What training is made of, see :func:`training_step`."""


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

    def loss(params: Params, frozen: AdaptedBase, batch: TrainingBatch) -> tuple[Array, Losses]:
        batch = normalize(batch)
        model = nnx.merge(graphdef, frozen.base)
        deltas = frozen.maker.deltas(params)
        predictions = model(batch.images, deltas=deltas, patch_tokens=batch.patch_tokens)
        with jax.named_scope("loss"):
            return objective(predictions, batch)

    return loss


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


def training_step(loss: LossFunction, optimizer: optax.GradientTransformation) -> Step:
    """The step of k adapters, each with its own numbers, moments, norm clipping and batch; to be compiled by ``jit``.

    An adapter whose loss or gradient is not finite keeps its numbers and moments in this step, and is counted; the others
    go on. Metrics are the loss, its terms, the gradient's norm before clipping, and skipped steps, in all and in a row.
    """

    def one(params: Params, moments: Any, frozen: Frozen, batch: TrainingBatch) -> tuple[Params, Any, Bool, Losses]:
        (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(params, frozen, batch)
        with jax.named_scope("optimizer"):
            norm = optax.tree.norm(jax.tree.leaves(gradients))
            is_finite = jnp.isfinite(value) & jnp.isfinite(norm)
            updates, new_moments = optimizer.update(gradients, moments, params)
            updated = (optax.apply_updates(params, updates), new_moments)
            kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), updated, (params, moments))
        return *kept, is_finite, {"loss": value, **terms, "gradient_norm": norm}

    def step(state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[TrainingState, Metrics]:
        params, moments, is_finite, metrics = jax.vmap(one, in_axes=(0, 0, None, 0))(
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

    return step
