"""The layers that every part of the model is built from.

Weights are float32 in JAX layouts: ``kernel`` (inputs, outputs) or HWIO, ``bias``, ``scale``; a model whose weights are
stored in bfloat16 computes the same way. With ``stack=(L,)`` a layer holds the parameters of L equal layers on a leading
axis; such a stack is called one slice at a time (see :mod:`vggt_jax.blocks`). Matrix multiplications run in ``dtype`` at
its full precision, norms and activations in float32; float32 convolutions as PyTorch has them by default, in full precision
on a CPU, with TF32's ten bits on GPUs that have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from subspace import LowRank
from vggt_jax.deltas import Update, WeightDecomposed, filters, kernel_matrix, linear_delta
from vggt_jax.normalisation import normalised
from vggt_jax.products import HIGHEST, adapted_product, product


def _uniform(rngs: nnx.Rngs, shape: Sequence[int], fan_in: int) -> nnx.Param:
    """Uniform in ±1/√fan_in, which is PyTorch's default for weights and biases."""
    limit = 1 / sqrt(fan_in)
    return nnx.Param(jax.random.uniform(rngs.params(), tuple(shape), jnp.float32, -limit, limit))


_SMALL = 2**16
"""Entries that a small weight matrix has at most, see :func:`_summed_first`; each in nano's aggregator has no more."""


class Linear(nnx.Module):
    """y = x W + b, plus (x B) Aᵀ where a low-rank update is given; a weight-decomposed one scales both products' sum."""

    def __init__(
        self, inputs: int, outputs: int, *, stack: tuple[int, ...] = (), dtype: str = "float32", rngs: nnx.Rngs
    ):
        self.dtype = dtype
        self.kernel = _uniform(rngs, (*stack, inputs, outputs), inputs)
        self.bias = _uniform(rngs, (*stack, outputs), inputs)

    def __call__(self, x: Float[Array, "*b m"], delta: Update | None = None) -> Float[Array, "*b n"]:
        x, bias, kernel = x.astype(self.dtype), self.bias[...].astype(self.dtype), self.kernel[...]
        if isinstance(delta, LowRank) and _summed_first(x, kernel):
            kernel, delta = kernel + delta.to_dense().mT, None
        if isinstance(delta, WeightDecomposed):
            gain = delta.gain(kernel.mT).astype(self.dtype)
            return gain * self._adapted(x, kernel, delta.direction) + bias
        if delta is not None and x.dtype != jnp.float32:
            return self._adapted(x, kernel, delta) + bias
        y = product(x, kernel.astype(self.dtype)) + bias
        return y if delta is None else y + linear_delta(x, delta)

    def _adapted(self, x: Float[Array, "*b m"], kernel: Float[Array, "m n"], delta: LowRank) -> Float[Array, "*b n"]:
        """x (W + dW); in float32 by products of their own, which CPUs prefer."""
        kernel = kernel.astype(self.dtype)
        if x.dtype == jnp.float32:
            return product(x, kernel) + linear_delta(x, delta)
        return adapted_product(x, kernel, *(jnp.asarray(factor, self.dtype) for factor in (delta.A, delta.B)))


def _summed_first(x: Float[Array, "*b m"], kernel: Float[Array, "*window m n"]) -> bool:
    """Whether W + dW is made before it meets ``x``: where W is small and positions are many.

    Products with thin factors leave such a machine's arithmetic idle: their forward and backward passes cost more than
    the gradient with respect to all of W + dW, from which those of the factors follow. W itself must be float32, or dW
    would be rounded away.
    """
    positions = x.size // x.shape[-1]
    return x.dtype == jnp.float32 and kernel.size <= _SMALL and positions >= kernel.shape[-1]


class LayerNorm(nnx.Module):
    """Normalisation over the last axis in float32, with a learned scale and bias unless ``affine`` is false.

    With ``keep_statistics`` mean and variance come from one pass over the input, and blocks that are recomputed keep them.
    """

    def __init__(
        self,
        size: int,
        *,
        eps: float = 1e-5,
        affine: bool = True,
        keep_statistics: bool = False,
        stack: tuple[int, ...] = (),
    ):
        self.eps, self.keep_statistics = eps, keep_statistics
        self.scale = nnx.Param(jnp.ones((*stack, size))) if affine else None
        self.bias = nnx.Param(jnp.zeros((*stack, size))) if affine else None

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        x = x.astype(jnp.float32)
        if self.keep_statistics:
            y = normalised(x, self.eps)
        else:
            centred = x - x.mean(-1, keepdims=True)
            y = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.eps)
        return y if self.scale is None or self.bias is None else y * self.scale[...] + self.bias[...]


