"""Fine-tuning inside a fixed basis: the paper's dW = Ā M B̄ᵀ (Sec. 3, last paragraph)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from subspace import Basis, LowRank
from subspace.namespace import AnyArray
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import Matrix


@register_dataclass
@dataclass(frozen=True, eq=False)
class SubspaceForm:
    """dW = Ā M B̄ᵀ with only M trained, which starts at ``start``, by default zero; nothing is drawn.

    ``bases`` come from :func:`subspace.merge_subspaces`, stacked as the matrices are. Where a layer's own rank is below
    its stack's, the entries of M that belong to zero columns have no effect and no gradient: the count of trained
    numbers is the sum of ``output_rank · input_rank``.
    """

    bases: Mapping[str, Basis]
    start: Mapping[str, Float[AnyArray, "*layers D_output D_input"]] | None = None

    def init(self, key: Key[Array, ""]) -> dict[str, Float[Array, "*layers D_output D_input"]]:
        """The first M of every matrix, in the type of its basis."""
        if self.start is not None:
            return {path: jnp.asarray(self.start[path], basis.A.dtype) for path, basis in self.bases.items()}
        return {
            path: jnp.zeros((*basis.A.shape[:-2], basis.A.shape[-1], basis.B.shape[-1]), basis.A.dtype)
            for path, basis in self.bases.items()
        }

    def deltas(self, params: Mapping[str, Float[Array, "*layers D_output D_input"]]) -> dict[str, LowRank]:
        return {path: self.bases[path].expand(M) for path, M in params.items()}


def abstract_bases(matrices: Mapping[str, Matrix], dim: int) -> dict[str, Basis]:
    """Bases of which only the shapes are known, with the paper's min(``dim``, n, m) columns on both sides.

    For :func:`vggt_jax.adapters.trained_numbers`, and to compile what nobody runs.
    """
    return {path: _abstract_basis(matrix, min(dim, matrix.n, matrix.m)) for path, matrix in matrices.items()}


def _abstract_basis(matrix: Matrix, side: int) -> Basis:
    def of(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct((*matrix.stack, *shape), dtype)

    rank, spectrum = of(dtype=jnp.int32), of(side)
    return Basis(of(matrix.n, side), of(matrix.m, side), rank, rank, spectrum, spectrum)
