"""AdaLoRA: updates P Λ Qᵀ whose ranks a schedule shrinks (Zhang et al. 2023, Sec. 3; PEFT's and the authors' code)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Float, Key

from subspace import LowRank
from subspace.errors import InputError
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import Matrix
from vggt_jax.adapters.maker import check_scale

_INITIAL_STD = 0.02


@register_dataclass
@dataclass(frozen=True, eq=False)
class Triplets:
    """The r triplets (singular value, left and right vector) of every matrix of a stack; PEFT's lora_B, lora_E, lora_Aᵀ.

    The same class holds one number of importance or one gradient for each entry.
    """

    P: Float[Array, "*layers n r"]
    Lambda: Float[Array, "*layers r"]
    Q: Float[Array, "*layers m r"]


@register_dataclass
@dataclass(frozen=True)
class AdaLoRA:
    """dW = (alpha / rank) · P Λ Qᵀ with P, Λ and Q trained (Eq. 3); for linear layers only, as published.

    Λ starts at zero, P and Q normal with a standard deviation of 0.02. ``rank`` is the one that training starts with;
    the scale stays alpha / rank when :class:`vggt_jax.adapters.rank_allocation.RankAllocation` takes triplets away.
    Convolutions among ``matrices`` are left out.

    Raises ValueError for a rank below 1, an alpha that is not positive, and where no linear layer is left.
    """

    matrices: Mapping[str, Matrix] = field(metadata={"static": True})
    rank: int = field(metadata={"static": True})
    alpha: float = field(metadata={"static": True})

    def __post_init__(self) -> None:
        check_scale(self.rank, self.alpha)
        linear = {path: matrix for path, matrix in self.matrices.items() if matrix.conv is None}
        if not linear:
            raise InputError("matrices: AdaLoRA needs a linear layer, it has no form for convolutions")
        object.__setattr__(self, "matrices", FrozenDict(linear))  # jit needs static fields that hash

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def init(self, key: Key[Array, ""]) -> dict[str, Triplets]:
        """P (*stack, n, rank), Λ (*stack, rank) and Q (*stack, m, rank) of every matrix, float32."""
        shapes = {
            (path, side): (*matrix.stack, size, self.rank)
            for path, matrix in sorted(self.matrices.items())
            for side, size in (("P", matrix.n), ("Q", matrix.m))
        }
        ends = np.cumsum([prod(shape) for shape in shapes.values()])
        # one draw for all matrices, since XLA needs up to a second to compile each
        drawn = jnp.split(_INITIAL_STD * jax.random.normal(key, (int(ends[-1]),), jnp.float32), ends[:-1])
        vectors = {name: part.reshape(shape) for part, (name, shape) in zip(drawn, shapes.items(), strict=True)}
        return {
            path: Triplets(vectors[path, "P"], jnp.zeros((*matrix.stack, self.rank)), vectors[path, "Q"])
            for path, matrix in self.matrices.items()
        }

    def deltas(self, params: Mapping[str, Triplets]) -> dict[str, LowRank]:
        return {path: LowRank(self.scale * own.P * own.Lambda[..., None, :], own.Q) for path, own in params.items()}


def orthogonality(params: Mapping[str, Triplets]) -> Float[Array, ""]:
    """The mean of ‖PᵀP − I‖_F and ‖QᵀQ − I‖_F over all matrices: what training keeps small beside its loss.

    Eq. 4 has the squares' sum; the authors' code and PEFT have this, which is weighted with 0.5.
    """
    distances = [_from_orthonormal(side).ravel() for own in params.values() for side in (own.P, own.Q)]
    return jnp.concatenate(distances).mean()


def _from_orthonormal(columns: Float[Array, "*layers n r"]) -> Float[Array, "*layers"]:
    """‖XᵀX − I‖_F, with gradient 0 where it is 0."""
    gram = jnp.matmul(columns.mT, columns, precision="highest")
    squares = jnp.sum((gram - jnp.eye(columns.shape[-1], dtype=columns.dtype)) ** 2, axis=(-2, -1))
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
