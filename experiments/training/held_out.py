"""Losses on scenes that training does not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.dataset import training_arrays
from experiments.training.batch import TrainingBatch
from experiments.training.sampling import Encode
from experiments.training.step import Frozen, LossFunction, TrainingState


class HeldOutLoss:
    """State of training and batches → loss and its terms of every adapter on each of the batches, (k, batches).

    Args:
        loss: of one adapter; it is compiled once for each shape of the batches.
        frozen: what the adapters share.
    """

    def __init__(self, loss: LossFunction, frozen: Frozen):
        self._frozen = frozen

        @jax.jit
        def measure(params: Any, frozen: Frozen, batch: TrainingBatch) -> dict[str, jax.Array]:
            values, terms = jax.vmap(loss, in_axes=(0, None, 0))(params, frozen, batch)
            return {"loss": values, **terms}

        self._measure = measure

    def prepare(self, state: TrainingState, batch: TrainingBatch) -> None:
        """Compile what a call with arrays of these shapes needs."""
        self._measure.lower(_on_one_device(state), self._frozen, batch).compile()

    def __call__(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> dict[str, np.ndarray]:
        """``batches`` are each for all adapters (k, B, S, ...), as :func:`evenly_spaced` makes them; at least one."""
        params = _on_one_device(state)
        each = [jax.device_get(self._measure(params, self._frozen, batch)) for batch in batches]
        return {name: np.stack([values[name] for values in each], axis=1) for name in each[0]}


def _on_one_device(state: TrainingState) -> Any:
    """What is trained, where the held-out loss is computed."""
    return jax.device_put(state.params, jax.devices()[0])


def evenly_spaced(scenes: Sequence[Any], views: int, encode: Encode | None) -> TrainingBatch:
    """One sequence of evenly spaced views of each adapter's scene, (k, 1, S, ...); raises what reading a scene does.

    Args:
        scenes: one for each of the k adapters, such as :class:`experiments.data.dataset.StoredScene`.
        views: S.
        encode: adds the frozen encoder's tokens.
    """
    loaded = [scene.load(np.linspace(0, scene.num_views, views, endpoint=False).astype(int)) for scene in scenes]
    arrays = {name: jnp.asarray(value[:, None]) for name, value in training_arrays(loaded).items()}
    tokens = None
    if encode is not None:
        found = encode(np.concatenate([each.images for each in loaded]))
        tokens = jnp.asarray(found.reshape(len(scenes), 1, views, *found.shape[1:]))
    return TrainingBatch(**arrays, patch_tokens=tokens)
