"""The dense prediction head (DPT): four aggregator layers become one map at image resolution."""

from __future__ import annotations

from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from vggt_jax.config import DenseHeadConfig, VGGTConfig
from vggt_jax.deltas import NO_DELTAS, Deltas, below
from vggt_jax.layers import Conv, LayerNorm, Upsample
from vggt_jax.resize import resize_bilinear


class ResidualConvUnit(nnx.Module):
    """Two 3×3 convolutions around ReLUs; the skip adds the rectified input, as the official in-place ReLU does."""

    def __init__(self, channels: int, *, dtype: str, rngs: nnx.Rngs):
        self.conv1 = Conv(channels, channels, kernel=3, padding=1, dtype=dtype, rngs=rngs)
        self.conv2 = Conv(channels, channels, kernel=3, padding=1, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"], deltas: Deltas = NO_DELTAS) -> Float[Array, "n h w c"]:
        x = jax.nn.relu(x)
        return x + self.conv2(jax.nn.relu(self.conv1(x, deltas.get("conv1"))), deltas.get("conv2"))


class Fusion(nnx.Module):
    """Adds one pyramid level to the coarser ones' sum and upsamples it; the coarsest has nothing to add to."""

    def __init__(self, channels: int, *, coarsest: bool = False, dtype: str, rngs: nnx.Rngs):
        self.resConfUnit1 = None if coarsest else ResidualConvUnit(channels, dtype=dtype, rngs=rngs)
        self.resConfUnit2 = ResidualConvUnit(channels, dtype=dtype, rngs=rngs)
        self.out_conv = Conv(channels, channels, kernel=1, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "n h w c"],
        level: Float[Array, "n h w c"] | None,
        size: tuple[int, int],
        deltas: Deltas = NO_DELTAS,
    ) -> Float[Array, "n h2 w2 c"]:
        if self.resConfUnit1 is not None and level is not None:
            x = x + self.resConfUnit1(level, below(deltas, "resConfUnit1"))
        x = self.resConfUnit2(x, below(deltas, "resConfUnit2"))
        return resize_bilinear(self.out_conv(x, deltas.get("out_conv")), *size)


class Scratch(nnx.Module):
    """The convolutions after the pyramid (the official checkpoint's ``scratch``)."""

    def __init__(self, part: DenseHeadConfig, outputs: int | None, *, dtype: str, rngs: nnx.Rngs):
        channels = part.features
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            Conv(inputs, channels, kernel=3, padding=1, bias=False, dtype=dtype, rngs=rngs)
            for inputs in part.out_channels
        )
        self.refinenet1, self.refinenet2, self.refinenet3 = (Fusion(channels, dtype=dtype, rngs=rngs) for _ in range(3))
        self.refinenet4 = Fusion(channels, coarsest=True, dtype=dtype, rngs=rngs)
        half = channels if outputs is None else channels // 2
        self.output_conv1 = Conv(channels, half, kernel=3, padding=1, dtype=dtype, rngs=rngs)
        self.output_conv2 = (
            None if outputs is None else self._last_convs(half, part.last_features, outputs, dtype, rngs)
        )

    @staticmethod
    def _last_convs(inputs: int, hidden: int, outputs: int, dtype: str, rngs: nnx.Rngs) -> nnx.List[Any]:
        conv = Conv(inputs, hidden, kernel=3, padding=1, dtype=dtype, rngs=rngs)
        return nnx.List([conv, jax.nn.relu, Conv(hidden, outputs, kernel=1, dtype=dtype, rngs=rngs)])


