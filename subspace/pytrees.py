"""Dataclasses of arrays that JAX sees through."""

from dataclasses import fields
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def register_dataclass(cls: type[T]) -> type[T]:
    """:func:`jax.tree_util.register_dataclass`, for classes whose annotations say what the arrays are.

    JAX's transformations rebuild such a tree with placeholders as leaves, so jaxtyping must not check the fields whenever an
    instance is made. Instances print the shapes of their arrays, not the numbers.
    """
    cls.__no_type_check__ = True  # pyright: ignore[reportAttributeAccessIssue]
    cls.__repr__ = _shapes
    return jax.tree_util.register_dataclass(cls)


def _shapes(self: Any) -> str:
    """Such as ``LowRank(A=float32[24,1024,16], B=float32[24,4096,16])``."""
    shown = ", ".join(f"{field.name}={_short(getattr(self, field.name))}" for field in fields(self))
    return f"{type(self).__name__}({shown})"


def _short(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and not hasattr(value, "rank"):
        return f"{dtype}[{','.join(map(str, shape))}]"
    if isinstance(value, dict) and len(value) > 1:
        first = next(iter(value.items()))
        return f"{{{first[0]!r}: {_short(first[1])}, … {len(value)} entries}}"
    return repr(value)