class LayerScale(nnx.Module):
    """A learned factor for each channel."""

    def __init__(self, size: int, *, initial: float, stack: tuple[int, ...] = ()):
        self.gamma = nnx.Param(jnp.full((*stack, size), initial, jnp.float32))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        return x.astype(jnp.float32) * self.gamma[...]


class Conv(nnx.Module):
    """A square convolution of channels-last images; a low-rank update is r filters of the same geometry, then 1×1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        dtype: str = "float32",
        rngs: nnx.Rngs,
    ):
        self.stride, self.padding, self.dtype = stride, padding, dtype
        self.kernel = _uniform(rngs, (kernel, kernel, inputs, outputs), inputs * kernel * kernel)
        self.bias = _uniform(rngs, (outputs,), inputs * kernel * kernel) if bias else None

    def __call__(self, x: Float[Array, "b h w m"], delta: Update | None = None) -> Float[Array, "b h2 w2 n"]:
        x, kernel = x.astype(self.dtype), self.kernel[...]
        if isinstance(delta, LowRank) and _summed_first(x, kernel):
            kernel, delta = kernel + filters(delta.to_dense().mT, kernel.shape[0]), None
        y = self._convolve(x, kernel.astype(self.dtype))
        if isinstance(delta, WeightDecomposed):
            gain = delta.gain(kernel_matrix(kernel, conv=True)).astype(self.dtype)
            y = gain * (y + self._low_rank(x, delta.direction))
        if self.bias is not None:
            y = y + self.bias[...].astype(self.dtype)
        return y + self._low_rank(x, delta) if isinstance(delta, LowRank) else y

    def _low_rank(self, x: Array, delta: LowRank) -> Array:
        hidden = self._convolve(x, filters(delta.B.astype(self.dtype), self.kernel.shape[0]))
        return jnp.matmul(hidden, delta.A.astype(self.dtype).mT, precision=HIGHEST)

    def _convolve(self, x: Array, kernel: Array) -> Array:
        if kernel.shape[:2] == (1, 1) and self.stride == 1 and self.padding == 0:
            return product(x, kernel[0, 0])
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.stride, self.stride),
            padding=((self.padding, self.padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGH,
        )


class Upsample(nnx.Module):
    """A transposed convolution whose stride is its kernel: every pixel becomes its own ``factor`` × ``factor`` tile."""

    def __init__(self, channels: int, *, factor: int, dtype: str = "float32", rngs: nnx.Rngs):
        self.dtype = dtype
        self.kernel = _uniform(rngs, (factor, factor, channels, channels), channels * factor * factor)
        self.bias = _uniform(rngs, (channels,), channels * factor * factor)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        kernel = self.kernel[...].astype(self.dtype)
        tiles = jnp.einsum("bhwi,pqio->bhpwqo", x.astype(self.dtype), kernel, precision=HIGHEST)
        b, h, p, w, q, c = tiles.shape
        return tiles.reshape(b, h * p, w * q, c) + self.bias[...].astype(self.dtype)


def gelu(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """The exact GELU x Φ(x), with Φ the normal distribution, in float32."""
    return _gelu(x.astype(jnp.float32))


@jax.custom_vjp
def _gelu(x: Array) -> Array:
    return x * _normal_distribution(x)


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    return _gelu(x), x


def _gelu_backward(x: Array, g: Array) -> tuple[Array]:
    return (g * (_normal_distribution(x) + x * jnp.exp(-0.5 * x * x) / sqrt(2 * pi)),)


_gelu.defvjp(_gelu_forward, _gelu_backward)


def _normal_distribution(x: Array) -> Array:
    """Φ(x) by erf, as PyTorch has it; the erfc of :func:`jax.nn.gelu` takes a CPU four times as long."""
    return 0.5 * (1 + jax.lax.erf(x * sqrt(0.5)))
