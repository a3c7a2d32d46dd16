"""Many matrices of a model in few compiled programs.

A zero row of A or B is a zero row or column of dW and changes no singular value. So matrices of different sizes are padded
to a common one and solved together, which spares a compilation (a second or two) for every odd size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np

from subspace.errors import InputError
from subspace.low_rank import LowRank
from subspace.namespace import AnyArray, namespace
from subspace.threads import is_traced

FREE_NUMBERS = 2**22
"""A group may be padded to this many numbers (16 MB in float32) at no price: to compute them costs less than to compile."""
PRICE = 1.5
"""A larger group may hold this many times the numbers that its matrices need by themselves."""

T = TypeVar("T")


def solve_in_groups(
    stacks: Mapping[str, LowRank],
    own: Mapping[str, int | np.ndarray | None],
    solve: Callable[[LowRank, np.ndarray], T],
) -> dict[str, T]:
    """``solve`` on stacks of padded matrices, cut into one result for each path, with its layer axes but still padded.

    Of NumPy's stacks the results are NumPy's, too.

    Args:
      stacks: {path: A (k, *layers, n, r), B (k, *layers, m, r)}; k are adapters, or attributes.
      own: what ``solve`` is to know of each path: one number, or an array (*layers, ...); shapes after the layers agree.
      solve: gets a stack (k, L, n', r) and what is known of its L matrices, (L, ...); returns a pytree with leading axis L.
    """
    results: dict[str, T] = {}
    for n, m, paths in _groups(stacks):
        flat = [flatten_layers(LowRank(_grow(stacks[path].A, n), _grow(stacks[path].B, m))) for path in paths]
        together = jax.tree.map(lambda *x: namespace(x).concatenate(x, axis=1), *flat)
        known = np.concatenate([_for_each_matrix(own[path], stacks[path]) for path in paths])
        solved = solve(together, known)
        if namespace(together) is np and not any(map(is_traced, jax.tree.leaves(solved))):
            solved = jax.device_get(solved)  # at once: JAX would compile every cut that follows
        start = 0
        for path, stack in zip(paths, flat, strict=True):
            part = slice(start, start := start + stack.A.shape[1])
            layers = stacks[path].A.shape[1:-2]
            results[path] = jax.tree.map(
                lambda x, part=part, layers=layers: x[part].reshape((*layers, *x.shape[1:])), solved
            )
    return {path: results[path] for path in stacks}


def stack_attributes(subspaces: Mapping[str, Mapping[str, LowRank]]) -> dict[str, LowRank]:
    """{attribute: {path: (*layers, n, m)}} to {path: A (attributes, *layers, n, r)}, of equal paths, shapes and ranks.

    Raises:
      ValueError: naming the attribute and the path that differ.
    """
    (first_name, first), *others = subspaces.items()
    for name, by_path in others:
        if unshared := sorted(set(first) ^ set(by_path)):
            raise InputError(f"{name} and {first_name} have different matrices: only one has {unshared[0]}")
        for path, subspace in by_path.items():
            if (subspace.shape, subspace.rank) != (first[path].shape, first[path].rank):
                raise InputError(
                    f"{name}: {path} is {subspace.shape} of rank {subspace.rank}, "
                    f"in {first_name} it is {first[path].shape} of rank {first[path].rank}"
                )
    parts = {path: [by_path[path] for by_path in subspaces.values()] for path in first}
    return {path: jax.tree.map(lambda *x: namespace(x).stack(x), *own) for path, own in parts.items()}


def flatten_layers(adapters: LowRank) -> LowRank:
    """(k, *layers, n, r) to (k, L, n, r)."""
    return jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[-2:]), adapters)


def _for_each_matrix(own: int | np.ndarray | None, stack: LowRank) -> np.ndarray:
    """(L, ...) of one number or an array (*layers, ...)."""
    layers = stack.A.shape[1:-2]
    values = np.asarray(0 if own is None else own)
    if values.ndim < len(layers):
        values = np.broadcast_to(values, layers)
    return values.reshape(-1, *values.shape[len(layers) :])


@dataclass
class _Group:
    """Paths with equal k, rank and types, to be padded to n×m."""

    kind: tuple
    n: int
    m: int
    paths: list[str]
    count: int
    """Matrices of all layers."""
    needed: int
    """Numbers of all of them without padding."""

    def joined(self, other: _Group) -> _Group:
        n, m = max(self.n, other.n), max(self.m, other.m)
        return _Group(self.kind, n, m, self.paths + other.paths, self.count + other.count, self.needed + other.needed)

    @property
    def price(self) -> int:
        """Numbers with padding."""
        return self.count * _numbers(self.kind, self.n, self.m)


def _groups(stacks: Mapping[str, LowRank]) -> Sequence[tuple[int, int, list[str]]]:
    """(n', m', paths) of every group, large matrices first, each as large as :data:`PRICE` allows."""
    found: list[_Group] = []
    for path, stack in sorted(stacks.items(), key=lambda item: -sum(item[1].shape[-2:])):
        kind = (stack.A.shape[0], stack.rank, stack.A.dtype, stack.B.dtype)
        n, m = stack.shape[-2:]
        count = int(np.prod(stack.A.shape[1:-2]))
        new = _Group(kind, _rounded(n), _rounded(m), [path], count, count * _numbers(kind, n, m))
        for i, group in enumerate(found):
            joined = group.joined(new)
            if group.kind == kind and joined.price <= max(FREE_NUMBERS, PRICE * joined.needed):
                found[i] = joined
                break
        else:
            found.append(new)
    order = {path: i for i, path in enumerate(stacks)}
    return [(group.n, group.m, sorted(group.paths, key=order.__getitem__)) for group in found]


def _numbers(kind: tuple, n: int, m: int) -> int:
    """Numbers that one n×m matrix of k adapters of rank r takes: its factors and its cores (:mod:`subspace.compression`)."""
    k, r, *_ = kind
    return k * (r * (n + m) + min(k * r, n) * min(k * r, m))


def _rounded(size: int) -> int:
    """At most a quarter more, so that models with slightly different matrices may share a program."""
    step = max(8, 2 ** (size.bit_length() - 3))
    return -(-size // step) * step


def _grow(factor: AnyArray, rows: int) -> AnyArray:
    if factor.shape[-2] == rows:
        return factor  # not a copy
    return namespace(factor).pad(factor, [(0, 0)] * (factor.ndim - 2) + [(0, rows - factor.shape[-2]), (0, 0)])
