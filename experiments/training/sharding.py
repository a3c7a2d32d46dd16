"""Where arrays live: one code path from one device to many, and with ``jax.distributed`` to many hosts.

The mesh has three axes. ``adapter`` splits the k adapters, ``data`` the sequences of each adapter's batch, ``model`` the
base's large matrices. Along the first two every device runs the program of one device on its own part, and what it predicts
is judged together (:mod:`experiments.training.division`); along ``model`` XLA adds the communication. A CPU that is one
device trains its adapters :mod:`side by side <experiments.training.side_by_side>`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.process.mesh_sizes import MeshSizes
from experiments.training.batch import TrainingBatch
from experiments.training.loss_function import Frozen, Params
from experiments.training.side_by_side import SideBySide
from experiments.training.step import TrainingState, TrainingStep
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
        raise InputError(
            f"mesh: sizes must be at least 1, got adapter {adapter}, data {data}, model {model}", argument="mesh"
        )
    data = max(1, len(devices) // (adapter * model)) if data is None else data
    if adapter * data * model != len(devices):
        raise InputError(
            f"mesh: adapter {adapter} × data {data} × model {model} = {adapter * data * model}, "
            f"but there are {len(devices)} devices",
            argument="mesh",
        )
    return Mesh(np.asarray(devices).reshape(adapter, data, model), ("adapter", "data", "model"))


def choose_mesh(
    wanted: MeshSizes | None,
    *,
    adapters: int = 1,
    sequences: Collection[int] = (1,),
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """The mesh that is wanted, or one that keeps as many devices busy as have something to do.

    Args:
        wanted: its sizes; None for as many devices along ``adapter`` as the adapters allow, and then along ``data``.
        adapters: k.
        sequences: numbers of sequences that batches may have.
        devices: default: all of the job.

    Raises InputError where adapters or sequences cannot be shared evenly, or devices would be left over. Without a wish, a
    single process may leave devices idle.
    """
    devices = jax.devices() if devices is None else devices
    if wanted is None:
        wanted = _busiest(adapters, sequences, len(devices))
        if jax.process_count() == 1:
            devices = devices[: wanted.devices]
        elif wanted.devices < len(devices):
            raise InputError(
                f"mesh: {len(devices)} devices cannot share {adapters} adapter(s) with batches of "
                f"{_listed(sequences)} sequences; {wanted} would be the largest mesh, for {wanted.devices} devices",
                argument="mesh",
            )
    if adapters < wanted.adapter:
        raise InputError(f"mesh: adapter:{wanted.adapter} has nothing to do for {adapters} adapter(s)", argument="mesh")
    if uneven := [count for count in sequences if count % wanted.data]:
        raise InputError(
            f"mesh: batches of {_listed(uneven)} sequences cannot be shared evenly by data:{wanted.data}",
            argument="mesh",
        )
    return make_mesh(adapter=wanted.adapter, data=wanted.data, model=wanted.model, devices=devices)


def _busiest(adapters: int, sequences: Collection[int], devices: int) -> MeshSizes:
    """The mesh that is through with all adapters first, and of such ones that with the most along ``adapter``."""
    shared = math.gcd(*sequences)
    found = [
        MeshSizes(adapter, data)
        for adapter in range(1, min(adapters, devices) + 1)
        for data in range(1, devices // adapter + 1)
        if shared % data == 0
    ]
    return min(found, key=lambda sizes: (math.ceil(adapters / sizes.adapter) / sizes.data, sizes.data))


def _listed(numbers: Collection[int]) -> str:
    return " or ".join(map(str, sorted(set(numbers))))


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

    def sequences(self, array: np.ndarray) -> jax.Array:
        """An array (B, ...) split by sequences alone."""
        return _put(array, NamedSharding(self.mesh, PartitionSpec("data")))

    def views(self, images: np.ndarray) -> jax.Array:
        """The pictures of a scene (1, S, ...) split by views."""
        return _put(images, NamedSharding(self.mesh, PartitionSpec(None, "data")))

    def shape_of_views(self, images: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        """An abstract array in the place of what :meth:`views` would give."""
        return _shape(images, NamedSharding(self.mesh, PartitionSpec(None, "data")))

    def shapes_of_frozen(self, frozen: Frozen) -> Frozen:
        """Abstract arrays in the place of what :meth:`frozen` would give."""
        return jax.tree.map_with_path(lambda path, leaf: _shape(leaf, self._weight(path, leaf.shape)), frozen)

    def shapes(self, state: TrainingState, frozen: Frozen, batch: TrainingBatch) -> tuple[Any, Any, Any]:
        """Abstract arrays in the place of what :meth:`state`, :meth:`frozen` and :meth:`batch` would give."""
        of_batch = NamedSharding(self.mesh, PartitionSpec("adapter", "data"))
        return (
            jax.tree.map(_shape, state, self.of_state(state)),
            self.shapes_of_frozen(frozen),
            jax.tree.map(lambda leaf: _shape(leaf, of_batch), batch),
        )

    def params(self, state: TrainingState) -> Params:
        """What is trained, where :meth:`state` puts it."""
        return jax.tree.map(_put, state.params, self.of_state(state).params)

    @property
    def is_of_cpus(self) -> bool:
        """Whether the devices are CPUs."""
        return self.mesh.devices.flat[0].platform == "cpu"

    @property
    def is_one_cpu(self) -> bool:
        """Whether all is done by a CPU that is one device."""
        return self.mesh.size == 1 and self.is_of_cpus

    def compile(self, step: TrainingStep, state: TrainingState) -> Any:
        """``step`` under ``jit``: results stay where the state is, whose memory is reused.

        Several adapters on a CPU that is one device are not one program, but one each.
        """
        k = state.skipped.shape[0]
        if k > 1 and self.is_one_cpu:
            return SideBySide(jax.jit(step), k)
        if self.mesh.shape["data"] > 1:
            step = replace(step, division=replace(step.division, axis="data"))
        adapters, everywhere = PartitionSpec("adapter"), PartitionSpec()
        of_state: Any = jax.tree.map(lambda _: adapters, state)
        of_state = replace(of_state, step=everywhere)
        of_each = self.on_each(step, (of_state, everywhere, PartitionSpec("adapter", "data")), (of_state, adapters))
        metrics = NamedSharding(self.mesh, everywhere)
        return jax.jit(of_each, donate_argnums=0, out_shardings=(self.of_state(state), metrics))

    def on_each(self, function: Callable[..., Any], inputs: Any, outputs: Any) -> Callable[..., Any]:
        """``function``, run by each device on its own adapters and sequences; to be compiled by ``jit``.

        Only ``model`` may be left to XLA, which knows no way to split a GPU's fused attention, and miscomputes ``vmap`` of a
        1×1 convolution over pairs of image and kernel that are split along the mapped axis (jax 0.10.2).

        Args:
            function: of arrays with the adapters in front.
            inputs: how its arguments are split along ``adapter`` and ``data``.
            outputs: the same for its results.
        """
        if self.mesh.size == 1:
            return function
        own = {axis for axis, size in self.mesh.shape.items() if axis != "model" or size == 1}
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=inputs, out_specs=outputs, axis_names=own, check_vma=False
        )

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
            raise InputError(
                f"mesh: {count} {what} cannot be split over {axis} = {self.mesh.shape[axis]} devices", argument="mesh"
            )


def _shape(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """``leaf`` on the devices of the sharding; of several processes, each hands over its own devices' part.

    Where it lies there already, its sharding is told by the mesh all the same, as that of a step's results is: a step's
    second call would otherwise be compiled again.
    """
    if isinstance(leaf, jax.Array):
        if sharding.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        if leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
            return leaf
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])