class DenseHead(nnx.Module):
    """A DPT head with ``outputs`` channels at image resolution.

    With ``outputs=None`` it is a feature extractor: ``part.features`` channels at half resolution (rounded down),
    without the position embedding that the prediction heads add.
    """

    def __init__(self, config: VGGTConfig, part: DenseHeadConfig, outputs: int | None, *, rngs: nnx.Rngs):
        self.config, self.features_only, dtype = config, outputs is None, config.head_dtype
        self.norm = LayerNorm(2 * config.width)
        self.projects = nnx.List(
            [Conv(2 * config.width, channels, kernel=1, dtype=dtype, rngs=rngs) for channels in part.out_channels]
        )
        first, second, _, fourth = part.out_channels
        self.resize_layers = nnx.List(
            [
                Upsample(first, factor=4, dtype=dtype, rngs=rngs),
                Upsample(second, factor=2, dtype=dtype, rngs=rngs),
                _identity,
                Conv(fourth, fourth, kernel=3, stride=2, padding=1, dtype=dtype, rngs=rngs),
            ]
        )
        self.scratch = Scratch(part, outputs, dtype=dtype, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "4 b s t c2"], image_size: tuple[int, int], deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "b s h w outputs"]:
        """Raw predictions (before any activation) or features from the tokens of the head's four layers.

        ``image_size`` is (height, width) in pixels. Frames are independent, and run ``frames_chunk`` at a time.
        """
        b, s = tokens.shape[1:3]
        frames = jnp.moveaxis(tokens[..., self.config.patch_start :, :].reshape(4, b * s, -1, tokens.shape[-1]), 0, 1)
        chunks = ceil(b * s / self.config.frames_chunk)
        size = ceil(b * s / chunks)

        def predict(some: Float[Array, "n 4 p c2"]) -> Float[Array, "n h w outputs"]:
            return self.predict(jnp.moveaxis(some, 1, 0), image_size, deltas)

        if self.config.remat:
            predict = jax.checkpoint(predict)
        if chunks == 1:
            out = predict(frames)
        else:
            padded = jnp.pad(frames, ((0, chunks * size - b * s), (0, 0), (0, 0), (0, 0)))
            out = jax.lax.map(predict, padded.reshape(chunks, size, *frames.shape[1:]))
            out = out.reshape(chunks * size, *out.shape[2:])[: b * s]
        return out.reshape(b, s, *out.shape[1:])

    def predict(
        self, tokens: Float[Array, "4 n p c2"], image_size: tuple[int, int], deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "n h w outputs"]:
        """The same for the patch tokens of a few frames at once."""
        maps = self.pyramid(tokens, image_size, deltas)
        fused = self.fuse(maps, below(deltas, "scratch"))[0]
        return self.finish(self.scratch.output_conv1(fused, deltas.get("scratch.output_conv1")), image_size, deltas)

    def pyramid(
        self, tokens: Float[Array, "4 n p c2"], image_size: tuple[int, int], deltas: Deltas = NO_DELTAS
    ) -> tuple[Float[Array, "n _ _ _"], ...]:
        """The four layers as maps at 4, 2, 1 and ½ times the resolution of the patch grid."""
        height, width = (side // self.config.patch_size for side in image_size)
        maps = []
        for i, (layer, project, resize) in enumerate(zip(tokens, self.projects, self.resize_layers, strict=True)):
            x = self.norm(layer).reshape(-1, height, width, layer.shape[-1])
            x = self._add_positions(project(x, deltas.get(f"projects.{i}")), image_size)
            maps.append(resize(x, deltas.get(f"resize_layers.{i}")) if isinstance(resize, Conv) else resize(x))
        return tuple(maps)

    def fuse(
        self, maps: tuple[Float[Array, "n _ _ _"], ...], deltas: Deltas = NO_DELTAS
    ) -> tuple[Float[Array, "n _ _ _"], ...]:
        """Outputs of the four fusion stages, finest first; ``deltas`` relative to ``scratch``."""
        scratch = self.scratch
        convs = (scratch.layer1_rn, scratch.layer2_rn, scratch.layer3_rn, scratch.layer4_rn)
        levels = [
            conv(x, deltas.get(f"layer{i}_rn")) for i, (conv, x) in enumerate(zip(convs, maps, strict=True), start=1)
        ]
        sizes = [(level.shape[1], level.shape[2]) for level in levels]
        twice = (2 * sizes[0][0], 2 * sizes[0][1])
        x4 = scratch.refinenet4(levels[3], None, sizes[2], below(deltas, "refinenet4"))
        x3 = scratch.refinenet3(x4, levels[2], sizes[1], below(deltas, "refinenet3"))
        x2 = scratch.refinenet2(x3, levels[1], sizes[0], below(deltas, "refinenet2"))
        x1 = scratch.refinenet1(x2, levels[0], twice, below(deltas, "refinenet1"))
        return x1, x2, x3, x4

    def finish(
        self, x: Float[Array, "n h w c"], image_size: tuple[int, int], deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "n h2 w2 outputs"]:
        """Upsampling to the final resolution and, unless features are asked for, the last convolutions."""
        if self.scratch.output_conv2 is None:
            return resize_bilinear(x, image_size[0] // 2, image_size[1] // 2)
        x = self._add_positions(resize_bilinear(x, *image_size), image_size)
        conv, last = self.scratch.output_conv2[0], self.scratch.output_conv2[2]
        x = jax.nn.relu(conv(x, deltas.get("scratch.output_conv2.0")))
        return last(x, deltas.get("scratch.output_conv2.2"))

    def _add_positions(self, x: Float[Array, "n h w c"], image_size: tuple[int, int]) -> Float[Array, "n h w c"]:
        if self.features_only:
            return x
        rows, columns = position_waves(*x.shape[1:], aspect=image_size[1] / image_size[0])
        return x + jnp.asarray(rows, x.dtype) + jnp.asarray(columns, x.dtype)


def position_waves(
    height: int, width: int, channels: int, *, aspect: float
) -> tuple[Float[np.ndarray, "height 1 channels"], Float[np.ndarray, "1 width channels"]]:
    """Sinusoidal embedding of pixel positions, × 0.1: x in the first half of the channels, y in the second, sine first.

    Positions span an image of the given aspect ratio (width / height) whose half-diagonal is 1; frequencies fall from
    1 to 1/100. The embedding is the sum of the two arrays, never stored: at full size it would be a 137 MB constant.
    """
    diagonal = np.hypot(aspect, 1.0)
    x = np.linspace(-1, 1, width) * (aspect / diagonal) * (width - 1) / width
    y = np.linspace(-1, 1, height) * (1 / diagonal) * (height - 1) / height
    frequencies = 100.0 ** -(np.arange(channels // 4) / (channels // 4))
    half = ((0, 0), (0, 0))

    def waves(position: np.ndarray) -> np.ndarray:
        angles = position[:, None] * frequencies
        return (0.1 * np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)).astype(np.float32)

    rows = np.pad(waves(y)[:, None], (*half, (channels // 2, 0)))
    columns = np.pad(waves(x)[None], (*half, (0, channels // 2)))
    return rows, columns


def _identity(x: Array) -> Array:
    return x
