"""The tracker's update transformer: from tokens of tracks over time to steps of their coordinates and features.

Attention runs along time within a track, and across tracks within a frame. The latter goes through learned virtual
tracks, so its cost grows linearly with the number of points. The weights of equal blocks are stacked on a leading
axis, in the way of :mod:`vggt_jax.layers`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from subspace.errors import InputError
from vggt_jax.attention import attention
from vggt_jax.blocks import Mlp
from vggt_jax.config import TrackHeadConfig
from vggt_jax.layers import LayerNorm, Linear
from vggt_jax.products import HIGHEST


class MultiheadAttention(nnx.Module):
    """Attention of ``x`` to ``context``, with PyTorch's fused input projection.

    The columns of ``in_proj`` are query, key and value, each ``width`` wide; heads divide each of them further.
    """

    def __init__(self, width: int, heads: int, *, stack: tuple[int, ...], dtype: str, rngs: nnx.Rngs):
        self.heads = heads
        self.in_proj = Linear(width, 3 * width, stack=stack, dtype=dtype, rngs=rngs)
        self.out_proj = Linear(width, width, stack=stack, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b tokens c"], context: Float[Array, "b others c"]
    ) -> Float[Array, "b tokens c"]:
        query = self._project(x, 0, 1)
        key, value = jnp.split(self._project(context, 1, 3), 2, axis=-1)
        mixed = attention(self._split(query), self._split(key), self._split(value))
        return self.out_proj(mixed.transpose(0, 2, 1, 3).reshape(x.shape))

    def _project(self, x: Float[Array, "b tokens c"], first: int, last: int) -> Float[Array, "b tokens n"]:
        """The input projection's parts ``first`` to ``last`` (exclusive) of query, key and value."""
        columns = slice(first * x.shape[-1], last * x.shape[-1])
        kernel, bias = self.in_proj.kernel[...][:, columns], self.in_proj.bias[...][columns]
        dtype = self.in_proj.dtype
        return jnp.matmul(x.astype(dtype), kernel.astype(dtype), precision=HIGHEST) + bias.astype(dtype)

    def _split(self, x: Float[Array, "b tokens c"]) -> Float[Array, "b heads tokens d"]:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)


