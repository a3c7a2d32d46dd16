"""An adapter whose outputs are given and whose inputs are learned: the second of two passes of mining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Key

from subspace import LowRank
from subspace.namespace import AnyArray
from subspace.pytrees import register_dataclass


@register_dataclass
@dataclass(frozen=True, eq=False)
class FixedOutputs:
    """dW = Ā Bᵀ with only B trained, from zero: nothing is drawn, so that the inputs are all learned."""

    directions: Mapping[str, Float[AnyArray, "*layers n d"]]
    """Ā of every matrix, which is not trained."""
    inputs: Mapping[str, int] = field(metadata={"static": True})
    """m of every matrix."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", FrozenDict(self.inputs))  # jit needs static fields that hash

    @property
    def scale(self) -> float:
        """The factor before Ā Bᵀ."""
        return 1.0

    def init(self, key: Key[Array, ""]) -> dict[str, Float[Array, "*layers m d"]]:
        """B of every matrix, zero."""
        return {
            path: jnp.zeros((*A.shape[:-2], self.inputs[path], A.shape[-1]), jnp.float32)
            for path, A in self.directions.items()
        }

    def deltas(self, params: Mapping[str, Float[AnyArray, "*layers m d"]]) -> dict[str, LowRank]:
        return {path: LowRank(self.directions[path], B) for path, B in params.items()}
