"""Losses on scenes that training does not see."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.dataset import training_arrays
from experiments.process.cores import available_cores
from experiments.training.batch import TrainingBatch
from experiments.training.sampling import Encode
from experiments.training.step import Frozen, LossFunction, TrainingState


class HeldOutLoss:
    """State of training and batches → loss and its terms of every adapter on each of the batches, (k, batches).

    A program of so few scenes keeps one core busy, so that a CPU measures as many batches at a time as it has cores.

    Args:
        loss: of one adapter; it is compiled once for each shape of the batches.
        frozen: what the adapters share.
    """

    def __init__(self, loss: LossFunction, frozen: Frozen):
        self._frozen = frozen
        self._compiled: dict[Any, Any] = {}
        cores = len(available_cores()) if jax.devices()[0].platform == "cpu" else 1
        self._threads = ThreadPoolExecutor(cores, "held_out")
        self._measure = _of_all_adapters(loss)

    def prepare(self, state: TrainingState, batch: TrainingBatch) -> None:
        """Compile what a call with arrays of these shapes needs."""
        self._program(_on_one_device(state), batch)

    def __call__(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> dict[str, np.ndarray]:
        """``batches`` are each for all adapters (k, B, S, ...), as :func:`evenly_spaced` makes them; at least one."""
        params = _on_one_device(state)
        programs = [self._program(params, batch) for batch in batches]

        def one(program: Any, batch: TrainingBatch) -> dict[str, np.ndarray]:
            return jax.device_get(program(params, self._frozen, batch))

        each = list(self._threads.map(one, programs, batches))
        return {name: np.stack([values[name] for values in each], axis=1) for name in each[0]}

    def _program(self, params: Any, batch: TrainingBatch) -> Any:
        """For batches of this shape: compiled once, which threads that call a jitted function would not care for."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._measure.lower(params, self._frozen, batch).compile()
        return self._compiled[shapes]


@lru_cache(maxsize=1)
def _of_all_adapters(loss: LossFunction) -> Any:
    """Jitted: the same for the same loss, so that JAX traces nothing again."""

    def measure(params: Any, frozen: Frozen, batch: TrainingBatch) -> dict[str, jax.Array]:
        values, terms = jax.vmap(loss, in_axes=(0, None, 0))(params, frozen, batch)
        return {"loss": values, **terms}

    return jax.jit(measure)


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