class AttentionBlock(nnx.Module):
    """Self-attention and a two-layer perceptron, both with residuals.

    The first residual starts from the *normalised* tokens, unlike the usual pre-norm block: so the official weights
    were trained.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, *, stack: tuple[int, ...], dtype: str, rngs: nnx.Rngs):
        self.norm1 = LayerNorm(width, stack=stack)
        self.norm2 = LayerNorm(width, stack=stack)
        self.attn = MultiheadAttention(width, heads, stack=stack, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(width, mlp_width, width, stack=stack, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b tokens c"]) -> Float[Array, "b tokens c"]:
        x = self.norm1(x)
        x = x + self.attn(x, x)
        return x + self.mlp(self.norm2(x))


class CrossAttentionBlock(nnx.Module):
    """As :class:`AttentionBlock`, attending to other tokens, which have a norm of their own."""

    def __init__(self, width: int, heads: int, mlp_width: int, *, stack: tuple[int, ...], dtype: str, rngs: nnx.Rngs):
        self.norm1 = LayerNorm(width, stack=stack)
        self.norm_context = LayerNorm(width, stack=stack)
        self.norm2 = LayerNorm(width, stack=stack)
        self.cross_attn = MultiheadAttention(width, heads, stack=stack, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(width, mlp_width, width, stack=stack, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b tokens c"], context: Float[Array, "b others c"]
    ) -> Float[Array, "b tokens c"]:
        x = self.norm1(x)
        x = x + self.cross_attn(x, self.norm_context(context))
        return x + self.mlp(self.norm2(x))


class UpdateTransformer(nnx.Module):
    """Tokens of every track in every frame to one update vector each.

    ``time_depth`` time blocks run in order; after every (time_depth / space_depth)-th, from the first on, the virtual
    tracks read the points, attend to each other and are read by the points.
    """

    def __init__(self, inputs: int, outputs: int, config: TrackHeadConfig, *, dtype: str = "float32", rngs: nnx.Rngs):
        """
        Args:
            inputs: channels of a token.
            outputs: channels of an update.
            config: sizes of the transformer.
            dtype: of the matrix multiplications.

        Raises:
            ValueError: ``space_depth`` does not divide ``time_depth``, or ``num_heads`` not ``hidden_size``.
        """
        time_depth, space_depth, width = config.time_depth, config.space_depth, config.hidden_size
        if space_depth < 1 or time_depth % space_depth:
            raise InputError(f"space_depth {space_depth} must divide time_depth {time_depth}")
        if width % config.num_heads:
            raise InputError(f"num_heads {config.num_heads} must divide hidden_size {width}")
        sizes: dict[str, Any] = {
            "width": width,
            "heads": config.num_heads,
            "mlp_width": int(width * config.mlp_ratio),
            "dtype": dtype,
            "rngs": rngs,
        }
        self.time_depth, self.space_depth = time_depth, space_depth
        self.input_norm = LayerNorm(inputs)
        self.input_transform = Linear(inputs, width, dtype=dtype, rngs=rngs)
        # The official name, misspelt in every checkpoint.
        self.virual_tracks = nnx.Param(jax.random.normal(rngs.params(), (1, config.num_virtual_tracks, 1, width)))
        self.time_blocks = AttentionBlock(**sizes, stack=(time_depth,))
        self.space_virtual2point_blocks = CrossAttentionBlock(**sizes, stack=(space_depth,))
        self.space_virtual_blocks = AttentionBlock(**sizes, stack=(space_depth,))
        self.space_point2virtual_blocks = CrossAttentionBlock(**sizes, stack=(space_depth,))
        self.output_norm = LayerNorm(width)
        self.flow_head = Linear(width, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, tokens: Float[Array, "b points s m"]) -> Float[Array, "b points s n"]:
        b, points, s, _ = tokens.shape
        initial = self.input_transform(self.input_norm(tokens)).astype(jnp.float32)
        virtual_tracks = self.virual_tracks[...]
        virtual = jnp.broadcast_to(virtual_tracks, (b, virtual_tracks.shape[1], s, virtual_tracks.shape[3]))
        tracks = jnp.concatenate([initial, virtual], axis=1)

        time_def, time_params = nnx.split(self.time_blocks)
        # One group: the time blocks from one exchange between the tracks to the next.
        group = self.time_depth // self.space_depth
        time_params = jax.tree.map(lambda p: p.reshape(self.space_depth, group, *p.shape[1:]), time_params)
        reads_def, reads_params = nnx.split(self.space_virtual2point_blocks)
        mixes_def, mixes_params = nnx.split(self.space_virtual_blocks)
        returns_def, returns_params = nnx.split(self.space_point2virtual_blocks)

        def run_group(tracks, params):
            time, reads, mixes, returns = params
            for i in range(group):
                block = nnx.merge(time_def, jax.tree.map(lambda p, i=i: p[i], time))
                tracks = _along_time(block, tracks)
                if i == 0:
                    tracks = _across_tracks(
                        nnx.merge(reads_def, reads),
                        nnx.merge(mixes_def, mixes),
                        nnx.merge(returns_def, returns),
                        tracks,
                        points,
                    )
            return tracks, None

        tracks, _ = jax.lax.scan(run_group, tracks, (time_params, reads_params, mixes_params, returns_params))
        return self.flow_head(self.output_norm(tracks[:, :points] + initial))


def _along_time(block: AttentionBlock, tracks: Float[Array, "b tracks s c"]) -> Float[Array, "b tracks s c"]:
    b, n, s, c = tracks.shape
    return block(tracks.reshape(b * n, s, c)).reshape(b, n, s, c)


def _across_tracks(
    reads: CrossAttentionBlock,
    mixes: AttentionBlock,
    returns: CrossAttentionBlock,
    tracks: Float[Array, "b tracks s c"],
    points: int,
) -> Float[Array, "b tracks s c"]:
    """Exchange between the tracks of every frame; the first ``points`` are real, the rest virtual."""
    b, n, s, c = tracks.shape
    frames = tracks.transpose(0, 2, 1, 3).reshape(b * s, n, c)
    real, virtual = frames[:, :points], frames[:, points:]
    virtual = mixes(reads(virtual, real))
    real = returns(real, virtual)
    return jnp.concatenate([real, virtual], axis=1).reshape(b, s, n, c).transpose(0, 2, 1, 3)
