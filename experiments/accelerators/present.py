"""The accelerator of this machine, and the layout that commands take on it by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import jax

from experiments.accelerators.chips import CHIPS, Chip, chip_of
from experiments.accelerators.layouts import LAYOUTS, fitting
from experiments.presets import PRESETS, PresetName
from experiments.process.memory import free_memory
from experiments.training.sampling import view_counts
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError


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


def laid_out_for(device: Any, preset: PresetName, wish: StepPlan) -> StepPlan:
    """``wish`` with what it leaves open as the stored plans say it for ``device``; as it is on a CPU.

    An unknown GPU gets the plans of another one, but its own memory.
    """
    if device.platform == "cpu":
        return wish
    chip = chip_of(device.device_kind) or CHIPS["h100" if device.platform == "gpu" else "v6e"]
    training = PRESETS[preset].training
    counts = view_counts(training.images, fewest=training.fewest_views, most=training.most_views)
    place = fitting(chip, free_memory(device) or chip.usable, counts[-1])
    if place is None:
        return wish
    found = LAYOUTS[place]
    given = {each.name: value for each in fields(wish) if (value := getattr(wish, each.name)) is not None}
    return replace(found, **given)
