"""Updates of no low rank: every entry of the matrices is trained, as full fine-tuning does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float, Key

from subspace import LowRank
from subspace.namespace import AnyArray, namespace
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import Matrix


@register_dataclass
@dataclass(frozen=True)
class Dense:
    """dW with all of its entries trained, from zero; weight decay pulls it to the base model, not to zero weights.

    Factors are dW itself and an identity of the smaller side, so that whatever takes a ``LowRank`` takes these.
    """

    matrices: Mapping[str, Matrix] = field(metadata={"static": True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrices", FrozenDict(self.matrices))  # jit needs static fields that hash

    @property
    def scale(self) -> float:
        """The factor before the product of the factors."""
        return 1.0

    def init(self, key: Key[Array, ""]) -> dict[str, Float[Array, "*layers n m"]]:
        """dW of every matrix, zero."""
        return {path: jnp.zeros((*each.stack, each.n, each.m), jnp.float32) for path, each in self.matrices.items()}

    def deltas(self, params: Mapping[str, Float[AnyArray, "*layers n m"]]) -> dict[str, LowRank]:
        return {path: _factors(dW) for path, dW in params.items()}


def _factors(dW: Float[AnyArray, "*layers n m"]) -> LowRank:
    *stack, n, m = dW.shape
    xp = namespace(dW)
    same = xp.broadcast_to(xp.eye(min(n, m), dtype=dW.dtype), (*stack, min(n, m), min(n, m)))
    return LowRank(same, dW.mT) if n <= m else LowRank(dW, same)
