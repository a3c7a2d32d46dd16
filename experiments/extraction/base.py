"""The base model that adapters are trained on."""

from __future__ import annotations

from experiments.base_model import Base, read_base
from experiments.extraction.presets import Preset
from weights_convert import read_config


def load_base(weights: str, preset: Preset) -> Base:
    """The model at ``weights``, ready for the preset's images.

    Raises ValueError and OSError as :func:`experiments.base_model.read_base` does, and ValueError if the preset's images do
    not fit the model's patches.
    """
    patch = read_config(weights).patch_size
    if preset.resolution % patch:
        raise ValueError(f"{weights}: patches of {patch} pixels do not divide the preset's {preset.resolution} pixels")
    return read_base(weights, preset.dtype, preset.remat)
