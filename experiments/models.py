"""The base model that is adapted, fine-tuned or evaluated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.presets import Training
from subspace.errors import InputError
from vggt_jax import VGGTConfig
from vggt_jax.adapters import BaseModel
from vggt_jax.config import DType
from weights_convert import load_vggt, read_config


@dataclass(frozen=True, eq=False)
class Base:
    """A model split into its structure and its parameters, with what identifies it."""

    identity: BaseModel
    """The model's name, fingerprint and configuration."""
    graphdef: nnx.GraphDef
    """The model's structure, without its parameters."""
    parameters: nnx.State
    """The model's parameters."""

    @property
    def config(self) -> VGGTConfig:
        """The model's configuration."""
        return self.identity.config

    @property
    def label(self) -> str:
        """Name and fingerprint, as results name their base."""
        return f"{self.identity.name} ({self.identity.fingerprint})"


def read_base(
    weights: str,
    dtype: DType | None = None,
    remat: bool | None = None,
    *,
    frames_chunk: int | None = None,
    keep_attention: bool | None = None,
) -> Base:
    """The model at ``weights`` with the heads that the paper trains, camera and depth.

    Its name is that of the file or folder, or ``weights`` itself where that is none on this machine.

    Args:
        weights: what :func:`weights_convert.load_vggt` takes; also the folder of a model that was fine-tuned in full.
        dtype: type of the matrix products in encoder and aggregator; by default that of the weights' configuration.
        remat: recompute the blocks in the backward pass; by default what the weights' configuration says.
        frames_chunk: frames that a dense head takes at a time; likewise.
        keep_attention: with ``remat``, keep what attention gives; likewise.

    Raises:
        InputError: unusable weights.
        OSError: a file that cannot be read.
    """
    config = replace(read_config(weights), heads=("camera", "depth"))
    wanted = {"dtype": dtype, "remat": remat, "frames_chunk": frames_chunk, "keep_attention": keep_attention}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    config = replace(config, **changes)
    graphdef, parameters = nnx.split(load_vggt(weights, config=config))
    name = Path(weights).name if Path(weights).exists() else weights
    return Base(BaseModel.of(name, config, parameters), graphdef, parameters)


def load_base(weights: str, resolution: int, training: Training, **layout: Any) -> Base:
    """The model at ``weights``, ready to be trained on images of ``resolution`` pixels.

    ``layout`` are ``frames_chunk`` and ``keep_attention`` as for :func:`read_base`.

    Raises InputError and OSError as :func:`read_base` does, and InputError if the images do not fit the model's patches.
    """
    patch = read_config(weights).patch_size
    if resolution % patch:
        raise InputError(f"{weights}: patches of {patch} pixels do not divide images of {resolution} pixels")
    return read_base(weights, training.dtype, training.remat, **layout)


def parameters_digest(parameters: Any) -> str:
    """Twelve hexadecimal digits that tell a tree of parameters from others, heads included.

    Of each parameter its name, its shape and up to 256 values spread over it count. (The fingerprint of a
    :class:`vggt_jax.adapters.BaseModel` leaves the heads out.)
    """
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(parameters):
        values = np.asarray(leaf).reshape(-1)
        found.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode())
        found.update(values[:: max(1, len(values) // 256)].astype(np.float32).tobytes())
    return found.hexdigest()[:12]
