"""Parameters before the first step: scales at which a network trains from scratch."""

from __future__ import annotations

import re
from math import sqrt
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vggt_jax import VGGT, VGGTConfig
from vggt_jax.deltas import dotted

_WAVELENGTHS = 10_000.0
_TOKEN_STD = 0.02


def initial_model(config: VGGTConfig, seed: int) -> VGGT:
    """A model to be trained from scratch.

    - The position embedding is sinusoidal in rows and columns.
    - Weights of linear layers in blocks are Glorot uniform, their biases 0; those that write to the residual stream are
      divided by the root of the number of writers. All layer scales are 1: VGGT's 0.01 is for a trained encoder.
    - Special tokens have a standard deviation of 0.02.
    - The last layer of the camera head is a tenth of its usual size, so poses start near the origin.
    """
    model = VGGT(config, rngs=nnx.Rngs(seed))
    key = jax.random.key(seed)
    graphdef, params = nnx.split(model)

    def initial(keys: tuple, leaf: nnx.Variable) -> nnx.Variable:
        path = dotted(keys)
        value = leaf[...]
        own = jax.random.fold_in(key, crc32(path.encode()))
        if path.endswith("pos_embed"):
            value = sinusoidal_positions(config.image_size // config.patch_size, config.width)
        elif path.endswith(".gamma"):
            value = jnp.ones_like(value)
        elif path.endswith(("cls_token", "camera_token", "register_token", "register_tokens")):
            value = _TOKEN_STD * jax.random.normal(own, value.shape)
        elif path.endswith("pose_branch.fc2.kernel"):
            value = 0.1 * value
        elif path.endswith("pose_branch.fc2.bias"):
            value = jnp.zeros_like(value)
        elif stack := re.search(r"\b(blocks|frame_blocks|global_blocks|trunk)\.", path):
            if path.endswith("kernel"):
                value = _glorot(own, value.shape) * _residual_scale(path, value.shape[0], stack.group(1))
            elif path.endswith(("qkv.bias", "proj.bias", "fc1.bias", "fc2.bias")):
                value = jnp.zeros_like(value)
        return leaf.replace(value)

    return nnx.merge(
        graphdef, nnx.from_flat_state([(keys, initial(keys, leaf)) for keys, leaf in nnx.to_flat_state(params)])
    )


def sinusoidal_positions(grid: int, width: int) -> Float[Array, "1 t c"]:
    """Sines and cosines of the patches' rows (first half of the channels) and columns; the class token's is 0.

    Raises:
        ValueError: ``width`` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4 for sinusoidal positions, got {width}")
    frequencies = _WAVELENGTHS ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(grid)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    rows = np.broadcast_to(waves[:, None], (grid, grid, width // 2))
    columns = np.broadcast_to(waves[None], (grid, grid, width // 2))
    patches = np.concatenate([rows, columns], axis=-1).reshape(grid * grid, width)
    return jnp.asarray(np.concatenate([np.zeros((1, width)), patches])[None], jnp.float32)


def _glorot(key: Array, shape: tuple[int, ...]) -> Array:
    limit = sqrt(6 / (shape[-2] + shape[-1]))
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


def _residual_scale(path: str, layers: int, stack: str) -> float:
    """1, or for layers that write to the residual stream 1/√writers; frame and global blocks share one stream."""
    if not path.endswith(("attn.proj.kernel", "mlp.fc2.kernel")):
        return 1.0
    return 1 / sqrt(2 * layers * (2 if stack in ("frame_blocks", "global_blocks") else 1))
