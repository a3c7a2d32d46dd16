"""The base model that adapters are trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flax import nnx

from experiments.extraction.presets import Preset
from vggt_jax import VGGTConfig
from vggt_jax.adapters import BaseModel
from weights_convert import load_vggt, read_config


@dataclass(frozen=True, eq=False)
class Base:
    """A model split into its structure and its parameters, with what identifies it."""

    identity: BaseModel
    graphdef: nnx.GraphDef
    parameters: nnx.State

    @property
    def config(self) -> VGGTConfig:
        return self.identity.config

    @property
    def label(self) -> str:
        """Name and fingerprint, as results name their base."""
        return f"{self.identity.name} ({self.identity.fingerprint})"


def load_base(weights: str, preset: Preset) -> Base:
    """The model at ``weights`` with the heads that the paper trains (camera and depth), ready for the preset's images.

    Raises ValueError and OSError as :func:`weights_convert.load_vggt` does, and ValueError if the preset's images do not
    fit the model's patches.
    """
    config = replace(read_config(weights), heads=("camera", "depth"), dtype=preset.dtype, remat=preset.remat)
    if preset.resolution % config.patch_size:
        raise ValueError(
            f"{weights}: patches of {config.patch_size} pixels do not divide the preset's {preset.resolution} pixels"
        )
    model = load_vggt(weights, config=config)
    graphdef, parameters = nnx.split(model)
    name = Path(weights).name if Path(weights).exists() else weights
    return Base(BaseModel.of(name, config, parameters), graphdef, parameters)
