"""Parameters of a configuration without building it: shapes, adaptable weights, and what fine-tuning would train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Literal, get_args

from flax import nnx

from subspace.errors import InputError
from vggt_jax.adaptable import ADAPTABLE_PARTS, Matrix, adaptable
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.model import VGGT

Method = Literal["full", "lora", "pissa", "adalora", "psv", "subspace"]


_WITH_M: tuple[Method, ...] = ("psv", "subspace")
"""Methods that train an M between fixed bases."""


def abstract_model(config: VGGTConfig) -> VGGT:
    """``VGGT(config)`` with shapes and types in the place of arrays; nothing is allocated."""
    return nnx.eval_shape(lambda: VGGT(config, rngs=nnx.Rngs(0)))


def adaptable_matrices(config: VGGTConfig) -> dict[str, Matrix]:
    """The weights that may take a low-rank update, by path: 242 matrices for VGGT-1B, 192 of them in the blocks."""
    return dict(_adaptable(config))


def parameter_shapes(config: VGGTConfig) -> dict[str, tuple[int, ...]]:
    """Dotted path → shape of every parameter."""
    return dict(_shapes(config))


@cache
def _adaptable(config: VGGTConfig) -> Mapping[str, Matrix]:
    return adaptable(abstract_model(config))


@cache
def _shapes(config: VGGTConfig) -> Mapping[str, tuple[int, ...]]:
    flat = nnx.to_flat_state(nnx.state(abstract_model(config), nnx.Param))
    return {dotted(keys): tuple(leaf.shape) for keys, leaf in flat}


@dataclass(frozen=True)
class ParameterCount:
    """A number of parameters for each part of the model."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def trainable_parameters(
    config: VGGTConfig,
    method: Method,
    rank: int,
    *,
    parts: Sequence[str] = ADAPTABLE_PARTS,
    plain_parts: Sequence[str] = ("camera_head", "depth_head"),
    plain_rank: int = 16,
) -> ParameterCount:
    """How many parameters a way of fine-tuning trains.

    ``full`` trains every parameter of ``parts`` and ignores ``rank``. ``lora`` and ``pissa`` train r·(n + m) numbers
    for each of their matrices; ``adalora`` r·(n + m + 1) for each linear layer, as it has no form for convolutions: at
    VGGT-1B's size 932,070 for each rank, 0.05 to 0.10 million below what the paper prints, whatever the rank. The
    difference is a constant: no number of layers, triplets or initial ranks, which all grow with r, explains it.
    ``subspace`` and ``psv`` train one M for each matrix, square of side min(``rank``, n, m) (``rank`` is the bases'
    dimension, 4·d for four attributes), and a plain LoRA of ``plain_rank`` on the matrices of ``plain_parts``, which no
    other method has.

    Raises ValueError for an unknown method or part and a rank below 1.
    """
    if method not in get_args(Method):
        raise InputError(f"method {method!r} is not one of {', '.join(get_args(Method))}")
    if method not in _WITH_M:
        plain_parts = ()
    for part in (*parts, *plain_parts):
        if part not in ADAPTABLE_PARTS:
            raise InputError(f"part {part!r} is not one of {', '.join(ADAPTABLE_PARTS)}")
    if min(rank, plain_rank) < 1:
        raise InputError(f"rank {rank} and plain_rank {plain_rank} must be at least 1")

    counts = dict.fromkeys(dict.fromkeys([*parts, *plain_parts]), 0)
    if method == "full":
        for path, shape in parameter_shapes(config).items():
            if (part := _part(path)) in counts:
                counts[part] += prod(shape)
        return ParameterCount(counts)
    for path, matrix in adaptable_matrices(config).items():
        part, layers = _part(path), prod(matrix.stack)
        if part in parts:
            counts[part] += layers * _per_matrix(method, rank, matrix)
        if part in plain_parts:
            counts[part] += layers * _per_matrix("lora", plain_rank, matrix)
    return ParameterCount(counts)


def by_part(numbers: Mapping[str, int]) -> ParameterCount:
    """Numbers of parameters by path, summed over each adaptable part that has any."""
    counts: dict[str, int] = {}
    for path, count in numbers.items():
        counts[_part(path)] = counts.get(_part(path), 0) + count
    return ParameterCount({part: counts[part] for part in ADAPTABLE_PARTS if part in counts})


def _per_matrix(method: Method, rank: int, matrix: Matrix) -> int:
    if method in _WITH_M:
        return min(rank, matrix.n, matrix.m) ** 2
    if method == "adalora":
        return rank * (matrix.n + matrix.m + 1) if matrix.conv is None else 0
    return rank * (matrix.n + matrix.m)


def _part(path: str) -> str:
    """The adaptable part that ``path`` lies in, or nothing."""
    return next((part for part in ADAPTABLE_PARTS if path.startswith(part + ".")), "")
