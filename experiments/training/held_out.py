"""Losses on scenes that training does not see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from experiments.data.observations import LoadableScene, ViewReader, stacked
from experiments.process.cores import available_cores
from experiments.training.batch import TrainingBatch
from experiments.training.held_out_errors import MEAN_DEPTH
from experiments.training.loop import Diverged
from experiments.training.loss_function import Frozen, LossFunction
from experiments.training.sampling import Encode
from experiments.training.sharding import Placement
from experiments.training.step import TrainingState
from subspace.errors import InputError


class HeldOutLoss:
    """State of training and batches → loss and its terms of every adapter on each of the batches, (k, batches).

    A device measures its adapters one after the other: one program for several would need the memory of all, and grouped
    convolutions. Devices along ``data`` share the batches. A program of so few views keeps one core busy, so that a CPU runs
    as many at a time as it has cores.

    Args:
        loss: of one adapter; it is compiled once for each shape of its batches.
        frozen: what the adapters share.
        placement: where the arrays live.
    """

    def __init__(self, loss: LossFunction, frozen: Frozen, placement: Placement):
        self._one_by_one = _OnCores(loss, frozen) if placement.is_one_cpu else _OnDevices(loss, frozen, placement)

    def prepare(self, state: TrainingState, batch: TrainingBatch) -> None:
        """Compile what a call with arrays of these shapes needs."""
        self._one_by_one.prepare(state, batch)

    def __call__(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> dict[str, np.ndarray]:
        """``batches`` are each for all adapters (k, B, S, ...), as :func:`evenly_spaced` makes them; at least one."""
        return self._one_by_one(state, batches)


Measured = Mapping[str, Float[np.ndarray, "k scenes"]]
"""Loss, its terms and :mod:`experiments.training.held_out_errors` of k adapters on the held-out scenes of each."""
_SEEN = 1e-4
"""How far, relative to its mean, the mean depth of scenes differs at least where a model sees which one it is shown."""


def check_base(before: Measured, scenes: Sequence[Sequence[str]]) -> None:
    """Raises InputError that names the first scene, of those of each adapter, on which the base model's loss is not finite."""
    for loss, name in _not_finite(before, scenes):
        raise InputError(f"{name}: the base model's loss on this held-out scene is {loss}")


def check_trained(before: Measured, after: Measured, scenes: Sequence[Sequence[str]]) -> None:
    """Raises :class:`experiments.training.loop.Diverged` where training has left nothing of use.

    It names the first scene on which the loss is not finite, or says that the same is predicted of all scenes, which the base
    model did not.
    """
    for loss, name in _not_finite(after, scenes):
        raise Diverged(
            f"after training the loss on the held-out scene {name} is {loss}; a lower learning rate may help"
        )
    if MEAN_DEPTH in after and after[MEAN_DEPTH].shape[-1] > 1:
        seen, saw = (_differences(each[MEAN_DEPTH]) > _SEEN for each in (after, before))
        if np.any(saw & ~seen):
            raise Diverged(
                "after training the same depth is predicted of every held-out scene, whatever it shows; "
                "a lower learning rate may help"
            )


def _not_finite(found: Measured, scenes: Sequence[Sequence[str]]) -> Iterator[tuple[float, str]]:
    for own, names in zip(found["loss"], scenes, strict=True):
        yield from ((loss, name) for loss, name in zip(own, names, strict=True) if not np.isfinite(loss))


def _differences(depths: Float[np.ndarray, "k scenes"]) -> Float[np.ndarray, " k"]:
    apart, mean = np.ptp(depths, axis=-1), np.abs(depths.mean(axis=-1))
    return np.divide(apart, mean, out=np.zeros_like(apart), where=mean > 0)  # all depths may be 0


