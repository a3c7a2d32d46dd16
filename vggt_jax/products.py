"""The product of activations and a weight matrix, with a backward pass that a CPU does not spend on transposing."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from vggt_jax.config import VGGTConfig

HIGHEST = jax.lax.Precision.HIGHEST
_KEPT, THIN, ATTENTION = "product", "few numbers", "attention"
_KEEP_PRODUCTS = jax.checkpoint_policies.save_only_these_names(_KEPT, THIN, ATTENTION)
_KEEP_ATTENTION = jax.checkpoint_policies.save_only_these_names(THIN, ATTENTION)


def kept_for_backward(config: VGGTConfig) -> Callable[..., bool] | None:
    """The policy of :func:`jax.checkpoint` for a block: what the backward pass finds, while it makes the rest again.

    With ``remat`` a block's input and, unless ``keep_attention`` is false, attention's output and statistics and what has
    few numbers for each token (statistics of norms, inputs times a LoRA's B); else what went through :func:`kept`, too.
    """
    if not config.remat:
        return _KEEP_PRODUCTS
    return _KEEP_ATTENTION if config.keep_attention else None


def kept(x: Array) -> Array:
    """``x``, which the backward pass finds where blocks are not recomputed."""
    return checkpoint_name(x, _KEPT)


def product(x: Float[Array, "*b m"], w: Float[Array | np.ndarray, "m n"]) -> Float[Array, "*b n"]:
    """x W in the type of ``x``.

    XLA's CPU backend transposes the first operand of the product that is the gradient with respect to W, and repeats for
    every element what made it (a GELU's derivative, say): here the narrower operand comes first.
    """
    return kept(_product(x, w))


@jax.custom_vjp
def _product(x: Array, w: Array | np.ndarray) -> Array:
    return jnp.matmul(x, w, precision=HIGHEST)


def _forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, w), (x, w)


def _backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = residuals
    return jnp.matmul(g, w.mT, precision=HIGHEST), _outer(x, g).astype(w.dtype)


_product.defvjp(_forward, _backward)


def _outer(x: Float[Array, "*b m"], g: Float[Array, "*b n"]) -> Float[Array, "m n"]:
    """Xᵀ G, summed over all leading axes."""
    x, g = (y.reshape(-1, y.shape[-1]) for y in (x, g))
    if x.shape[-1] > g.shape[-1]:
        return _outer(g, x).mT
    return jax.lax.dot_general(x, g, (((0,), (0,)), ((), ())), precision=HIGHEST)


def adapted_product(
    x: Float[Array, "*b m"], w: Float[Array, "m n"], a: Float[Array, "n r"], b: Float[Array, "m r"]
) -> Float[Array, "*b n"]:
    """x W + (x B) Aᵀ in the type of ``x``, rounded once.

    Wherever the wider of the two sides is the result, in this pass or in the backward pass, there is one product whose
    inner dimension is longer by r, [x, xB][W; Aᵀ], since to add two results that large costs more than a little of copying.
    """
    return kept(_adapted(x, w, a, b))


@jax.custom_vjp
def _adapted(x: Array, w: Array, a: Array, b: Array) -> Array:
    return _adapted_forward(x, w, a, b)[0]


def _adapted_forward(x: Array, w: Array, a: Array, b: Array) -> tuple[Array, tuple[Array, ...]]:
    y, x, low = _through_both(x, w, b, a.mT)
    return y, (x, w, a, b, low)


def _adapted_backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    x, w, a, b, low = residuals
    of_x, g, of_low = _through_both(g, w.mT, a, b.mT)
    of_a, of_b = (_outer(y, z).astype(a.dtype)[: len(f)] for y, z, f in ((g, low, a), (x, of_low, b)))
    of_w = _outer(x[..., : len(w)], g[..., : w.shape[1]]).astype(w.dtype)
    return of_x, of_w, of_a, of_b


_adapted.defvjp(_adapted_forward, _adapted_backward)


def _through_both(x: Array, w: Array, into: Array, out: Array) -> tuple[Array, Array, Array]:
    """x W + (x into) out, then ``x``, wider by r columns of any content, and x into.

    Where the result is the wider side, the thin product stands behind ``x`` and both are one product. The room for it is
    made where ``x`` is, so that what computes ``x`` can write it there, and nobody copies ``x``.
    """
    wide = w.shape[1] > w.shape[0]
    if wide:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, out.shape[0])])
        into = jnp.pad(into, ((0, out.shape[0]), (0, 0)))
    low = checkpoint_name(jnp.matmul(x, into, precision=HIGHEST), THIN)
    if not wide:
        return jnp.matmul(x, w, precision=HIGHEST) + jnp.matmul(low, out, precision=HIGHEST), x, low
    x = jax.lax.dynamic_update_slice_in_dim(x, low, len(w), axis=-1)
    return jnp.matmul(x, jnp.concatenate([w, out], axis=0), precision=HIGHEST), x, low
