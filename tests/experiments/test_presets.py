"""One preset for every pipeline: what they share is the same, and equal presets have one identity."""

from dataclasses import fields, replace
from typing import get_args

import pytest

from experiments.presets import PRESETS, PresetName
from experiments.scenes.schema import Setting
from experiments.storage.identity import digest, identity


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_parts_belong_together(preset):
    assert PRESETS[preset.name] is preset and set(PRESETS) == set(get_args(PresetName))
    assert set(preset.rendering.datasets) == set(get_args(Setting))
    assert (preset.scale.datasets, preset.scale.glass) == (preset.rendering.datasets, preset.rendering.glass)
    assert set(preset.tasks.scenes) == set(preset.tasks.views)
    assert 0 < preset.training.held_out < preset.rendering.scenes
    assert preset.training.held_out_views <= preset.rendering.views
    most = min(preset.rendering.datasets.values()) * preset.training.rank
    assert preset.extraction.dim <= most


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_fields_hold_what_they_declare(preset):
    training = preset.training
    assert type(training.alpha) is float and type(preset.scale.minutes) is float and type(preset.tasks.turn) is float
    assert digest(identity(replace(training, alpha=int(training.alpha)))) == digest(identity(training))
    other = replace(training, head_dtype="bfloat16")  # by default no part of what names results
    assert set(identity(other)) == {field.name for field in fields(training)} == {*identity(training), "head_dtype"}
