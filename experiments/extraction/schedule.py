"""The stages of an extraction, and how long they may take before anything was measured."""

from __future__ import annotations

from experiments.extraction.settings import Settings
from experiments.presets import PRESETS
from experiments.process.stages import Stage
from experiments.rendering.speed import seconds_per_picture

RENDERING, COMPILING, TRAINING, MINING, REPORT = "rendering", "compiling", "training", "mining", "report"
"""Names of the stages."""
_CORES, _SAMPLES = 2, 4
"""Cores that are expected, and light paths per pixel of what is known of rendering."""
_TRAINING_SHARE = 0.85
"""Of the time that an adapter takes with its data."""
_COMPILING_SECONDS, _MINING_SECONDS, _REPORT_SECONDS = 20.0, 4.0, 5.0


def schedule(settings: Settings) -> list[Stage]:
    """The stages, timed for two cores (nano) or the preset's machine; training's share goes by its number of pictures."""
    after = [Stage(MINING, 1, _MINING_SECONDS), Stage(REPORT, 1, _REPORT_SECONDS)]
    if settings.adapters:
        return after
    preset = PRESETS[settings.preset]
    usual = preset.training.steps * preset.training.images
    training = preset.scale.adapter_minutes * 60 * _TRAINING_SHARE
    images = settings.k * settings.scenes * settings.views
    picture = seconds_per_picture(settings.setting, settings.resolution) * settings.samples / _SAMPLES
    return [
        Stage(RENDERING, images, picture / _CORES),
        Stage(COMPILING, 1, _COMPILING_SECONDS),
        Stage(TRAINING, settings.training.steps, training * settings.k * settings.training.images / usual),
        *after,
    ]


def expected_seconds(settings: Settings) -> float:
    """Of all stages."""
    return sum(stage.units * stage.unit_seconds for stage in schedule(settings))
