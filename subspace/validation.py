"""Checks of arguments that name what is wrong. Values can only be looked at outside of ``jit``; shapes always."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from subspace.errors import InputError
from subspace.grouping import StacksOnDemand
from subspace.low_rank import LowRank
from subspace.threads import is_traced

_AXES = {"output": -2, "input": -1}
"""Sides of an update, and where their length stands in its shape."""


def check_adapters(adapters: LowRank, dim: int, name: str = "adapters") -> None:
    """Raise ValueError unless ``adapters`` (k, *layers, n, r) are finite adapters that span ``dim`` dimensions."""
    if not isinstance(adapters, LowRank):
        raise InputError(f"{name} must be a LowRank with the adapter axis first, got {type(adapters).__name__}")
    if adapters.A.ndim < 3:
        raise InputError(
            f"{name} needs the adapter axis first, A (k, ..., n, r) and B (k, ..., m, r); got A {adapters.A.shape}"
        )
    if adapters.A.shape[0] == 0:
        raise InputError(f"{name} is empty: A {adapters.A.shape} holds no adapter")
    if adapters.rank == 0:
        raise InputError(f"{name} has rank 0: A {adapters.A.shape}")
    check_dim(dim, adapters.A.shape[0], adapters.rank, adapters.shape[-2:], name)
    check_finite(adapters, name, axes=("adapter", "layer"))


def check_stacks(adapters: Mapping[str, LowRank], dim: int | Mapping[str, int]) -> dict[str, int]:
    """The dimension of every path, after :func:`check_adapters` of each; errors name the path."""
    check_by_name(adapters, "adapters")
    if not adapters:
        raise InputError("adapters is empty: there is no matrix to solve")
    dims: dict[str, int] = {}
    for path in adapters:
        if isinstance(dim, Mapping) and path not in dim:
            raise InputError(f"dim names no dimension for {path!r}")
        dims[path] = dim[path] if isinstance(dim, Mapping) else dim
        if isinstance(adapters, StacksOnDemand):  # finite by themselves, and not to be read twice
            k, _, n, m, rank, _ = adapters.layouts[path]
            check_dim(dims[path], k, rank, (n, m), path)
        else:
            check_adapters(adapters[path], dims[path], name=path)
    return dims


def check_by_name(value: object, name: str) -> None:
    """Raise ValueError unless ``value`` is a mapping, or something that is read like one."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be a mapping from names to LowRank, got {type(value).__name__}")


def check_update(value: object, name: str) -> None:
    """Raise ValueError unless ``value`` is a LowRank; of what :func:`subspace.shared_subspace` returns that is ``factors``."""
    if not isinstance(value, LowRank):
        hint = ": give its .factors" if isinstance(getattr(value, "factors", None), LowRank) else ""
        raise InputError(f"{name} must be a LowRank, got {type(value).__name__}{hint}")


def check_dim(dim: int, k: int, rank: int, shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless k adapters of n×m matrices can span ``dim`` dimensions."""
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or dim < 1:
        raise InputError(f"dim must be a positive integer, got {dim!r}")
    n, m = shape
    if dim > (available := min(k * rank, n, m)):
        raise InputError(
            f"dim={dim} is larger than the rank available in {name}: min(k·r, n, m) = min({k}·{rank}, {n}, {m}) = {available}"
        )


def check_finite(x: LowRank, name: str, axes: tuple[str, ...] = ("layer",)) -> None:
    """Raise ValueError that names the first matrix of the stack with NaN or infinity; ``axes`` names the leading axes."""
    for factor, values in (("A", x.A), ("B", x.B)):
        if is_traced(values):
            continue
        finite = np.isfinite(values).all(axis=(-2, -1)) if _at_hand(values) else _are_finite(values)
        bad = np.argwhere(~np.asarray(finite))
        if len(bad):
            where = ", ".join(f"{axis} {i}" for axis, i in zip(_axis_names(axes, len(bad[0])), bad[0], strict=True))
            raise InputError(f"{name}: {factor} has NaN or infinity" + (f" in {where}" if where else ""))


def _axis_names(axes: tuple[str, ...], count: int) -> list[str]:
    names = list(axes[:count])
    return names + [f"axis {i}" for i in range(len(names), count)]


def _at_hand(values: jax.Array | np.ndarray) -> bool:
    """Whether NumPy can read the values where they are; a program would be compiled for each shape."""
    if isinstance(values, np.ndarray):
        return True
    return values.is_fully_addressable and all(device.platform == "cpu" for device in values.devices())


@jax.jit
def _are_finite(values: jax.Array) -> jax.Array:
    return jnp.isfinite(values).all(axis=(-2, -1))


def check_side(side: str | None) -> None:
    """Raise ValueError unless ``side`` is "output", "input" or None, which stands for both."""
    if side not in (*_AXES, None):
        raise InputError(f'side must be "output" or "input", got {side!r}')


def check_pair(x: LowRank, y: LowRank, names: tuple[str, str], side: str | None = None) -> None:
    """Raise ValueError unless two subspaces can be compared on ``side`` ("output", "input" or, if None, both)."""
    check_side(side)
    for value, name in zip((x, y), names, strict=True):
        check_update(value, name)
    for which in _AXES if side is None else (side,):
        a, b = x.shape[_AXES[which]], y.shape[_AXES[which]]
        if a != b:
            raise InputError(f"{names[0]} and {names[1]} have {a} and {b} {which}s: they live in different spaces")
    for value, name in zip((x, y), names, strict=True):
        check_finite(value, name)
