"""Attention as two operations of JAX, whose implementation is chosen when a program is lowered for a platform.

``jax.lax.platform_dependent`` would trace the kernels of all platforms into every program, and keep for the backward
pass what any of them needs. Here a program holds one operation for each direction until its platform is known; then the
implementation for that platform, and nothing else, is traced. ``vmap`` adds a leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array, Float

from vggt_jax.attention import cudnn, exact, pallas

FORWARD, BACKWARD = Primitive("attention_forward"), Primitive("attention_backward")


def forward(
    q: Float[Array, "b heads tq d"],
    k: Float[Array, "b heads tk d"],
    v: Float[Array, "b heads tk d"],
    *,
    statistics: bool,
) -> tuple[Array, ...]:
    """Attention and, with ``statistics``, what :func:`backward` needs beside it: (b, heads, tq, 1), float32."""
    return tuple(FORWARD.bind(q, k, v, statistics=statistics))


def backward(q: Array, k: Array, v: Array, out: Array, statistics: Array, g: Array) -> tuple[Array, ...]:
    """Gradients with respect to ``q``, ``k`` and ``v``, where ``g`` is that with respect to the output."""
    return tuple(BACKWARD.bind(q, k, v, out, statistics, g))


def _shapes_forward(q: Any, k: Any, v: Any, *, statistics: bool) -> list:
    out = q.update(shape=(*q.shape[:-1], v.shape[-1]), dtype=v.dtype)
    return [out, q.update(shape=(*q.shape[:-1], 1), dtype=jnp.dtype(jnp.float32))] if statistics else [out]


def _shapes_backward(q: Any, k: Any, v: Any, out: Any, statistics: Any, g: Any) -> list:
    return [q, k, v]


def _batched(primitive: Primitive, arrays: Sequence[Array], axes: Sequence[int | None], **static: Any) -> tuple:
    size = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    arrays = [batching.bdim_at_front(x, axis, size) for x, axis in zip(arrays, axes, strict=True)]
    found = primitive.bind(*arrays, **static)
    return found, [0] * len(found)


def _of(kernel: ModuleType | None, direction: str, *arrays: Array, **static: bool) -> Sequence[Array]:
    """The kernel where it can do it, else the exact loops; leading axes are one batch to both."""
    folded = [x.reshape(-1, *x.shape[-3:]) for x in arrays]
    run = getattr(kernel if kernel and kernel.can_do(*folded[:3]) else exact, direction)
    return [x.reshape(*arrays[0].shape[:-3], *x.shape[1:]) for x in run(*folded, **static)]


def _on_cpu(direction: str, *arrays: Array, **static: bool) -> Sequence[Array]:
    run = partial(getattr(exact, direction), scores=exact.CPU_SCORES, **static)
    for _ in range(arrays[0].ndim - 4):
        run = jax.vmap(run)
    return run(*arrays)


def _for_one_device(lowering: Callable) -> Callable:
    """The lowering, but where XLA would have to split a kernel, of which it knows nothing."""

    def lower(context: mlir.LoweringRuleContext, *values: Any, **static: Any) -> Any:
        axes = context.module_context.axis_context
        if isinstance(axes, mlir.ShardingContext):
            whole = axes.num_devices == 1
        else:
            manual = axes.manual_axes | set(axes.mesh.manual_axes)
            whole = all(size == 1 or name in manual for name, size in axes.mesh.shape.items())
        if not whole:
            raise NotImplementedError(
                "attention: a program for several devices needs its mesh when it is traced: use jax.set_mesh or shard_map"
            )
        return lowering(context, *values, **static)

    return lower


def _register(primitive: Primitive, direction: str, shapes: Callable, static: tuple[str, ...] = ()) -> None:
    primitive.multiple_results = True
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(shapes)
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(partial(_of, None, direction)))
    mlir.register_lowering(primitive, mlir.lower_fun(partial(_on_cpu, direction)), "cpu")
    for platform, kernel in (("cuda", cudnn), ("tpu", pallas)):
        lowering = mlir.lower_fun(partial(_of, kernel, direction))
        mlir.register_lowering(primitive, _for_one_device(lowering), platform)


_register(FORWARD, "forward", _shapes_forward, ("statistics",))
_register(BACKWARD, "backward", _shapes_backward)
