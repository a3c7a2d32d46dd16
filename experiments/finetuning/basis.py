"""Ā and B̄ from the subspaces of any set of attributes (Sec. 3, last paragraph; supplement 2.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.mining.folder import SUBSPACE, MinedAttribute, read_folder
from experiments.mining.union import Allocation, Union, allocate, unite
from subspace.errors import InputError
from vggt_jax.adaptable import Matrix
from vggt_jax.adapters import BaseModel


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
        mined = read_folder(folder)
        if mined.attribute in found:
            raise InputError(
                f"--subspaces: {found[mined.attribute].folder} and {folder} both hold the attribute {mined.attribute}"
            )
        if mined.origin.fingerprint != base.fingerprint:
            raise InputError(
                f"{folder} was mined from adapters of the base model {mined.origin.base_label}, "
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


def unite_directions(
    mined: Mapping[str, MinedAttribute], matrices: Mapping[str, Matrix], dim: int | None, allocation: Allocation
) -> Union:
    """The union of the leading directions of all attributes.

    Args:
        mined: what :func:`read_subspaces` found.
        matrices: those that are to get an M.
        dim: d, the directions that each attribute brings to a layer, on average; small matrices bring what they have.
            None for all.
        allocation: how the layers of a stack share d.

    Raises InputError for a ``dim`` that is more than what was mined.
    """
    for own in mined.values():
        if dim is not None and dim > own.origin.dim:
            raise InputError(f"dim={dim}: the subspaces in {own.folder} have {own.origin.dim} directions (d')")
    most = max(own.factors[path].rank for own in mined.values() for path in matrices)
    budget = most if dim is None else dim
    return unite(mined, {path: allocate(mined, path, allocation, budget) for path in matrices})
