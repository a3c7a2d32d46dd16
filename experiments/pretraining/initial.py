"""Parameters before the first step: scales at which a network trains from scratch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import prod, sqrt
from zlib import crc32

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from experiments.models import parameters_digest
from subspace.errors import InputError
from vggt_jax import VGGT, VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.matching import Matcher
from vggt_jax.parameters import abstract_model
from weights_convert import load_vggt, read_config
from weights_convert.matcher import load_matcher

_WAVELENGTHS = 10_000.0
_TOKEN_STD = 0.02
_TRANSFORMER = re.compile(r"\b(blocks|frame_blocks|global_blocks|trunk)\.")
_POSE_SCALE = 0.1


@dataclass(frozen=True, eq=False)
class Start:
    """A trained model that training goes on from."""

    model: VGGT
    """The model."""
    matcher: Matcher
    """Of its tokens."""
    digest: str
    """Tells its numbers from others."""


def read_start(source: str, config: VGGTConfig) -> Start:
    """The model at ``source``, anything that :func:`weights_convert.load_vggt` takes, and the matcher beside it.

    Raises:
        InputError: unusable weights, or of another size.
        OSError: a file that cannot be read.
    """
    found = replace(read_config(source), heads=config.heads)
    sizes = ("width", "patch_size", "image_size", "encoder", "aggregator")
    if other := [name for name in sizes if getattr(found, name) != getattr(config, name)]:
        raise InputError(f"start={source}: has another {' and '.join(other)} than the recipe's model", argument="start")
    model = load_vggt(source, config=replace(config))
    return Start(model, load_matcher(source), parameters_digest(nnx.state(model)))


def initial_model(config: VGGTConfig, seed: int) -> VGGT:
    """A model to be trained from scratch.

    - The position embedding is sinusoidal in rows and columns.
    - Matrices of transformer blocks are Glorot uniform; those that write to a residual stream are divided by the root of
      the number of writers. Other matrices and filters are uniform in ±1/√inputs.
    - Norms and layer scales are 1 (VGGT's layer scale of 0.01 is for a trained encoder), biases 0.
    - Special tokens have a standard deviation of 0.02.
    - The last layer of the camera head is a tenth of its usual size, so that poses start near 0.
    """
    graphdef, params = nnx.split(abstract_model(config))

    def draw(keys: tuple, leaf: nnx.Variable) -> nnx.Variable:
        path = dotted(keys)
        if path.endswith("pos_embed"):
            value = sinusoidal_positions(config.image_size // config.patch_size, config.width)
        else:
            value = _draw(path, leaf.shape, np.random.default_rng([seed, crc32(path.encode())]))
        return leaf.replace(jnp.asarray(value, jnp.float32))

    drawn = [(keys, draw(keys, leaf)) for keys, leaf in nnx.to_flat_state(params)]
    return nnx.merge(graphdef, nnx.from_flat_state(drawn))


def sinusoidal_positions(grid: int, width: int) -> Float[np.ndarray, "1 t c"]:
    """Sines and cosines of the patches' rows (first half of the channels) and columns; the class token's is 0.

    Raises:
        InputError: ``width`` is not a multiple of 4.
    """
    if width % 4:
        raise InputError(f"width must be a multiple of 4 for sinusoidal positions, got {width}")
    frequencies = _WAVELENGTHS ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(grid)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    rows = np.broadcast_to(waves[:, None], (grid, grid, width // 2))
    columns = np.broadcast_to(waves[None], (grid, grid, width // 2))
    patches = np.concatenate([rows, columns], axis=-1).reshape(grid * grid, width)
    return np.concatenate([np.zeros((1, width)), patches])[None]


def _draw(path: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if path.endswith(("scale", "gamma")):
        return np.ones(shape)
    if path.endswith(("bias", "mask_token", "empty_pose_tokens")):
        return np.zeros(shape)
    if not path.endswith("kernel"):
        return _TOKEN_STD * rng.normal(size=shape)
    if stack := _TRANSFORMER.search(path):
        limit = sqrt(6 / (shape[-2] + shape[-1])) * _residual_scale(path, shape[0], stack.group(1))
    else:
        limit = 1 / sqrt(prod(shape[:-1]))
        if path.endswith("pose_branch.fc2.kernel"):
            limit *= _POSE_SCALE
    return rng.uniform(-limit, limit, size=shape)


def _residual_scale(path: str, layers: int, stack: str) -> float:
    """1, or for layers that write to the residual stream 1/√writers; frame and global blocks share one stream."""
    if not path.endswith(("attn.proj.kernel", "mlp.fc2.kernel")):
        return 1.0
    return 1 / sqrt(2 * layers * (2 if stack in ("frame_blocks", "global_blocks") else 1))
