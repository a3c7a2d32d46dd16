"""The pose head: refines one encoding of every frame's camera, a few times over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vggt_jax.blocks import Block, Mlp, run
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import NO_DELTAS, Deltas, below
from vggt_jax.layers import LayerNorm, Linear

ENCODING = 9
"""Translation (3), quaternion x y z w (4), vertical and horizontal field of view in radians (2)."""


class CameraHead(nnx.Module):
    """Predicts pose encodings from the camera tokens of the last aggregator layer."""

    def __init__(self, config: VGGTConfig, *, rngs: nnx.Rngs):
        part, width, dtype = config.camera, 2 * config.width, config.head_dtype
        self.config = config
        self.trunk = Block(
            width,
            part.num_heads,
            mlp_ratio=part.mlp_ratio,
            layer_scale=part.layer_scale,
            stack=(part.depth,),
            dtype=dtype,
            rngs=rngs,
        )
        self.token_norm = LayerNorm(width)
        self.trunk_norm = LayerNorm(width)
        self.empty_pose_tokens = nnx.Param(jnp.zeros((1, 1, ENCODING)))
        self.embed_pose = Linear(ENCODING, width, dtype=dtype, rngs=rngs)
        self.poseLN_modulation: nnx.List[Any] = nnx.List(
            [jax.nn.silu, Linear(width, 3 * width, dtype=dtype, rngs=rngs)]
        )
        self.adaln_norm = LayerNorm(width, eps=1e-6, affine=False)
        self.pose_branch = Mlp(width, width // 2, ENCODING, dtype=dtype, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "b s t c2"], deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "iterations b s 9"]:
        """Pose encodings after every iteration, fields of view clipped at 0; ``tokens`` are the last layer's.

        No gradient flows from one iteration to the one before.
        """
        camera_tokens = self.camera_tokens(tokens)
        empty = self.empty_pose_tokens[...].astype(jnp.float32)
        empty = jnp.broadcast_to(empty, (*camera_tokens.shape[:2], ENCODING))

        def refine(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            seen, sum_so_far = carry
            tokens = self.refined_tokens(camera_tokens, seen, deltas)
            step = self.pose_branch(self.trunk_norm(tokens), below(deltas, "pose_branch"))
            encoding = sum_so_far + step.astype(jnp.float32)
            detached = jax.lax.stop_gradient(encoding)
            return (detached, detached), encoding

        _, encodings = jax.lax.scan(refine, (empty, jnp.zeros_like(empty)), length=self.config.camera.iterations)
        return encodings.at[..., 7:].set(jax.nn.relu(encodings[..., 7:]))

    def camera_tokens(self, tokens: Float[Array, "b s t c2"]) -> Float[Array, "b s c2"]:
        """The normed camera token of every frame."""
        return self.token_norm(tokens[:, :, 0])

    def refined_tokens(
        self, camera_tokens: Float[Array, "b s c2"], encoding: Float[Array, "b s 9"], deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "b s c2"]:
        """One iteration's output of the trunk, which starts from the camera tokens, modulated by the pose so far.

        Its few tokens are never recomputed: that would read all of its weights again.
        """
        modulation = self.poseLN_modulation[1]
        condition = jax.nn.silu(self.embed_pose(encoding, deltas.get("embed_pose")).astype(jnp.float32))
        shift, scale, gate = jnp.split(modulation(condition, deltas.get("poseLN_modulation.1")), 3, axis=-1)
        modulated = camera_tokens + gate * (self.adaln_norm(camera_tokens) * (1 + scale) + shift)
        return run(self.trunk, modulated, deltas=below(deltas, "trunk"), config=replace(self.config, remat=False))
