"""A batch that goes through the model part by part, or on several devices, and is judged as a whole.

Losses, gradients and everything that follows are those of the undivided batch, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.training.batch import TrainingBatch
from experiments.training.loss_function import Frozen, LossFunction, Params, Seen
from experiments.training.losses import Losses

Loss = Callable[[Params, Frozen, TrainingBatch], tuple[Float[Array, ""], Losses]]


@dataclass(frozen=True)
class Division:
    """How the sequences of a batch are divided."""

    accumulate: int | None = None
    """Sequences that a device takes through the model at a time (at most; parts are of one size); None for all.

    Only what is predicted is kept of a part, so that the backward pass takes each through the model once more.
    """
    axis: str | None = None
    """Axis of the mesh whose devices share the batch, each with its own sequences, inside a ``shard_map``; None for one."""

    def of(self, loss: LossFunction) -> Loss:
        """``loss``, for the device's own sequences; of several devices, all return the whole batch's value."""
        if self == Division():
            return loss

        def divided(params: Params, frozen: Frozen, batch: TrainingBatch) -> tuple[Array, Losses]:
            predicted = self._predicted(loss, params, frozen, Seen.of(batch))
            if self.axis is None:
                return loss.judge(predicted, batch, params)
            predicted = jax.tree.map(partial(_gathered, self.axis), loss.axes(predicted), predicted)
            batch = jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, self.axis, tiled=True), batch)
            return loss.judge(predicted, batch, _judged_by_all(self.axis, params))

        return divided

    def summed(self, gradients: Params) -> Params:
        """The gradients of the whole batch, from those that :func:`jax.grad` found on each device."""
        return gradients if self.axis is None else jax.lax.psum(gradients, self.axis)

    def _predicted(self, loss: LossFunction, params: Params, frozen: Frozen, seen: Seen) -> Any:
        count = len(seen.images)
        size = part_size(count, self.accumulate)
        if size == count:
            return loss.predict(params, frozen, seen)
        parts = jax.tree.map(lambda leaf: leaf.reshape(count // size, size, *leaf.shape[1:]), seen)
        one = jax.checkpoint(lambda part: loss.predict(params, frozen, part), prevent_cse=False)  # map is a scan
        predicted = jax.lax.map(one, parts)

        def joined(axis: int, leaf: Array) -> Array:
            shape = leaf.shape[1:]
            return jnp.moveaxis(leaf, 0, axis).reshape(*shape[:axis], count, *shape[axis + 1 :])

        return jax.tree.map(joined, loss.axes(predicted), predicted)


def part_size(sequences: int, accumulate: int | None) -> int:
    """The largest number that divides ``sequences`` and is at most ``accumulate``."""
    most = sequences if accumulate is None else min(accumulate, sequences)
    return max(size for size in range(1, most + 1) if sequences % size == 0)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gathered(name: str, axis: int, own: Array) -> Array:
    """Every device's array, joined along ``axis``.

    All devices compute the same from it, so that a device's own part of the cotangent is what the others found, too, and is
    not to be added up.
    """
    return jax.lax.all_gather(own, name, axis=axis, tiled=True)


def _gathered_forward(name: str, axis: int, own: Array) -> tuple[Array, None]:
    return _gathered(name, axis, own), None


def _gathered_backward(name: str, axis: int, _: None, cotangent: Array) -> tuple[Array]:
    size = cotangent.shape[axis] // jax.lax.axis_size(name)
    return (jax.lax.dynamic_slice_in_dim(cotangent, jax.lax.axis_index(name) * size, size, axis),)


_gathered.defvjp(_gathered_forward, _gathered_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _judged_by_all(name: str, params: Params) -> Params:
    """Numbers that all devices use in the same way: each gives its share to the sum of gradients over devices."""
    return params


def _judged_by_all_forward(name: str, params: Params) -> tuple[Params, None]:
    return params, None


def _judged_by_all_backward(name: str, _: None, cotangent: Params) -> tuple[Params]:
    return (jax.tree.map(lambda leaf: leaf / jax.lax.axis_size(name), cotangent),)


_judged_by_all.defvjp(_judged_by_all_forward, _judged_by_all_backward)
