"""The control of attributes: M in one subspace of all attributes' adapters together (the form of EigenLoRAx, 2502.04700)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.finetuning.of_adapters import OfAdapters, read_adapters
from subspace.errors import InputError
from subspace.svd import svd

if TYPE_CHECKING:
    from experiments.mining.folder import MinedAttribute
    from subspace import Basis, LowRank
    from subspace.namespace import AnyArray
    from vggt_jax.adaptable import Matrix


@dataclass(frozen=True, kw_only=True)
class Pooled(OfAdapters):
    """dW = Ā M B̄ᵀ with the leading principal directions of all adapters' outputs and inputs, whatever their attribute.

    There are as many as the attributes' subspaces have together, so that the number of parameters is that of Ours. Adapters
    count by their energy: directions are those of Σ dW dWᵀ and Σ dWᵀ dW.
    """

    name = "pooled"
    label = "Pooled"
    summary = "M inside one subspace of all attributes' adapters"

    def bases(
        self, mined: Mapping[str, MinedAttribute], chosen: Mapping[str, Matrix], seed: int
    ) -> tuple[Mapping[str, Basis], Mapping[str, float]]:
        self._check_dim(mined)
        every = [adapter for own in read_adapters(mined).values() for adapter in own]
        most = max(factors.rank for own in mined.values() for factors in own.factors.values())
        dim = len(mined) * (most if self.dim is None else self.dim)
        return {path: principal([adapter[path] for adapter in every], dim) for path in chosen}, {"adapters": len(every)}


def principal(updates: list[LowRank], dim: int) -> Basis:
    """The min(``dim``, n, m) leading directions of updates' outputs and inputs. Raises InputError if they span fewer."""
    import jax.numpy as jnp

    from subspace import Basis

    n, m = updates[0].shape[-2:]
    side, spanned = min(dim, n, m), sum(update.rank for update in updates)
    if side > spanned:
        raise InputError(f"dim: {len(updates)} adapters span {spanned} directions, not {side}", argument="dim")
    sides = [
        np.concatenate([_weighted(*pair) for pair in pairs], axis=-1)
        for pairs in ([(each.A, each.B) for each in updates], [(each.B, each.A) for each in updates])
    ]
    output, input_ = (jnp.asarray(svd(columns)[0][..., :side], jnp.float32) for columns in sides)
    ranks, spectrum = jnp.full(output.shape[:-2], side), jnp.ones((*output.shape[:-2], side))
    return Basis(output, input_, ranks, ranks, spectrum, spectrum)


def _weighted(A: AnyArray, B: AnyArray) -> np.ndarray:
    """X of the same column space with X Xᵀ = (A Bᵀ)(A Bᵀ)ᵀ."""
    return np.asarray(A, np.float64) @ np.linalg.qr(np.asarray(B, np.float64))[1].swapaxes(-1, -2)
