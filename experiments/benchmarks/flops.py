"""Floating-point operations of a JAX program, counted from its matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import jax

_ATTENTION = {"attention_forward": 2, "attention_backward": 5}
"""Products of every query with every key that each of these operations of ``vggt_jax.attention`` is made of."""


def count(function: Callable, *arguments: Any) -> float:
    """Multiplications and additions of ``function(*arguments)``; loops of known length count every pass.

    Element-wise work (softmax, norms, activations) is left out, as is usual when a share of the peak is quoted.
    ``arguments`` may be abstract (``jax.ShapeDtypeStruct``).
    """
    return sum(operations for _, operations in by_scope(function, *arguments))


def by_scope(function: Callable, *arguments: Any) -> Iterator[tuple[str, float]]:
    """The same, one by one: the scopes that JAX names a product or convolution by (``jax.named_scope``, transformations),
    outermost first, and its operations."""
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr, "", 1)


def _of(jaxpr: Any, outer: str, repeats: int) -> Iterator[tuple[str, float]]:
    for equation in jaxpr.eqns:
        scope = f"{outer}/{equation.source_info.name_stack}"
        if own := _own(equation):
            yield scope, repeats * own
        for inner in _inner(equation):
            yield from _of(inner, scope, repeats * _repeats(equation))


def _own(equation: Any) -> float:
    if (products := _ATTENTION.get(equation.primitive.name)) is not None:
        q, k = (variable.aval for variable in equation.invars[:2])
        return 2.0 * products * q.size * k.shape[-2]
    if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
        return 0.0
    out = equation.outvars[0].aval
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * out.size * prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    kernel = equation.invars[1].aval
    outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * out.size * kernel.size / outputs


def _repeats(equation: Any) -> int:
    return equation.params["length"] if equation.primitive.name == "scan" else 1


def _inner(equation: Any) -> list:
    """The programs inside a call, a scan or a while loop (whose body counts once)."""
    values = [v for value in equation.params.values() for v in (value if isinstance(value, tuple | list) else [value])]
    return [getattr(value, "jaxpr", value) for value in values if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
