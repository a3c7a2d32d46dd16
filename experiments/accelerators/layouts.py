"""Ways of laying out a training step in memory, and the one to take of those that a chip's memory holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path

import msgspec

from experiments.accelerators.chips import CHIPS, Chip
from experiments.accelerators.compiling import StepProgram
from experiments.presets import PRESETS, PresetName
from experiments.training.step_plan import StepPlan
from vggt_jax import VGGTConfig
from vggt_jax.config import DType
from vggt_jax.reading import typed

LAYOUTS = (
    StepPlan(remat=False, frames_chunk=32),
    StepPlan(keep_attention=True, frames_chunk=8),
    StepPlan(keep_attention=True, frames_chunk=4),
    StepPlan(keep_attention=False, frames_chunk=4),
    StepPlan(accumulate=1, keep_attention=True, frames_chunk=4),
    StepPlan(accumulate=1, keep_attention=False, frames_chunk=4),
    StepPlan(accumulate=1, keep_attention=False, frames_chunk=2),
)
"""Of steps of VGGT-1B, one adapter at a time. Each next one needs less memory, and more time but as :func:`fitting` says."""
USUAL = 1
"""Place of the one that keeps attention and makes the rest again: a step of 32 pictures in 30 GB."""
CONFIGS = {"nano": VGGTConfig.nano, "vggt_1b": VGGTConfig.vggt_1b}
"""Preset → what makes its model's configuration."""
TABLE = Path(__file__).with_name("table.json")
"""What compilers said, chip by chip; ``python -m experiments.benchmark memory --write`` makes it."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the compiler said of one adapter's step on one device."""

    chip: str
    """Name of the chip."""
    mesh: str = ""
    """Devices by what they take; empty for one device."""
    adapters: int = 1
    """Adapters in one program."""
    sequences: int
    """Sequences of a batch, of all devices."""
    views: int
    """Pictures of each sequence."""
    layout: int
    """Place in :data:`LAYOUTS`."""
    peak: int | None
    """Bytes that a device holds at once; None where the compiler refused the program for want of memory."""
    compile_cpu_s: float = 0.0
    """Processor time to compile it, in seconds."""
    operations: dict[str, float] = {}
    """Kind of kernel → multiplications and additions."""
    repeated: float = 0.0
    """Of all operations, those of the forward pass that the backward pass does again."""
    bytes: float = 0.0
    """Read and written."""
    launches: float = 0.0
    """Kernels started."""
    seconds: float = 0.0
    """Of a step, by roofline."""
    error: str = ""
    """First line of what the compiler said where it failed for another reason than memory."""


@cache
def table() -> tuple[Row, ...]:
    """The rows of :data:`TABLE`."""
    return typed.decode(TABLE.read_bytes(), tuple[Row, ...])


def program_of(
    preset: PresetName, layout: StepPlan, views: int, adapters: int = 1, head_dtype: DType | None = None
) -> StepProgram:
    """The LoRA step of a preset with so many views in each sequence, as extraction trains it.

    ``head_dtype`` is the type in which heads compute, by default the preset's.
    """
    training = PRESETS[preset].training
    config = replace(
        CONFIGS[preset](),
        heads=("camera", "depth"),
        dtype=training.dtype,
        head_dtype=training.head_dtype if head_dtype is None else head_dtype,
        remat=training.remat if layout.remat is None else layout.remat,
    )
    config = replace(config, **layout.of_model)
    return StepProgram(
        config=config,
        rank=training.rank,
        sequences=training.images // views,
        views=views,
        side=PRESETS[preset].rendering.resolution,
        adapters=adapters,
        accumulate=layout.accumulate,
    )


def fitting(chip: Chip, limit: int, views: int, rows: Iterable[Row] | None = None) -> int | None:
    """The place of the quickest layout that ``limit`` bytes hold where sequences have ``views`` pictures; None if none does.

    By roofline; equally quick ones count in their order. Where everything is kept, a step is quicker on an H200 and slower on
    an H100, whose compiler has to save memory then. Of a GPU that was not compiled for, the plans of all others count, which
    differ by up to 8 % in memory, and the first that holds in all of them is taken.

    Args:
        chip: what is asked for.
        limit: bytes that a program may take.
        views: pictures of the longest sequences.
        rows: default: the stored ones.
    """
    rows = [
        row for row in (table() if rows is None else rows) if row.views == views and not row.mesh and row.adapters == 1
    ]
    found: dict[int, float] = {}
    for place in range(len(LAYOUTS)):
        of_layout = [row for row in rows if row.layout == place and CHIPS[row.chip].platform == chip.platform]
        own = [row for row in of_layout if row.chip == chip.name]
        peaks = [row.peak for row in own or of_layout]
        if peaks and all(peak is not None and peak <= limit for peak in peaks):
            found[place] = max((row.seconds for row in own), default=inf)
    return min(found, key=found.__getitem__, default=None)
