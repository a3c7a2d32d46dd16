"""Dataclasses of arrays that JAX sees through."""

from typing import TypeVar

import jax

T = TypeVar("T")


def register_dataclass(cls: type[T]) -> type[T]:
    """:func:`jax.tree_util.register_dataclass`, for classes whose annotations say what the arrays are.

    JAX's transformations rebuild such a tree with placeholders as leaves, so jaxtyping must not check the fields whenever an
    instance is made.
    """
    cls.__no_type_check__ = True  # pyright: ignore[reportAttributeAccessIssue]
    return jax.tree_util.register_dataclass(cls)
