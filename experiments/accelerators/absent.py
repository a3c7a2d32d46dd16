"""The step compiled for a chip that is not there.

For a GPU that is all of it. A TPU's compiler plans memory and schedules kernels in half a minute, and then writes each kernel's
instructions, which take many times as long; they are not waited for, as neither memory nor work depend on them.
"""

from __future__ import annotations

import math
import os
import re
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from experiments.accelerators.chips import Chip
from experiments.accelerators.compiling import (
    Compiled,
    StepProgram,
    TooLarge,
    compile_step,
    cpu_seconds,
    lowered_step,
    on_mesh,
    refusals,
    topology,
)
from experiments.accelerators.hlo import Hlo
from experiments.accelerators.kernels import kernels
from experiments.process.mesh_sizes import MeshSizes
from subspace import environment

_ALMOST_NONE: dict[str, str | bool] = {"xla_tpu_max_hbm_size_mib": "1"}
"""With so little memory a TPU's compiler refuses each step, and says how much it would need."""
_NEEDED = re.compile(r"HLO temporaries \((\d+(?:\.\d+)?)([KMG]?)\)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SCHEDULED = "*-TLP-hlo.txt"
"""What the compiler calls the program that it writes instructions for."""


def compile_for(program: StepProgram, chip: Chip, sizes: MeshSizes | None = None) -> Compiled:
    """What the compiler says of a step on one such chip, or on a mesh of them.

    Raises:
        TooLarge: the compiler says that the memory does not suffice.
        InputError: JAX's plugin for the chip is missing, or so many of it are not known.
    """
    sizes = sizes or MeshSizes()
    devices = topology(chip, sizes.devices)
    if chip.platform == "tpu":
        return _scheduled(program, chip, sizes)
    return compile_step(program, on_mesh(devices, sizes), chip)


def needed(message: str) -> int:
    """Bytes of temporary arrays, from what a TPU's compiler says when it refuses a program.

    Raises ValueError for a message without.
    """
    found = _NEEDED.search(message)
    if found is None:
        raise ValueError(f"the compiler does not say how much memory it needs: {message}")
    return round(float(found[1]) * _UNITS[found[2]])


def _scheduled(program: StepProgram, chip: Chip, sizes: MeshSizes) -> Compiled:
    context = get_context("spawn")
    begun = cpu_seconds()
    with TemporaryDirectory() as folder:
        hears, says = context.Pipe(duplex=False)
        child = context.Process(target=_schedule, args=(program, chip, sizes, folder, says))
        child.start()
        says.close()
        try:
            arguments, refused = hears.recv()
            text = _awaited(Path(folder), hears)
        except EOFError:
            raise RuntimeError(f"the compiler for {chip.title} died: {_last_line(Path(folder))}") from None
        finally:
            child.kill()
            child.join()
    return Compiled(
        peak=arguments + needed(refused),
        arguments=arguments,
        cpu_s=cpu_seconds() - begun,
        kernels=tuple(kernels(Hlo.parse(text), tpu=True)),
        text=text,
    )


def _awaited(folder: Path, hears: Connection) -> str:
    """The scheduled program, once it is written whole."""
    text = ""
    while True:
        time.sleep(0.5)
        for file in folder.glob(_SCHEDULED):
            before, text = text, file.read_text()
            if text and text == before:
                return text
        if hears.poll():
            raise hears.recv()


def _schedule(program: StepProgram, chip: Chip, sizes: MeshSizes, folder: str, says: Connection) -> None:
    """In a process of its own: what the compiler prints goes into a file, and it is told to write down what it schedules."""
    with open(Path(folder) / "printed", "wb") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    options = f"--xla_jf_dump_to={folder} --xla_jf_dump_hlo_text=true --xla_jf_dump_llo_pass_label_regex=^none$"
    os.environ["LIBTPU_INIT_ARGS"] = f"{os.environ.get('LIBTPU_INIT_ARGS', '')} {options}"
    environment.restore_pool()
    jax.config.update("jax_platforms", "cpu")
    lowered, shapes = lowered_step(program, on_mesh(topology(chip, sizes.devices), sizes))
    try:
        with refusals():
            lowered.compile(_ALMOST_NONE)
    except TooLarge as refused:
        says.send((sum(_bytes(leaf) for leaf in jax.tree.leaves(shapes)), str(refused)))
    try:
        with refusals():
            lowered.compile()
    except TooLarge as refused:
        says.send(refused)


def _bytes(leaf: Any) -> int:
    """Of an argument, on one device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _last_line(folder: Path) -> str:
    lines = (folder / "printed").read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "without a word")
