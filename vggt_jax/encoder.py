"""The image backbone: DINOv2 with registers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from vggt_jax.blocks import Block, run
from vggt_jax.config import VGGTConfig
from vggt_jax.layers import Conv, LayerNorm


class PatchEmbed(nnx.Module):
    """Cuts images into patches and projects each."""

    def __init__(self, patch: int, width: int, *, dtype: str, rngs: nnx.Rngs):
        self.proj = Conv(3, width, kernel=patch, stride=patch, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p c"]:
        return rearrange(self.proj(images), "n h w c -> n (h w) c")


class Encoder(nnx.Module):
    """DINOv2: patches, position embedding and registers through a plain vision transformer (norms with eps 1e-6)."""

    def __init__(self, config: VGGTConfig, *, rngs: nnx.Rngs):
        part, width = config.encoder, config.width
        self.config = config
        grid = config.image_size // config.patch_size

        def normal(*shape: int, std: float) -> nnx.Param:
            return nnx.Param(std * jax.random.normal(rngs.params(), shape))

        self.cls_token = normal(1, 1, width, std=1e-6)
        self.pos_embed = normal(1, 1 + grid * grid, width, std=0.02)
        self.register_tokens = normal(1, part.num_registers, width, std=1e-6)
        # Only DINO's own pre-training uses it; it is here because checkpoints hold it.
        self.mask_token = nnx.Param(jnp.zeros((1, width)))
        self.patch_embed = PatchEmbed(config.patch_size, width, dtype=config.dtype, rngs=rngs)
        self.blocks = Block(
            width,
            part.num_heads,
            mlp_ratio=part.mlp_ratio,
            layer_scale=part.layer_scale,
            eps=1e-6,
            stack=(part.depth,),
            dtype=config.dtype,
            rngs=rngs,
        )
        self.norm = LayerNorm(width, eps=1e-6)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p c"]:
        """Normed patch tokens of normalised ``images``, row by row."""
        return self.all_tokens(images)[:, 1 + self.config.encoder.num_registers :]

    def all_tokens(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n t c"]:
        """All normed tokens: class token, registers, patches."""
        return self.norm(run(self.blocks, self.embed(images), config=self.config))

    def embed(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n t c"]:
        """The tokens that enter the first block: class token, registers (which get no position), patches."""
        n, height, width, _ = images.shape
        positions = self.positions(height, width)
        patches = self.patch_embed(images) + positions[:, 1:]
        cls_token = jnp.broadcast_to(self.cls_token[...] + positions[:, :1], (n, 1, patches.shape[-1]))
        registers = jnp.broadcast_to(self.register_tokens[...], (n, *self.register_tokens.shape[1:]))
        return jnp.concatenate([cls_token, registers, patches], axis=1)

    def positions(self, height: int, width: int) -> Float[Array, "1 t c"]:
        """The learned position embedding, resized to an image of ``height`` × ``width`` pixels."""
        patch, learned = self.config.patch_size, self.pos_embed[...].astype(jnp.float32)
        grid = self.config.image_size // patch
        if height == width and height // patch == grid:
            return learned
        patches = rearrange(learned[:, 1:], "one (h w) c -> one h w c", h=grid)
        shape = (1, height // patch, width // patch, learned.shape[-1])
        resized = jax.image.resize(patches, shape, "cubic", antialias=True, precision=jax.lax.Precision.HIGHEST)
        return jnp.concatenate([learned[:, :1], rearrange(resized, "one h w c -> one (h w) c")], axis=1)
