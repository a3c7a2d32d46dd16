"""The real training step of adapters, compiled for a chip that need not be there: by JAX's plugins, on any CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
from jax.experimental import topologies

from experiments.accelerators.adapter_step import AdapterStep, batch_shapes, lora
from experiments.accelerators.chips import Chip
from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import Kernel, kernels
from experiments.process.mesh_sizes import MeshSizes
from experiments.training.sharding import Placement, make_mesh
from subspace.errors import InputError
from vggt_jax import VGGTConfig

INSTALL = "pip install -e '.[plan]'"
OPTIONS: dict[str, dict[str, Any]] = {"cuda": {"xla_gpu_enable_triton_gemm": False}}
"""For chips that are not here. Products go to cuBLAS: to choose among Triton's, XLA must try them on the chip."""
_PLUGINS = {"cuda": "jax_plugins.xla_cuda13", "tpu": "libtpu"}


class TooLarge(Exception):
    """The compiler refuses a program that does not fit the chip's memory, which it does for TPUs alone."""


@dataclass(frozen=True, kw_only=True)
class StepProgram:
    """A LoRA step, as it is compiled."""

    config: VGGTConfig
    """The model, with its types and what it recomputes."""
    rank: int
    """r of the adapters."""
    sequences: int
    """Sequences of each adapter's batch."""
    views: int
    """Pictures of each sequence."""
    side: int
    """Width and height of the pictures in pixels."""
    adapters: int = 1
    """Adapters in one program."""
    accumulate: int | None = None
    """Sequences that go through the model at a time; None for all."""

    @property
    def tokens(self) -> int:
        """Of one picture."""
        return (self.side // self.config.patch_size) ** 2 + self.config.patch_start


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program."""

    peak: int
    """Bytes that a device holds at once, arguments included."""
    arguments: int
    """Of these the step's arguments: model, state and batch."""
    cpu_s: float
    """Processor time of compilation, which other programs change less than its duration."""
    kernels: tuple[Kernel, ...]
    """Everything that one step launches on one device."""
    text: str
    """The optimised program."""


def topology(chip: Chip, devices: int = 1) -> Sequence[Any]:
    """So many devices that can be compiled for.

    Raises InputError where the plugin is missing that compiles for the chip, or a slice with so many devices is not known.
    """
    if not is_installed(chip):
        raise InputError(f"device: compiling for {chip.name} takes JAX's plugin, which is not installed: {INSTALL}")
    if chip.gpu is not None:
        found = topologies.get_topology_desc(
            platform="cuda", target_config=chip.target, topology=f"1x1x{devices}"
        ).devices
    else:
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # it would ask a server who it is
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v6e-4")  # of this host, which has none; it would complain
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # as somebody else may compile, or use the chip
        found = topologies.get_topology_desc(platform="tpu", topology_name=chip.topology).devices
    if len(found) < devices:
        raise InputError(f"device: {chip.name} is known in slices of {len(found)}, not of {devices}")
    return found[:devices]


def compile_step(program: StepProgram, placement: Placement, chip: Chip, *, is_here: bool = False) -> Compiled:
    """Compile a step for the placement's devices; with ``is_here`` as commands do on devices that are there.

    Raises TooLarge where the compiler says that the memory does not suffice.
    """
    begun = cpu_seconds()
    lowered, _ = lowered_step(program, placement)
    with refusals():
        compiled = lowered.compile(compiler_options=None if is_here else OPTIONS.get(chip.platform))
    cpu_s = cpu_seconds() - begun
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None and text is not None
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Compiled(
        peak=memory.argument_size_in_bytes + memory.temp_size_in_bytes + outputs,
        arguments=memory.argument_size_in_bytes,
        cpu_s=cpu_s,
        kernels=tuple(kernels(Hlo.parse(text), tpu=chip.platform == "tpu")),
        text=text,
    )


def cpu_seconds() -> float:
    """Of this process, and of those below it that have ended."""
    return sum(os.times()[:4])


def lowered_step(program: StepProgram, placement: Placement) -> tuple[jax.stages.Lowered, Any]:
    """The step for the placement's devices, to be compiled, and the shapes of its arguments with where they lie."""
    maker = lora(program.config, program.rank)
    adapter = AdapterStep.of(program.config, maker, program.adapters, program.accumulate)
    batch = batch_shapes(program.adapters, program.sequences, program.views, program.side, None)
    shapes = placement.shapes(adapter.state, adapter.frozen(adapter.parameters), batch)
    return placement.compile(adapter.step, adapter.state).lower(*shapes), shapes


@contextmanager
def refusals() -> Iterator[None]:
    """Raises TooLarge where a compiler inside says that the memory does not suffice."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise TooLarge(str(error).partition("\n")[0]) from error
        raise


def on_mesh(devices: Sequence[Any], sizes: MeshSizes | None = None) -> Placement:
    """The devices as a mesh; without sizes, the first of them alone."""
    sizes = sizes or MeshSizes()
    return Placement(
        make_mesh(adapter=sizes.adapter, data=sizes.data, model=sizes.model, devices=devices[: sizes.devices])
    )


def is_installed(chip: Chip) -> bool:
    """Whether JAX's plugin is there that compiles for the chip."""
    try:
        return find_spec(_PLUGINS[chip.platform]) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
