"""The product of activations and a weight matrix, with a backward pass that a CPU does not spend on transposing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
_KEPT, ATTENTION = "product", "attention"
KEEP_PRODUCTS = jax.checkpoint_policies.save_only_these_names(_KEPT, ATTENTION)
"""For :func:`jax.checkpoint`: keep what went through :func:`kept` and what attention names, and make the rest again."""


def kept(x: Array) -> Array:
    """``x``, which :data:`KEEP_PRODUCTS` keeps for the backward pass."""
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
