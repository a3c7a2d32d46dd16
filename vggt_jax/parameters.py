"""Parameters of a configuration without building it: shapes, adaptable weights, and sums by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vggt_jax.adaptable import Matrix, adaptable
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import dotted
from vggt_jax.model import VGGT
from vggt_jax.patterns import ADAPTABLE_PARTS


def abstract_model(config: VGGTConfig) -> VGGT:
    """``VGGT(config)`` with shapes and types in the place of arrays; nothing is allocated. Each call gives its own."""
    return nnx.clone(_abstract(config))


def adaptable_matrices(config: VGGTConfig) -> dict[str, Matrix]:
    """The weights that may take a low-rank update, by path: 242 matrices for VGGT-1B, 192 of them in the blocks."""
    return dict(_adaptable(config))


def parameter_shapes(config: VGGTConfig) -> dict[str, tuple[int, ...]]:
    """Dotted path → shape of every parameter."""
    return dict(_shapes(config))


def for_products(parameters: nnx.State, config: VGGTConfig) -> nnx.State:
    """The parameters with each kernel in the type in which its layer multiplies, for models whose weights are frozen.

    Layers round their kernels before each product, so that no product changes, but half of the memory is saved and nothing
    is rounded again in each step. Not for what reads the weights themselves: training them, decomposing them, lengths of
    their rows.
    """

    def rounded(path: tuple[Any, ...], leaf: Any) -> Any:
        name = dotted(path)
        dtype = config.dtype if name.startswith("aggregator.") else config.head_dtype
        return leaf.astype(dtype) if name.endswith(".kernel") and leaf.dtype == jnp.float32 else leaf

    return jax.tree.map_with_path(rounded, parameters)


@cache
def _abstract(config: VGGTConfig) -> VGGT:
    return nnx.eval_shape(lambda: VGGT(config, rngs=nnx.Rngs(0)))


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


def by_part(numbers: Mapping[str, int]) -> ParameterCount:
    """Numbers of parameters by path, summed over each adaptable part that has any."""
    counts: dict[str, int] = {}
    for path, count in numbers.items():
        counts[_part(path)] = counts.get(_part(path), 0) + count
    return ParameterCount({part: counts[part] for part in ADAPTABLE_PARTS if part in counts})


def _part(path: str) -> str:
    """The adaptable part that ``path`` lies in, or nothing."""
    return next((part for part in ADAPTABLE_PARTS if path.startswith(part + ".")), "")
