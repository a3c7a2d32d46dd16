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
    """State of training → loss and its terms of every adapter on each of its batches, (k, batches).

    Args:
        loss: of one adapter; it is compiled once for each shape of the batches.
        frozen: what the adapters share.
        batches: each for all adapters (k, B, S, ...), as :func:`evenly_spaced` makes them.
    """

    def __init__(self, loss: LossFunction, frozen: Frozen, batches: Sequence[TrainingBatch]):
        self._frozen, self._batches = frozen, list(batches)

        @jax.jit
        def measure(params: Any, frozen: Frozen, batch: TrainingBatch) -> dict[str, jax.Array]:
            values, terms = jax.vmap(loss, in_axes=(0, None, 0))(params, frozen, batch)
            return {"loss": values, **terms}

        self._measure = measure

    def __call__(self, state: TrainingState) -> dict[str, np.ndarray]:
        params = jax.device_put(state.params, jax.devices()[0])
        each = [jax.device_get(self._measure(params, self._frozen, batch)) for batch in self._batches]
        return {name: np.stack([values[name] for values in each], axis=1) for name in each[0]}


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
