"""The alternating-attention trunk: attention within each frame, then over all frames, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vggt_jax.blocks import Block
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import NO_DELTAS, Deltas, below
from vggt_jax.encoder import Encoder
from vggt_jax.products import kept_for_backward
from vggt_jax.rope import Rotation, rotation, token_positions


class Aggregator(nnx.Module):
    """Encodes every frame and lets the frames' tokens look at each other."""

    def __init__(self, config: VGGTConfig, *, rngs: nnx.Rngs):
        part, width = config.aggregator, config.width
        self.config = config
        self.patch_embed = Encoder(config, rngs=rngs)
        self.frame_blocks, self.global_blocks = (
            Block(
                width,
                part.num_heads,
                mlp_ratio=part.mlp_ratio,
                layer_scale=part.layer_scale,
                qk_norm=True,
                stack=(part.depth,),
                dtype=config.dtype,
                rngs=rngs,
            )
            for _ in range(2)
        )
        # Row 0 is the first frame's, whose camera is the reference; row 1 is every other frame's.
        self.camera_token = nnx.Param(1e-6 * jax.random.normal(rngs.params(), (1, 2, 1, width)))
        self.register_token = nnx.Param(1e-6 * jax.random.normal(rngs.params(), (1, 2, part.num_registers, width)))

    def encode(self, images: Float[Array, "b s h w 3"]) -> Float[Array, "b s p c"]:
        """Patch tokens of each frame by itself; what one would cache while the encoder is frozen."""
        tokens = self.patch_embed(self.normalise(images.reshape(-1, *images.shape[2:])))
        return tokens.reshape(*images.shape[:2], *tokens.shape[1:])

    def normalise(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
        """Images with the mean and standard deviation that the encoder was trained on taken out."""
        return (images - jnp.asarray(self.config.image_mean)) / jnp.asarray(self.config.image_std)

    def assemble(self, patch_tokens: Float[Array, "b s p c"]) -> Float[Array, "b s t c"]:
        """The tokens that enter the first layer: camera token, registers, patches."""
        b, s = patch_tokens.shape[:2]
        row = jnp.minimum(jnp.arange(s), 1)
        special = jnp.concatenate([self.camera_token[...], self.register_token[...]], axis=2)[:, row]
        special = jnp.broadcast_to(special, (b, *special.shape[1:]))
        return jnp.concatenate([x.astype(jnp.float32) for x in (special, patch_tokens)], axis=2)

    def rotations(self, height: int, width: int, frames: int) -> tuple[Rotation, Rotation]:
        """Rotary embeddings for frame and global attention on images of ``height`` × ``width`` pixels."""
        patch, part = self.config.patch_size, self.config.aggregator
        positions = token_positions(height // patch, width // patch, self.config.patch_start)
        head_dim = self.config.width // part.num_heads
        return (
            rotation(positions, head_dim, part.rope_base),
            rotation(jnp.tile(positions, (frames, 1)), head_dim, part.rope_base),
        )

    def __call__(
        self,
        patch_tokens: Float[Array, "b s p c"],
        image_size: tuple[int, int],
        *,
        layers: Sequence[int],
        deltas: Deltas = NO_DELTAS,
    ) -> Float[Array, "layers b s t c2"]:
        """Outputs of the chosen ``layers`` (ascending), frame block's first, then global block's channels.

        ``patch_tokens`` come from :meth:`encode`, ``image_size`` is (height, width) in pixels. Layers that nobody asked
        for are not kept, and those after the last one are not run.
        """
        depth = layers[-1] + 1
        x = self.assemble(patch_tokens)
        frame_rope, global_rope = self.rotations(*image_size, frames=x.shape[1])
        frame_def, frame_params = nnx.split(self.frame_blocks)
        global_def, global_params = nnx.split(self.global_blocks)

        def block(graphdef: nnx.GraphDef, x: Array, params: nnx.State, rope: Rotation, deltas: Deltas) -> Array:
            return nnx.merge(graphdef, params)(x, rope=rope, deltas=deltas)

        # Inside a scan, forward and backward pass cannot share work: the barrier against that would only cost.
        policy = kept_for_backward(self.config)
        block = jax.checkpoint(block, static_argnums=0, prevent_cse=False, policy=policy)

        def step(carry: tuple[Array, Array], layer: tuple) -> tuple[tuple[Array, Array], None]:
            x, kept = carry
            (slot, is_last), frame_layer, global_layer, frame_deltas, global_deltas = layer
            b, s = x.shape[:2]
            within = block(frame_def, rearrange(x, "b s t c -> (b s) t c"), frame_layer, frame_rope, frame_deltas)
            across = block(
                global_def, rearrange(within, "(b s) t c -> b (s t) c", b=b), global_layer, global_rope, global_deltas
            )
            within, x = (rearrange(within, "(b s) t c -> b s t c", b=b), rearrange(across, "b (s t) c -> b s t c", s=s))
            return (x, _written(kept, jnp.concatenate([within, x], axis=-1), slot, is_last)), None

        # Every layer writes to the slot of the next layer to keep, which overwrites it in the end: one loop for all
        # layers, compiled once, that never holds more than the kept ones.
        slots = np.searchsorted(layers, np.arange(depth))
        are_last = np.isin(np.arange(depth), layers)
        stacked = jax.tree.map(
            lambda leaf: leaf[:depth],
            (frame_params, global_params, below(deltas, "frame_blocks"), below(deltas, "global_blocks")),
        )
        kept = jnp.zeros((len(layers), *x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        (_, kept), _ = jax.lax.scan(step, (x, kept), ((jnp.asarray(slots), jnp.asarray(are_last)), *stacked))
        return kept


@jax.custom_vjp
def _written(
    kept: Float[Array, "layers b s t c2"],
    layer: Float[Array, "b s t c2"],
    slot: Int[Array, ""],
    is_last: Bool[Array, ""],
) -> Float[Array, "layers b s t c2"]:
    """``kept`` with ``layer`` in a slot, where ``is_last`` tells whether that is what stays there.

    The gradient leaves the slot as it is, as earlier layers pass by what lies there: nothing of that size is written again.
    """
    return _put(kept, layer, slot)


@jax.custom_batching.custom_vmap
def _put(kept: Array, layer: Array, slot: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(kept, layer, slot, 0)


@_put.def_vmap
def _put_each(size: int, batched: Sequence[bool], kept: Array, layer: Array, slot: Array) -> tuple[Array, bool]:
    """As a write to a part of all at once; JAX would make a scatter of it, which reads that part first."""
    kept, layer = (
        x if is_batched else jnp.broadcast_to(x, (size, *x.shape))
        for x, is_batched in zip((kept, layer), batched, strict=False)
    )
    if batched[2]:
        return jax.vmap(lambda *each: jax.lax.dynamic_update_index_in_dim(*each, 0))(kept, layer, slot), True
    return jax.lax.dynamic_update_index_in_dim(kept, layer, slot, 1), True


def _write(kept: Array, layer: Array, slot: Array, is_last: Array) -> tuple[Array, tuple[Array, Array]]:
    return _written(kept, layer, slot, is_last), (slot, is_last)


def _read(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array, None, None]:
    slot, is_last = residuals
    return g, jnp.where(is_last, jax.lax.dynamic_index_in_dim(g, slot, 0, keepdims=False), 0), None, None


_written.defvjp(_write, _read)
