"""cuDNN's flash attention, as XLA calls it on GPUs of NVIDIA from Ampere on.

``jax.nn.dot_product_attention`` makes the same calls, but asks the GPUs of this process whether it may, so that nothing
could be compiled for others; it leaves the splitting over devices to a partitioner that most meshes make fail; and its
training refuses odd numbers of tokens. Numbers of tokens are the patches' and five, so most are odd.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_FORWARD, _BACKWARD = "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"
_LEGACY = 2
"""The version of XLA's interface that these calls have."""
_PHYSICAL: tuple[int, ...] = (0, 2, 1, 3)
"""Tokens outside of heads, as the products before and after attention have them, so that nobody transposes."""


def can_do(q: Float[Array, "b heads tq d"], k: Float[Array, "b heads tk d"], v: Float[Array, "b heads tk d"]) -> bool:
    """Whether cuDNN has a kernel: half precision, heads of a multiple of 8 channels up to 128."""
    return v.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128


def forward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    *,
    statistics: bool,
) -> tuple[Array, ...]:
    """The output and, with ``statistics``, the logarithm of every query's sum of exponentials (b, heads, tq, 1)."""
    tq = q.shape[2]
    if statistics:
        lengths = _lengths(q, k)
        q, k, v = (_even(x) for x in (q, k, v))
    else:
        lengths = ()
    b, heads, padded, d = q.shape
    shapes: list[Any] = [(jax.ShapeDtypeStruct((b, heads, padded, d), v.dtype), _PHYSICAL)]
    if statistics:
        shapes.append((jax.ShapeDtypeStruct((b, heads, padded), jnp.float32), (0, 1, 2)))
    products = {
        "bmm1": _product((3, 3), (0, 2), (0, 2)),
        "bmm2": _product((3, 1), (0, 1), (0, 2)),
    }
    found = _call(_FORWARD, products, [q, k, v], lengths, shapes)
    return (found[0][:, :, :tq], found[1][:, :, :tq, None]) if statistics else (found[0],)


def backward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    out: Float[Array, "b heads tq d"],
    statistics: Float[Array, "b heads tq 1"],
    g: Float[Array, "b heads tq d"],
) -> tuple[Array, ...]:
    """Gradients with respect to ``q``, ``k`` and ``v``."""
    unpadded = (q, k, v)
    lengths = _lengths(q, k)
    q, k, v, out, statistics, g = (_even(x) for x in (q, k, v, out, statistics, g))
    shapes = [(jax.ShapeDtypeStruct(x.shape, x.dtype), _PHYSICAL) for x in (q, k, v)]
    products = {
        "bmm1_grad_gemm1": _product((2, 1), (0, 1), (0, 2)),
        "bmm1_grad_gemm2": _product((3, 1), (0, 1), (0, 2)),
        "bmm2_grad_gemm1": _product((2, 1), (0, 1), (0, 2)),
        "bmm2_grad_gemm2": _product((3, 3), (0, 2), (0, 2)),
    }
    found = _call(_BACKWARD, products, [q, k, v, statistics[..., 0], g, out], lengths, shapes)
    return tuple(x[:, :, : y.shape[2]] for x, y in zip(found, unpadded, strict=True))


def _lengths(q: Array, k: Array) -> tuple[Array, ...]:
    """Of queries and keys in each sequence, where there is an odd number of either: its training wants even ones."""
    if q.shape[2] % 2 == 0 and k.shape[2] % 2 == 0:
        return ()
    return tuple(jnp.full(x.shape[0], x.shape[2], jnp.int32) for x in (q, k))


def _even(x: Float[Array, "b heads t d"]) -> Float[Array, "b heads t2 d"]:
    return jnp.pad(x, ((0, 0), (0, 0), (0, x.shape[2] % 2), (0, 0)))


def _call(
    target: str,
    products: dict[str, Any],
    arrays: list[Array],
    lengths: tuple[Array, ...],
    results: Sequence[tuple[jax.ShapeDtypeStruct, tuple[int, ...]]],
) -> list[Array]:
    (b, heads, tq, d), tk = arrays[0].shape, arrays[1].shape[2]
    settings = {
        "algorithm": {
            "algo_id": "0",
            "math_type": "TENSOR_OP_MATH",
            "tuning_knobs": {"17": "1", "24": "0"},
            "is_cudnn_frontend": True,
            "workspace_size": "0",
        },
        "fmha_scale": 1 / sqrt(d),
        "intermediate_tensor_shape": {
            "element_type": {"bfloat16": "BF16", "float16": "F16"}[arrays[0].dtype.name],
            "dimensions": [str(size) for size in (b, heads, tq, tk)],
            "layout": {"minor_to_major": ["3", "2", "1", "0"]},
            "is_dynamic_dimension": [False] * 4,
        },
        "is_flash_attention": True,
        "mask_type": "PADDING" if lengths else "NO_MASK",
        "max_seg_per_batch": 1,
        **{f"{name}_dot_dimension_numbers": numbers for name, numbers in products.items()},
    }
    workspace = (jax.ShapeDtypeStruct((0,), jnp.uint8), (0,))
    shapes, layouts = zip(*results, workspace, strict=True)
    # The operands' shapes have tokens before heads, the results' only their layouts.
    operands = [x.transpose(_PHYSICAL) if x.ndim == 4 else x for x in arrays]
    call = jax.ffi.ffi_call(
        target,
        shapes,
        output_layouts=layouts,
        custom_call_api_version=_LEGACY,
        legacy_backend_config=json.dumps({"operation_queue_id": "0", "cudnn_fmha_backend_config": settings}),
        vmap_method="sequential",
    )
    return list(call(*operands, *lengths))[:-1]


def _product(contracted: tuple[int, int], left: tuple[int, int], right: tuple[int, int]) -> dict[str, list[str]]:
    return {
        "lhs_contracting_dimensions": [str(contracted[0])],
        "rhs_contracting_dimensions": [str(contracted[1])],
        "lhs_batch_dimensions": [str(axis) for axis in left],
        "rhs_batch_dimensions": [str(axis) for axis in right],
    }
