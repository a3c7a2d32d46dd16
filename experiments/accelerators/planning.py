"""What fits a chip, and how long it takes: the real step, compiled for it until a layout does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.accelerators.absent import compile_for
from experiments.accelerators.chips import Chip
from experiments.accelerators.compiling import Compiled, StepProgram, TooLarge, compile_step, on_mesh, topology
from experiments.accelerators.layouts import LAYOUTS, Row, fitting, program_of
from experiments.accelerators.roofline import roofline, with_views
from experiments.presets import PRESETS, PresetName
from experiments.training.sampling import view_counts
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from vggt_jax.config import DType


@dataclass(frozen=True)
class Plan:
    """A layout that fits."""

    chip: Chip
    limit: int
    """Bytes that a program may take."""
    layout: StepPlan
    row: Row
    """What the compiler said of it."""
    program: StepProgram
    """The step with the longest sequences, which was compiled."""
    seconds: Mapping[int, float]
    """Pictures of a sequence → seconds of a step of one adapter, by roofline."""

    @property
    def mean_seconds(self) -> float:
        """Of a step, as the numbers of views are drawn evenly."""
        return sum(self.seconds.values()) / len(self.seconds)


def row_of(program: StepProgram, found: Compiled | None, chip: Chip, layout: int, mesh: str = "") -> Row:
    """The row of a program; ``found`` is None for one that the compiler refused."""
    shape: dict[str, Any] = {
        "chip": chip.name,
        "mesh": mesh,
        "adapters": program.adapters,
        "sequences": program.sequences,
        "views": program.views,
        "layout": layout,
    }
    if found is None:
        return Row(**shape, peak=None)
    counted = roofline(found.kernels, chip)
    return Row(
        **shape,
        peak=found.peak,
        compile_cpu_s=round(found.cpu_s, 1),
        operations={kind: float(f"{number:.4g}") for kind, number in counted.operations.items()},
        repeated=float(f"{counted.repeated:.4g}"),
        bytes=float(f"{counted.bytes:.4g}"),
        launches=counted.launches,
        seconds=float(f"{counted.seconds:.4g}"),
    )


def plan(
    preset: PresetName,
    chip: Chip,
    limit: int | None = None,
    *,
    devices: Any = None,
    head_dtype: DType | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The first layout that fits, found by compiling.

    Args:
        preset: whose step is compiled, with the longest of its sequences.
        chip: for which.
        limit: bytes that a program may take; default: what JAX lets it take.
        devices: where they are there; default: JAX's plugins compile without any.
        head_dtype: type in which heads compute; default: the preset's.
        say: is told what is compiled.

    Raises InputError where no layout fits, or the chip's plugin is missing.
    """
    training = PRESETS[preset].training
    counts = view_counts(training.images, fewest=training.fewest_views, most=training.most_views)
    limit = chip.usable if limit is None else limit
    if devices is None:
        topology(chip)  # whether it can be compiled for
    first = fitting(chip, limit, counts[-1]) or 0
    for place, layout in enumerate(LAYOUTS[first:], start=first):
        program = program_of(preset, layout, counts[-1], head_dtype=head_dtype)
        say(f"compiling a step of {program.sequences} × {program.views} pictures of {program.side}² for {chip.title} …")
        try:
            found = (
                compile_for(program, chip)
                if devices is None
                else compile_step(program, on_mesh(devices), chip, is_here=True)
            )
        except TooLarge:
            continue
        if found.peak <= limit:
            seconds = {
                views: roofline(with_views(found.kernels, program.tokens, counts[-1], views), chip).seconds
                for views in counts
            }
            return Plan(chip, limit, layout, row_of(program, found, chip, place), program, seconds)
    raise InputError(
        f"device: {chip.title} holds no sequence of {counts[-1]} pictures of "
        f"{PRESETS[preset].rendering.resolution}² in {limit / 1e9:.1f} GB"
    )