class _OnCores:
    """Every adapter and batch by itself, as many at a time as there are cores."""

    def __init__(self, loss: LossFunction, frozen: Frozen):
        self._frozen = frozen
        self._compiled: dict[Any, Any] = {}
        self._threads = ThreadPoolExecutor(len(available_cores()), "held_out")
        self._measure = _compilable(loss)

    def prepare(self, state: TrainingState, batch: TrainingBatch) -> None:
        self._program(_adapter(_on_one_device(state), 0), _adapter(batch, 0))

    def __call__(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> dict[str, np.ndarray]:
        k = len(state.skipped)
        params = _on_one_device(state)
        adapters = [_adapter(params, i) for i in range(k)]
        pairs = [(adapters[i], _adapter(batch, i)) for batch in batches for i in range(k)]
        programs = [self._program(*pair) for pair in pairs]

        def one(program: Any, pair: tuple[Any, TrainingBatch]) -> dict[str, np.ndarray]:
            return jax.device_get(program(pair[0], self._frozen, pair[1]))

        each = list(self._threads.map(one, programs, pairs))
        return {name: np.array([values[name] for values in each]).reshape(-1, k).T for name in each[0]}

    def _program(self, params: Any, batch: TrainingBatch) -> Any:
        """For a batch of this shape: compiled once, which threads that call a jitted function would not care for."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._measure.lower(params, self._frozen, batch).compile()
        return self._compiled[shapes]


class _OnDevices:
    """One program of all devices for as many batches of one shape as there are devices along ``data``."""

    def __init__(self, loss: LossFunction, frozen: Frozen, placement: Placement):
        self._placement, self._frozen = placement, frozen
        self._at_once = placement.mesh.shape["data"]
        split = PartitionSpec("adapter", "data")
        of_each = placement.on_each(_of_each_adapter(loss), (PartitionSpec("adapter"), PartitionSpec(), split), split)
        self._measure: Any = jax.jit(of_each, out_shardings=NamedSharding(placement.mesh, PartitionSpec()))

    def prepare(self, state: TrainingState, batch: TrainingBatch) -> None:
        self._measure.lower(*self._arguments(state, [batch])).compile()

    def __call__(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> dict[str, np.ndarray]:
        found = []
        for _, alike in groupby(batches, lambda batch: batch.images.shape):
            of_one_shape = list(alike)
            for first in range(0, len(of_one_shape), self._at_once):
                some = of_one_shape[first : first + self._at_once]
                values = jax.device_get(self._measure(*self._arguments(state, some)))
                found.append({name: each[:, : len(some)] for name, each in values.items()})
        return {name: np.concatenate([values[name] for values in found], axis=1) for name in found[0]}

    def _arguments(self, state: TrainingState, batches: Sequence[TrainingBatch]) -> tuple[Any, Frozen, TrainingBatch]:
        """The last batch is there several times where there are too few."""
        filled = [*batches, *[batches[-1]] * (self._at_once - len(batches))]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *filled)
        return self._placement.params(state), self._placement.frozen(self._frozen), self._placement.batch(stacked)


def _of_each_adapter(loss: LossFunction) -> Any:
    def measure(params: Any, frozen: Frozen, batches: TrainingBatch) -> dict[str, jax.Array]:
        """Arrays (k, ...) of parameters and (k, batches, B, S, ...) of batches."""

        def of_adapter(pair: tuple[Any, TrainingBatch]) -> dict[str, jax.Array]:
            return jax.lax.map(lambda batch: _values(loss, pair[0], frozen, batch), pair[1])

        return jax.lax.map(of_adapter, (params, batches))

    return measure


@lru_cache(maxsize=1)
def _compilable(loss: LossFunction) -> Any:
    """Jitted: the same for the same loss, so that JAX traces nothing again."""

    def measure(params: Any, frozen: Frozen, batch: TrainingBatch) -> dict[str, jax.Array]:
        return _values(loss, params, frozen, batch)

    return jax.jit(measure)


def _values(loss: LossFunction, params: Any, frozen: Frozen, batch: TrainingBatch) -> dict[str, jax.Array]:
    value, terms = loss(params, frozen, batch)
    return {"loss": value, **terms}


def _adapter(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[i], tree)


def _on_one_device(state: TrainingState) -> Any:
    """What is trained, where the held-out loss is computed."""
    return jax.device_put(state.params, jax.devices()[0])


def evenly_spaced(scenes: Sequence[LoadableScene], views: int, encode: Encode | None) -> TrainingBatch:
    """One sequence of evenly spaced views of each adapter's scene, (k, 1, S, ...), in the host's memory; raises what reading
    a scene does.

    Args:
        scenes: one for each of the k adapters, such as :class:`experiments.data.dataset.StoredScene`.
        views: S.
        encode: adds the frozen encoder's tokens.
    """
    spaced = [(scene, int(view)) for scene in scenes for view in np.linspace(0, scene.num_views, views, endpoint=False)]
    arrays: dict[str, Any] = stacked(ViewReader(memory_bytes=0)(spaced), len(scenes), 1, views)
    tokens: Any = None
    if encode is not None:
        pixels = arrays["images"]
        found = encode(pixels.reshape(-1, *pixels.shape[3:]))
        tokens = found.reshape(*pixels.shape[:3], *found.shape[1:])
    return TrainingBatch(**arrays, patch_tokens=tokens)
