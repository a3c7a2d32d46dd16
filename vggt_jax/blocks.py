"""The transformer block, and how a stack of them is run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from vggt_jax.attention import attention
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import NO_DELTAS, Deltas, below
from vggt_jax.layers import LayerNorm, LayerScale, Linear, gelu
from vggt_jax.products import kept_for_backward
from vggt_jax.rope import Rotation, normalise_and_rotate, rotate


class Attention(nnx.Module):
    """Multi-head self-attention; ``qk_norm`` normalises each head's queries and keys before they are rotated."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        qk_norm: bool,
        eps: float,
        stack: tuple[int, ...],
        dtype: str,
        rngs: nnx.Rngs,
    ):
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width, stack=stack, dtype=dtype, rngs=rngs)
        self.q_norm = LayerNorm(width // num_heads, eps=eps, stack=stack) if qk_norm else None
        self.k_norm = LayerNorm(width // num_heads, eps=eps, stack=stack) if qk_norm else None
        self.proj = Linear(width, width, stack=stack, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b t c"], *, rope: Rotation | None = None, deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "b t c"]:
        q, k, v = rearrange(
            self.qkv(x, deltas.get("qkv")), "b t (three heads d) -> three b heads t d", three=3, heads=self.num_heads
        )
        q, k = _placed(q, self.q_norm, rope), _placed(k, self.k_norm, rope)
        out = attention(q.astype(v.dtype), k.astype(v.dtype), v)
        return self.proj(rearrange(out, "b heads t d -> b t (heads d)"), deltas.get("proj"))


def _placed(
    x: Float[Array, "b heads t d"], norm: LayerNorm | None, rope: Rotation | None
) -> Float[Array, "b heads t d"]:
    """Queries or keys normalised and rotated: in half precision in one pass, whose backward pass moves less."""
    if norm is None or norm.scale is None or norm.bias is None or rope is None or x.dtype == jnp.float32:
        x = x if norm is None else norm(x)
        return x if rope is None else rotate(x, rope)
    return normalise_and_rotate(x, norm.scale[...], norm.bias[...], rope, norm.eps)


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        stack: tuple[int, ...] = (),
        dtype: str = "float32",
        rngs: nnx.Rngs,
    ):
        self.fc1 = Linear(inputs, hidden, stack=stack, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(hidden, outputs, stack=stack, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "*b m"], deltas: Deltas = NO_DELTAS) -> Float[Array, "*b n"]:
        return self.fc2(gelu(self.fc1(x, deltas.get("fc1"))), deltas.get("fc2"))


class Block(nnx.Module):
    """A pre-norm transformer block with layer scale: attention, then MLP.

    With ``stack=(L,)`` it holds L blocks: ``blocks[i]`` is the i-th as a block of its own, :func:`run` applies all.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        layer_scale: float,
        eps: float = 1e-5,
        qk_norm: bool = False,
        stack: tuple[int, ...] = (),
        dtype: str = "float32",
        rngs: nnx.Rngs,
    ):
        # In half precision the input of norm1 is read so often that XLA would not keep its statistics by itself.
        self.norm1 = LayerNorm(width, eps=eps, keep_statistics=dtype != "float32", stack=stack)
        self.attn = Attention(width, num_heads, qk_norm=qk_norm, eps=eps, stack=stack, dtype=dtype, rngs=rngs)
        self.ls1 = LayerScale(width, initial=layer_scale, stack=stack)
        self.norm2 = LayerNorm(width, eps=eps, stack=stack)
        self.mlp = Mlp(width, int(width * mlp_ratio), width, stack=stack, dtype=dtype, rngs=rngs)
        self.ls2 = LayerScale(width, initial=layer_scale, stack=stack)

    def __call__(
        self, x: Float[Array, "b t c"], *, rope: Rotation | None = None, deltas: Deltas = NO_DELTAS
    ) -> Float[Array, "b t c"]:
        with jax.named_scope("attn"):
            x = x + self.ls1(self.attn(self.norm1(x), rope=rope, deltas=below(deltas, "attn")))
        with jax.named_scope("mlp"):
            return x + self.ls2(self.mlp(self.norm2(x), deltas=below(deltas, "mlp")))

    def __getitem__(self, layer: int) -> Block:
        graphdef, params = nnx.split(self)
        return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[layer], params))


def run(
    blocks: Block, x: Float[Array, "b t c"], *, config: VGGTConfig, deltas: Deltas = NO_DELTAS
) -> Float[Array, "b t c"]:
    """``x`` after all blocks of a stack, in turn; ``deltas`` are stacked like the blocks.

    What the backward pass keeps of each block is said by :func:`~vggt_jax.products.kept_for_backward`.
    """
    graphdef, params = nnx.split(blocks)

    def step(x: Array, layer: tuple[nnx.State, dict]) -> tuple[Array, None]:
        return nnx.merge(graphdef, layer[0])(x, deltas=layer[1]), None

    step = jax.checkpoint(step, prevent_cse=False, policy=kept_for_backward(config))
    return jax.lax.scan(step, x, (params, dict(deltas)))[0]
