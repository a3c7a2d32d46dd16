"""Many matrices of a model in few compiled programs, and in bounded memory.

A zero row of A or B is a zero row or column of dW and changes no singular value. So matrices of different sizes are padded
to a common one and solved together, which spares a compilation (a second or two) for every odd size. Large groups are
solved batch by batch: each batch ends when the slowest of its own matrices does, and stacks that are read on demand
(:class:`StacksOnDemand`) are never in memory together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple, TypeVar

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
BATCH_NUMBERS = 2**23
"""Numbers that are solved at once (32 MB in float32, several times that with what is computed from them), one matrix at
least."""

T = TypeVar("T")


class Layout(NamedTuple):
    """What is known of a stack without its numbers."""

    k: int
    """Adapters, or attributes."""
    layers: tuple[int, ...]
    """Axes between the adapters and the matrix."""
    n: int
    """Outputs."""
    m: int
    """Inputs."""
    rank: int
    """Columns of the factors."""
    types: tuple[np.dtype, np.dtype]
    """Those of A and B."""

    @property
    def kind(self) -> tuple:
        """What is equal in stacks that are solved together."""
        return (self.k, self.rank, *self.types)

    @property
    def matrices(self) -> int:
        """Those of all layers."""
        return prod(self.layers)


class StacksOnDemand(Mapping[str, LowRank]):
    """``{path: LowRank}`` whose stacks are read whenever they are asked for, as NumPy's arrays of finite numbers."""

    @property
    @abstractmethod
    def layouts(self) -> Mapping[str, Layout]:
        """Path → what its stack will be."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.layouts)

    def __len__(self) -> int:
        return len(self.layouts)


class Part(StacksOnDemand):
    """Some of many stacks."""

    def __init__(self, stacks: Mapping[str, LowRank], paths: Sequence[str]):
        whole = layouts_of(stacks)
        self._stacks, self._layouts = stacks, {path: whole[path] for path in paths}

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return self._layouts

    def __getitem__(self, path: str) -> LowRank:
        return self._stacks[path]


def layouts_of(stacks: Mapping[str, LowRank]) -> Mapping[str, Layout]:
    """What is known of every stack without reading it."""
    if isinstance(stacks, StacksOnDemand):
        return stacks.layouts
    return {
        path: Layout(x.A.shape[0], x.A.shape[1:-2], x.shape[-2], x.shape[-1], x.rank, (x.A.dtype, x.B.dtype))
        for path, x in stacks.items()
    }


def solve_in_groups(
    stacks: Mapping[str, LowRank],
    own: Mapping[str, int | np.ndarray | None],
    solve: Callable[[LowRank, np.ndarray], T],
    progress: Callable[[int], object] | None = None,
) -> dict[str, T]:
    """``solve`` on stacks of padded matrices, cut into one result for each path, with its layer axes but still padded.

    Of NumPy's stacks the results are NumPy's, too.

    Args:
      stacks: {path: A (k, *layers, n, r), B (k, *layers, m, r)}; k are adapters, or attributes.
      own: what ``solve`` is to know of each path: one number, or an array (*layers, ...); shapes after the layers agree.
      solve: gets a stack (k, L, n', r) and what is known of its L matrices, (L, ...); returns a pytree with leading axis L.
      progress: is told how many matrices have been solved since it was told last.

    Raises:
      ValueError: for a stack without layers, naming the path.
    """
    layouts = layouts_of(stacks)
    for path, layout in layouts.items():
        if not layout.matrices:
            raise InputError(f"{path} holds no matrix: its layers are {layout.layers}")
    pieces: defaultdict[str, list[T]] = defaultdict(list)
    read = lru_cache(maxsize=1)(stacks.__getitem__)  # a path may be cut across batches
    for n, m, paths in _groups(layouts):
        known = {path: _for_each_matrix(own[path], layouts[path]) for path in paths}
        for size, batch in _batches(stacks, layouts, n, m, paths):
            flat = [
                LowRank(*(_grow(factor[:, part], rows) for factor, rows in zip(_factors(x), (n, m), strict=True)))
                for x, part in ((flatten_layers(read(path)), part) for path, part in batch)
            ]
            together = jax.tree.map(lambda *x: namespace(x).concatenate(x, axis=1), *flat)
            own_values = np.concatenate([known[path][part] for path, part in batch])
            if (missing := size - len(own_values)) > 0:  # the last batch; another number would be another program
                together = jax.tree.map(lambda x, missing=missing: _with_zeros(x, missing), together)
                own_values = np.concatenate([own_values, np.repeat(own_values[-1:], missing, axis=0)])
            solved = solve(together, own_values)
            if namespace(together) is np and not any(map(is_traced, jax.tree.leaves(solved))):
                solved = jax.device_get(solved)  # at once: JAX would compile every cut that follows
            start = 0
            for path, part in batch:
                inside = slice(start, start := start + part.stop - part.start)
                pieces[path].append(jax.tree.map(lambda x, inside=inside: x[inside], solved))
            if progress is not None:
                progress(start)
    return {path: _joined(pieces[path], layout.layers) for path, layout in layouts.items()}


def _batches(
    stacks: Mapping[str, LowRank], layouts: Mapping[str, Layout], n: int, m: int, paths: Sequence[str]
) -> Iterator[tuple[int, list[tuple[str, slice]]]]:
    """Size of every batch, and which layers of which paths it has, all together; the last one may have fewer."""
    count = sum(layouts[path].matrices for path in paths)
    limit = max(1, BATCH_NUMBERS // _numbers(layouts[paths[0]], n, m))
    if not isinstance(stacks, StacksOnDemand) and any(map(is_traced, jax.tree.leaves(dict(stacks)))):
        limit = count
    size = room = ceil(count / ceil(count / limit))
    batch: list[tuple[str, slice]] = []
    for path in paths:
        start = 0
        while start < layouts[path].matrices:
            stop = min(layouts[path].matrices, start + room)
            batch.append((path, slice(start, stop)))
            room -= stop - start
            start = stop
            if not room:
                yield size, batch
                batch, room = [], size
    if batch:
        yield size, batch


def _joined(pieces: Sequence[T], layers: tuple[int, ...]) -> T:
    """The results of all layers of a path, with its layer axes."""
    whole = pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *x: namespace(x).concatenate(x), *pieces)
    return jax.tree.map(lambda x: x.reshape((*layers, *x.shape[1:])), whole)


def _factors(x: LowRank) -> tuple[AnyArray, AnyArray]:
    return x.A, x.B


def _with_zeros(x: AnyArray, count: int) -> AnyArray:
    return namespace(x).pad(x, [(0, 0), (0, count), (0, 0), (0, 0)])


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


def _for_each_matrix(own: int | np.ndarray | None, layout: Layout) -> np.ndarray:
    """(L, ...) of one number or an array (*layers, ...)."""
    layers = layout.layers
    values = np.asarray(0 if own is None else own)
    if values.ndim < len(layers):
        values = np.broadcast_to(values, layers)
    return values.reshape(-1, *values.shape[len(layers) :])


@dataclass
class _Group:
    """Paths with equal k, rank and types, to be padded to n×m."""

    layout: Layout
    n: int
    m: int
    paths: list[str]
    count: int
    """Matrices of all layers."""
    needed: int
    """Numbers of all of them without padding."""

    def joined(self, other: _Group) -> _Group:
        n, m = max(self.n, other.n), max(self.m, other.m)
        return _Group(self.layout, n, m, self.paths + other.paths, self.count + other.count, self.needed + other.needed)

    @property
    def price(self) -> int:
        """Numbers with padding."""
        return self.count * _numbers(self.layout, self.n, self.m)


def _groups(layouts: Mapping[str, Layout]) -> Sequence[tuple[int, int, list[str]]]:
    """(n', m', paths) of every group, large matrices first, each as large as :data:`PRICE` allows."""
    found: list[_Group] = []
    for path, layout in sorted(layouts.items(), key=lambda item: -(item[1].n + item[1].m)):
        needed = layout.matrices * _numbers(layout, layout.n, layout.m)
        new = _Group(layout, _rounded(layout.n), _rounded(layout.m), [path], layout.matrices, needed)
        for i, group in enumerate(found):
            joined = group.joined(new)
            if group.layout.kind == layout.kind and joined.price <= max(FREE_NUMBERS, PRICE * joined.needed):
                found[i] = joined
                break
        else:
            found.append(new)
    order = {path: i for i, path in enumerate(layouts)}
    return [(group.n, group.m, sorted(group.paths, key=order.__getitem__)) for group in found]


def _numbers(layout: Layout, n: int, m: int) -> int:
    """Numbers that one n×m matrix of k adapters of rank r takes: its factors and its cores (:mod:`subspace.compression`)."""
    return layout.k * (layout.rank * (n + m)) + core_numbers(layout.k, layout.rank, n, m)


def core_numbers(k: int, r: int, n: int, m: int) -> int:
    """Numbers of the k cores of one n×m matrix."""
    return k * min(k * r, n) * min(k * r, m)


def _rounded(size: int) -> int:
    """At most a quarter more, so that models with slightly different matrices may share a program."""
    step = max(8, 2 ** (size.bit_length() - 3))
    return -(-size // step) * step


def _grow(factor: AnyArray, rows: int) -> AnyArray:
    if factor.shape[-2] == rows:
        return factor  # not a copy
    return namespace(factor).pad(factor, [(0, 0)] * (factor.ndim - 2) + [(0, rows - factor.shape[-2]), (0, 0)])
