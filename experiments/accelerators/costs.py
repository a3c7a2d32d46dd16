"""What a whole experiment takes besides a chip's memory: hours, bytes on disk, money."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from experiments.accelerators.adapter_step import lora
from experiments.presets import Preset
from experiments.rendering.speed import seconds_per_picture
from experiments.scenes.schema import Setting
from vggt_jax import VGGTConfig
from vggt_jax.adapters import trained_numbers

_BYTES_PER_PIXEL = 3.4
"""Of a stored view, picture and maps: the mean of three views of ``object_centric`` at 518²."""
_KEPT = 2
"""Checkpoints that stay on the disk."""


@dataclass(frozen=True)
class Costs:
    """Of one extraction or one fine-tuning."""

    pictures: int
    """Pictures that are rendered."""
    core_hours: float
    """Of rendering them."""
    data_bytes: float
    """Of the data sets on disk."""
    result_bytes: float
    """Of adapters and checkpoints on disk."""
    hours: float
    """Of training, on all chips at the same time."""
    money: float | None
    """Of the chips while they train; None without a price."""


def costs(
    preset: Preset,
    config: VGGTConfig,
    seconds: float,
    *,
    adapters: int,
    steps: int,
    setting: Setting | None,
    chips: int = 1,
    price: float | None = None,
) -> Costs:
    """What training takes, and the rendering of its data.

    Args:
        preset: size of data and adapters.
        config: the model.
        seconds: of one adapter's step on one chip.
        adapters: k.
        steps: of each adapter.
        setting: what is rendered; None for data that are there.
        chips: each trains adapters of its own.
        price: of one chip for an hour.
    """
    rendering = preset.rendering
    pictures = 0 if setting is None else adapters * rendering.scenes * rendering.views
    per_picture = data_bytes = 0.0
    if setting is not None:
        per_picture = seconds_per_picture(setting, rendering.resolution)
        data_bytes = pictures * rendering.resolution**2 * _BYTES_PER_PIXEL
    trained = sum(trained_numbers(lora(config, preset.training.rank)).values())
    hours = ceil(adapters / chips) * steps * seconds / 3600
    return Costs(
        pictures=pictures,
        core_hours=pictures * per_picture / 3600,
        data_bytes=data_bytes,
        result_bytes=adapters * trained * 4 * (1 + 3 * _KEPT),
        hours=hours,
        money=None if price is None else hours * min(chips, adapters) * price,
    )
