"""Plain LoRA, initialised as PEFT does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Key

from subspace import LowRank
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import Matrix
from vggt_jax.adapters.maker import check_scale


@register_dataclass
@dataclass(frozen=True)
class LoRA:
    """dW = (alpha / rank) · A Bᵀ with A and B trained.

    A is PEFT's ``lora_B`` and starts at zero. B is the transpose of ``lora_A`` and starts uniform in ±1/√m, which is
    Kaiming's distribution with a = √5 (m = inputs of a linear layer, Cin·kh·kw of a convolution).

    Raises ValueError for a rank below 1 and an alpha that is not positive.
    """

    matrices: Mapping[str, Matrix] = field(metadata={"static": True})
    rank: int = field(metadata={"static": True})
    alpha: float = field(metadata={"static": True})

    def __post_init__(self) -> None:
        check_scale(self.rank, self.alpha)
        object.__setattr__(self, "matrices", FrozenDict(self.matrices))  # jit needs static fields that hash

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def init(self, key: Key[Array, ""]) -> dict[str, LowRank]:
        """A (*stack, n, rank) and B (*stack, m, rank) of every matrix, float32."""
        matrices = sorted(self.matrices.items())
        sizes = [prod(matrix.stack) * matrix.m * self.rank for _, matrix in matrices]
        # one draw for all matrices, since XLA needs up to a second to compile each
        drawn = jnp.split(jax.random.uniform(key, (sum(sizes),), jnp.float32, -1, 1), np.cumsum(sizes)[:-1])
        factors = {}
        for (path, matrix), numbers in zip(matrices, drawn, strict=True):
            B = numbers.reshape(*matrix.stack, matrix.m, self.rank) * matrix.m**-0.5
            factors[path] = LowRank(jnp.zeros((*matrix.stack, matrix.n, self.rank)), B)
        return factors

    def deltas(self, params: Mapping[str, LowRank]) -> dict[str, LowRank]:
        return {path: LowRank(self.scale * factors.A, factors.B) for path, factors in params.items()}
