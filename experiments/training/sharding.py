"""Where arrays live: one code path from one device to many, and with ``jax.distributed`` to many hosts.

The mesh has three axes. ``adapter`` splits the k adapters, ``data`` the sequences of each adapter's batch, ``model`` the
base's large matrices. Computations are those of one device; XLA adds the communication. A CPU that is one device trains
its adapters :mod:`side by side <experiments.training.side_by_side>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.training.batch import TrainingBatch
from experiments.training.side_by_side import SideBySide
from experiments.training.step import Frozen, Step, TrainingState
from subspace.errors import InputError
from vggt_jax.deltas import dotted

_OUTPUTS_SPLIT = ("attn.qkv", "mlp.fc1")
"""Layers whose outputs are split over ``model``; that of their inputs then needs no communication ..."""
_INPUTS_SPLIT = ("attn.proj", "mlp.fc2")
"""... and these follow them, split by inputs, and add up what the devices found."""


def make_mesh(
    *, adapter: int = 1, data: int | None = None, model: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh of all ``devices`` (default: all of the job), with ``data`` as large as they allow unless given.

    Raises InputError where sizes and devices do not agree.
    """
    devices = jax.devices() if devices is None else devices
    if min(adapter, model, data or 1) < 1:
        raise InputError(f"mesh: sizes must be at least 1, got adapter {adapter}, data {data}, model {model}")
    data = max(1, len(devices) // (adapter * model)) if data is None else data
    if adapter * data * model != len(devices):
        raise InputError(
            f"mesh: adapter {adapter} × data {data} × model {model} = {adapter * data * model}, "
            f"but there are {len(devices)} devices"
        )
    return Mesh(np.asarray(devices).reshape(adapter, data, model), ("adapter", "data", "model"))


def weight_spec(path: str, shape: Sequence[int], model: int) -> PartitionSpec:
    """How the parameter at the dotted ``path`` is split over ``model`` devices; not at all if it does not divide."""
    layer, _, kind = path.rpartition(".")
    axes: list[str | None] = [None] * len(shape)
    if layer.endswith(_OUTPUTS_SPLIT) and kind in ("kernel", "bias"):
        axis = len(shape) - 1
    elif layer.endswith(_INPUTS_SPLIT) and kind == "kernel":
        axis = len(shape) - 2
    else:
        return PartitionSpec()
    if shape[axis] % model:
        return PartitionSpec()
    axes[axis] = "model"
    return PartitionSpec(*axes)


@dataclass(frozen=True)
class Placement:
    """Puts states, frozen arrays and batches on the devices of a mesh, and compiles a step for them."""

    mesh: Mesh
    """Devices along the axes ``adapter``, ``data`` and ``model``."""

    def frozen(self, frozen: Frozen) -> Frozen:
        """Shared arrays: large matrices of a model split over ``model``, the rest on every device."""
        return jax.tree.map_with_path(lambda path, leaf: _put(leaf, self._weight(path, leaf.shape)), frozen)

    def state(self, state: TrainingState) -> TrainingState:
        """The state split by adapters; where the model's own weights are trained, they are split as in :meth:`frozen`.

        Raises InputError if k is not a multiple of the ``adapter`` axis.
        """
        return jax.tree.map(_put, state, self.of_state(state))

    def of_state(self, state: TrainingState) -> TrainingState:
        """The sharding of each leaf of ``state`` (arrays or their shapes)."""
        self._check("adapters", state.skipped.shape[0], "adapter")

        def sharding(path: Any, leaf: Any) -> NamedSharding:
            return NamedSharding(self.mesh, PartitionSpec("adapter", *self._weight(path, leaf.shape[1:]).spec))

        everywhere = NamedSharding(self.mesh, PartitionSpec())
        return replace(jax.tree.map_with_path(sharding, replace(state, step=state.skipped)), step=everywhere)

    def batch(self, batch: TrainingBatch) -> TrainingBatch:
        """A batch of NumPy arrays (k, B, S, ...), the same on every host, split by adapters and sequences.

        Raises InputError if k or B is not a multiple of its axis.
        """
        k, b = batch.images.shape[:2]
        self._check("adapters", k, "adapter")
        self._check("sequences of a batch", b, "data")
        sharding = NamedSharding(self.mesh, PartitionSpec("adapter", "data"))
        return jax.tree.map(lambda leaf: _put(leaf, sharding), batch)

    def shapes(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[Any, Any, Any]:
        """Abstract arrays in the place of what :meth:`state`, :meth:`frozen` and :meth:`batch` would give."""
        of_batch = NamedSharding(self.mesh, PartitionSpec("adapter", "data"))
        return (
            jax.tree.map(_shape, state, self.of_state(state)),
            jax.tree.map_with_path(lambda path, leaf: _shape(leaf, self._weight(path, leaf.shape)), frozen),
            jax.tree.map(lambda leaf: _shape(leaf, of_batch), batch),
        )

    def compile(self, step: Step, state: TrainingState) -> Any:
        """``step`` under ``jit``: results stay where the state is, whose memory is reused.

        Several adapters on a CPU that is one device are not one program, but one each.

        Along ``adapter`` every device runs the step on its own adapters, as they have nothing to tell each other; the
        other axes are XLA's. Were this axis XLA's, too, 1×1 convolutions would come out wrong: jax 0.10.2 miscomputes
        ``vmap`` of one over pairs of image and kernel that are split along the mapped axis.
        """
        k = state.skipped.shape[0]
        if k > 1 and self.mesh.size == 1 and self.mesh.devices.item().platform == "cpu":
            return SideBySide(jax.jit(step), k)
        adapters, shared = PartitionSpec("adapter"), PartitionSpec()
        of_state: Any = jax.tree.map(lambda _: adapters, state)
        of_state = replace(of_state, step=shared)
        of_each = jax.shard_map(
            step,
            mesh=self.mesh,
            in_specs=(of_state, shared, adapters),
            out_specs=(of_state, adapters),
            axis_names={"adapter"},
            check_vma=False,
        )
        metrics = NamedSharding(self.mesh, shared)
        return jax.jit(of_each, donate_argnums=0, out_shardings=(self.of_state(state), metrics))

    def prepare(self, compiled: Any, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> None:
        """Compile what :meth:`compile` returned for arrays of these shapes, so that its first call need not."""
        arguments = self.state(state), self.frozen(frozen), self.batch(batch)
        if isinstance(compiled, SideBySide):
            compiled.prepare(*arguments)
        else:
            compiled.lower(*arguments).compile()

    def _weight(self, path: Any, shape: Sequence[int]) -> NamedSharding:
        return NamedSharding(self.mesh, weight_spec(dotted(path), shape, self.mesh.shape["model"]))

    def _check(self, what: str, count: int, axis: str) -> None:
        if count % self.mesh.shape[axis]:
            raise InputError(f"mesh: {count} {what} cannot be split over {axis} = {self.mesh.shape[axis]} devices")


def _shape(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """``leaf`` on the devices of the sharding; of several processes, each hands over its own devices' part."""
    if isinstance(leaf, jax.Array) and sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])
