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
from vggt_jax.parameters import for_products as rounded
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
    weights: str = ""
    """:func:`parameters_digest` of the parameters as they were stored; made here if it is not given."""

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", parameters_digest(self.parameters))

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
    head_dtype: DType | None = None,
    frames_chunk: int | None = None,
    keep_attention: bool | None = None,
    for_products: bool = False,
) -> Base:
    """The model at ``weights`` with the heads that the paper trains, camera and depth.

    Its name is that of the file or folder, or ``weights`` itself where that is none on this machine.

    Args:
        weights: what :func:`weights_convert.load_vggt` takes; also the folder of a model that was fine-tuned in full.
        dtype: type of the matrix products in encoder and aggregator; by default that of the weights' configuration.
        remat: recompute the blocks in the backward pass; by default what the weights' configuration says.
        head_dtype: type of the products and convolutions in the heads; likewise.
        frames_chunk: frames that a dense head takes at a time; likewise.
        keep_attention: with ``remat``, keep what attention gives; likewise.
        for_products: hold kernels in the type of their products, for a model whose weights nobody else reads
            (:func:`vggt_jax.parameters.for_products`).

    Raises:
        InputError: unusable weights.
        OSError: a file that cannot be read.
    """
    config = replace(read_config(weights), heads=("camera", "depth"))
    wanted = {
        "dtype": dtype,
        "head_dtype": head_dtype,
        "remat": remat,
        "frames_chunk": frames_chunk,
        "keep_attention": keep_attention,
    }
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    config = replace(config, **changes)
    graphdef, parameters = nnx.split(load_vggt(weights, config=config))
    name = Path(weights).name if Path(weights).exists() else weights
    base = Base(BaseModel.of(name, config, parameters), graphdef, parameters)
    return replace(base, parameters=rounded(parameters, config)) if for_products else base


def load_base(weights: str, resolution: int, training: Training, **layout: Any) -> Base:
    """The model at ``weights``, ready to be trained on images of ``resolution`` pixels.

    ``layout`` are ``frames_chunk``, ``keep_attention`` and ``for_products`` as for :func:`read_base`.

    Raises InputError and OSError as :func:`read_base` does, and InputError if the images do not fit the model's patches.
    """
    patch = read_config(weights).patch_size
    if resolution % patch:
        raise InputError(f"{weights}: patches of {patch} pixels do not divide images of {resolution} pixels")
    return read_base(weights, training.dtype, training.remat, head_dtype=training.head_dtype, **layout)


def first_not_finite(parameters: Any) -> str | None:
    """Name of the first of a tree of parameters that has NaN or infinity; None if there is none."""
    for path, leaf in jax.tree.leaves_with_path(parameters):
        if not np.isfinite(np.asarray(leaf)).all():
            return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
    return None


def parameters_digest(parameters: Any) -> str:
    """Twelve hexadecimal digits that tell a tree of parameters from others, heads included.

    Of each parameter its name, its shape and some 256 values spread over its rows and columns count. (The fingerprint of a
    :class:`vggt_jax.adapters.BaseModel`, by which an adapter knows its model, leaves the heads out.)
    """
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(parameters):
        values = np.asarray(leaf).reshape(-1)
        found.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode())
        found.update(values[:: len(values) // 256 | 1].astype(np.float32).tobytes())  # odd: rows have even lengths
    return found.hexdigest()[:12]
