"""Ā and B̄ from the subspaces of any set of attributes (Sec. 3, last paragraph; supplement 2.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.analysis.basis import STRATEGIES, layer_dims
from experiments.finetuning.choice import Allocation
from experiments.mining.folder import SUBSPACE, MinedAttribute, read_folder
from subspace import Basis, LowRank, merge_subspaces
from subspace.errors import InputError
from subspace.grouping import solve_in_groups
from vggt_jax.adaptable import Matrix
from vggt_jax.adapters import BaseModel

_STRATEGIES: Mapping[Allocation, str] = {"uniform": "uniform", "importance": "importance", "exact": "exact budget"}


@dataclass(frozen=True, eq=False)
class Union:
    """The merged basis of some attributes."""

    bases: dict[str, Basis]
    """By path; both sides have at most min(n, m) columns, no more than the largest layer needs."""
    spent: dict[str, float]
    """Attribute → mean of the directions that it brings, over all matrices of all layers."""


def read_subspaces(
    folders: Sequence[Path], base: BaseModel, matrices: Mapping[str, Matrix]
) -> dict[str, MinedAttribute]:
    """Attribute → what was mined for it, of the matrices of ``base`` that are to get an M.

    Raises:
        ValueError: an attribute that is given twice, a subspace of another model, one that lacks a matrix or has it in
            another size, and what :func:`experiments.mining.folder.read_folder` refuses.
        OSError: a file that cannot be read.
    """
    found: dict[str, MinedAttribute] = {}
    for folder in folders:
        mined = read_folder(folder, "--subspaces")
        if mined.attribute in found:
            raise InputError(
                f"--subspaces: {found[mined.attribute].folder} and {folder} both hold the attribute {mined.attribute}"
            )
        if not mined.origin.base.endswith(f"({base.fingerprint})"):
            raise InputError(
                f"{folder} was mined from adapters of the base model {mined.origin.base}, "
                f"this one is {base.name} ({base.fingerprint})"
            )
        for path, matrix in matrices.items():
            if path not in mined.factors:
                raise InputError(f"{folder} has no subspace for {path}; leave it out with --matrices")
            if mined.factors[path].shape != (*matrix.stack, matrix.n, matrix.m):
                raise InputError(
                    f"{folder}: {path} is {mined.factors[path].shape}, in the base model it is "
                    f"{(*matrix.stack, matrix.n, matrix.m)}"
                )
        found[mined.attribute] = mined
    return found


def sha256_of(mined: Mapping[str, MinedAttribute]) -> dict[str, str]:
    """Attribute → hash of the subspace's file."""
    return {name: hashlib.sha256((own.folder / SUBSPACE).read_bytes()).hexdigest() for name, own in mined.items()}


def unite(
    mined: Mapping[str, MinedAttribute], matrices: Mapping[str, Matrix], dim: int | None, allocation: Allocation
) -> Union:
    """Concatenate the leading directions of all attributes and make them orthonormal.

    Args:
        mined: what :func:`read_subspaces` found.
        matrices: those that are to get an M.
        dim: d, the directions that each attribute brings to a layer, on average; small matrices bring what they have.
            None for all.
        allocation: the same d in every layer, or by effective rank within each stack of layers: as printed in supplement
            2.2 (which spends less than d), or with exactly d on average.

    Raises ValueError for a ``dim`` that is more than what was mined.
    """
    for own in mined.values():
        if dim is not None and dim > own.origin.dim:
            raise InputError(f"--dim={dim}: the subspaces in {own.folder} have {own.origin.dim} directions (d')")
    allocate = STRATEGIES[_STRATEGIES[allocation]]
    stacks: dict[str, LowRank] = {}
    dims: dict[str, list[np.ndarray]] = {}
    for path in matrices:
        used, dims[path] = [], []
        for own in mined.values():
            factors = own.factors[path]
            budget = factors.rank if dim is None else min(dim, factors.rank)
            chosen = layer_dims(own.statistics[path]["singular_values"], allocate, budget, factors.rank)
            dims[path].append(chosen)
            used.append(_leading(factors, chosen))
        widest = max(part.rank for part in used)
        A, B = (jnp.asarray(np.stack([_wide(getattr(part, side), widest) for part in used])) for side in "AB")
        stacks[path] = LowRank(A, B)
    solved = solve_in_groups(stacks, {path: stack.rank for path, stack in stacks.items()}, _merge)
    return Union(
        {path: _cut(solved[path], matrix) for path, matrix in matrices.items()},
        {
            name: float(np.mean(np.concatenate([own[i].ravel() for own in dims.values()])))
            for i, name in enumerate(mined)
        },
    )


def _leading(factors: LowRank, dims: np.ndarray) -> LowRank:
    """Canonical factors with zeros in all but the leading ``dims`` (*layers) columns: a zero column is no direction."""
    used = (np.arange(factors.rank) < dims[..., None])[..., None, :]
    return LowRank(factors.A * used, factors.B * used)


def _wide(columns: np.ndarray, width: int) -> np.ndarray:
    return np.pad(columns, [(0, 0)] * (columns.ndim - 1) + [(0, width - columns.shape[-1])])


def _merge(together: LowRank, dims: jax.Array, width: int) -> Basis:
    """Of a stack (attributes, L, n, d') the bases (L, n, D)."""
    del dims, width  # columns that are not in use are zero
    return merge_subspaces({str(i): together[i] for i in range(together.A.shape[0])})


def _cut(basis: Basis, matrix: Matrix) -> Basis:
    """Without padded rows, with at most min(n, m) directions on each side, and no more columns than a layer uses."""
    most = min(matrix.n, matrix.m)
    sides = []
    for columns, ranks, spectrum, rows in (
        (basis.A, basis.output_rank, basis.output_spectrum, matrix.n),
        (basis.B, basis.input_rank, basis.input_spectrum, matrix.m),
    ):
        ranks = np.minimum(np.asarray(ranks), most)
        width = max(1, int(ranks.max()))
        used = np.arange(width) < ranks[..., None]
        kept = np.asarray(columns)[..., :rows, :width] * used[..., None, :]
        sides.append((jnp.asarray(kept), jnp.asarray(ranks), jnp.asarray(np.asarray(spectrum)[..., :width])))
    (A, output_rank, output_spectrum), (B, input_rank, input_spectrum) = sides
    return Basis(A, B, output_rank, input_rank, output_spectrum, input_spectrum)
