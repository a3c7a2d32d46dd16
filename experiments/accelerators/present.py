"""The accelerator of this machine, and the layout that commands take on it by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import jax

from experiments.accelerators.chips import CHIPS, Chip, chip_of
from experiments.accelerators.layouts import LAYOUTS, fitting
from experiments.process.memory import free_memory
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from vggt_jax import VGGTConfig

PIXELS, VIEWS = 32 * 518 * 518, 16
"""Of a step, and the most of a sequence, that the stored plans are of."""


def present() -> tuple[Chip, int, Sequence[Any]]:
    """The chip, the bytes that a program may take of it, and the device; of several the first.

    Raises InputError on a machine without an accelerator, or with one that is not described.
    """
    device = jax.local_devices()[0]
    chip = chip_of(device.device_kind)
    if chip is None:
        raise InputError(
            f"device: this machine has {device.device_kind!r}, which is none of the known chips ({', '.join(CHIPS)})"
        )
    return chip, free_memory(device) or chip.usable, [device]


def laid_out_for(device: Any, wish: StepPlan, *, width: int, pixels: int, views: int) -> StepPlan:
    """``wish`` with what it leaves open as the stored plans of VGGT-1B have it for ``device``.

    It stays as it is on a CPU, of a smaller model, and of steps that are larger than any that was planned. An unknown GPU
    gets the plans of another one, but its own memory.

    Args:
        device: what trains.
        wish: what was asked for.
        width: of the model.
        pixels: of one adapter's step.
        views: of the longest sequences.
    """
    if device.platform == "cpu" or width != VGGTConfig.vggt_1b().width or pixels > PIXELS or views > VIEWS:
        return wish
    chip = chip_of(device.device_kind) or CHIPS["h100" if device.platform == "gpu" else "v6e"]
    place = fitting(chip, free_memory(device) or chip.usable, VIEWS)
    if place is None:
        return wish
    given = {each.name: value for each in fields(wish) if (value := getattr(wish, each.name)) is not None}
    return replace(LAYOUTS[place], **given)
