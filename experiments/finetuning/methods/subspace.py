"""The paper's method: M inside the union of subspaces that were mined from adapters of attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.finetuning.inside_bases import InsideBases
from experiments.finetuning.method import Option, check_positive
from experiments.mining.allocation import ALLOCATIONS, Allocation
from experiments.storage.identity import NO_EFFECT
from subspace.errors import InputError

if TYPE_CHECKING:
    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.mining.folder import MinedAttribute
    from experiments.mining.union import Union
    from experiments.models import Base
    from subspace import Basis
    from vggt_jax import VGGTConfig
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import BaseModel
    from vggt_jax.parameters import ParameterCount


@dataclass(frozen=True, kw_only=True)
class Subspace(InsideBases):
    """dW = Ā M B̄ᵀ with Ā and B̄ the merged directions of several attributes, frozen (Sec. 3, last paragraph)."""

    name = "subspace"
    reads_weights = False
    label = "Ours"
    summary = "M inside mined subspaces of attributes"
    size, symbol = "dim", "d"
    options = InsideBases.options | {
        "subspaces": Option("folders of experiments.extract, one for each attribute, with commas", "paths"),
        "dim": Option("d, directions that an attribute brings to a layer on average; by default all that was mined"),
        "allocation": Option(
            "the same d in every layer (the default); by effective rank over its mean in the layers of one kind of matrix, "
            "rounded down as the paper prints it; or so that d is spent",
            "choice",
            ALLOCATIONS,
        ),
    }

    subspaces: tuple[Path, ...] = field(default=(), metadata=NO_EFFECT)  # their content counts, see inputs
    """Folders that ``experiments.extract`` wrote, one for each attribute."""
    dim: int | None = None
    """d, directions that an attribute brings to a layer on average; None for all that was mined."""
    allocation: Allocation = "uniform"
    """How the layers of a stack share d."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.subspaces:
            raise InputError("subspaces: name at least one folder that experiments.extract wrote", argument="subspaces")
        if self.dim is not None:
            check_positive(dim=self.dim)

    def count(self, config: VGGTConfig) -> ParameterCount:
        """The paper's: M has the side min(D, n, m) with D the sum of all attributes' directions.

        Directions that repeat others, and allocations that do not spend d, leave fewer numbers: what training says.
        """
        from experiments.mining.folder import SUBSPACE
        from experiments.mining.subspace_file import load_subspace
        from vggt_jax.adapters import abstract_bases, select, trained_numbers
        from vggt_jax.parameters import adaptable_matrices, by_part

        if self.dim is None:
            D = sum(load_subspace(folder / SUBSPACE).origin.dim for folder in self.subspaces)
        else:
            D = len(self.subspaces) * self.dim
        matrices = adaptable_matrices(config)
        bases = abstract_bases(select(matrices, self.matrices), D)
        return by_part(trained_numbers(self.with_plain(bases, matrices)))

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        from experiments.finetuning.trainable import train_adapter
        from vggt_jax.parameters import adaptable_matrices

        mined, chosen = self.read(base)
        bases, about = self.bases(mined, chosen, settings.seed)
        maker = self.with_plain(bases, adaptable_matrices(base.config), self.start(mined, bases))
        return train_adapter(base, maker, settings, about)

    def bases(
        self, mined: Mapping[str, MinedAttribute], chosen: Mapping[str, Matrix], seed: int
    ) -> tuple[Mapping[str, Basis], Mapping[str, float]]:
        """Ā and B̄ of the ``chosen`` matrices, and what is to be known about them.

        Args:
            mined: attribute → what was mined for it.
            chosen: the matrices that get an M.
            seed: of the fine-tuning; nothing is drawn here, but a control may draw.
        """
        union = self.unite(mined, chosen)
        return union.square(), {f"mean_directions_{name}": spent for name, spent in union.spent.items()}

    def start(self, mined: Mapping[str, MinedAttribute], bases: Mapping[str, Basis]) -> Mapping[str, np.ndarray] | None:
        """The first M of each matrix; None for zero."""
        return None

    def inputs(self, base: Base) -> dict[str, Any]:
        """In the order of ``subspaces``, on which the signs of Ā and B̄ and what controls draw depend."""
        mined, chosen = self.read(base)
        self._check_dim(mined)
        return {"subspaces": [[name, _sha256(own, chosen)] for name, own in mined.items()]}

    def read(self, base: Base) -> tuple[dict[str, MinedAttribute], dict[str, Matrix]]:
        """Attribute → what was mined for it, and the matrices that get an M; raises as :func:`read_subspaces`."""
        from vggt_jax.adapters import select
        from vggt_jax.parameters import adaptable_matrices

        chosen = select(adaptable_matrices(base.config), self.matrices)
        return read_subspaces(self.subspaces, base.identity, chosen), chosen

    def unite(self, mined: Mapping[str, MinedAttribute], paths: Iterable[str]) -> Union:
        """The union of the leading directions of all attributes, in these matrices.

        Raises InputError for a ``dim`` that is more than what was mined.
        """
        from experiments.mining.allocation import allocate
        from experiments.mining.union import unite

        self._check_dim(mined)
        most = max(factors.rank for own in mined.values() for factors in own.factors.values())
        budget = most if self.dim is None else self.dim
        return unite(mined, {path: allocate(mined, path, self.allocation, budget) for path in paths})

    def _check_dim(self, mined: Mapping[str, MinedAttribute]) -> None:
        for own in mined.values():
            if self.dim is not None and self.dim > own.origin.dim:
                raise InputError(
                    f"dim={self.dim}: the subspaces in {own.folder} have {own.origin.dim} directions (d')",
                    argument="dim",
                )


def _sha256(mined: MinedAttribute, paths: Iterable[str]) -> str:
    """Of directions and spectra in these matrices; files with the same content may differ in their bytes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        factors = mined.factors[path]
        for array in (factors.A, factors.B, mined.statistics[path]["singular_values"]):
            digest.update(f"{path} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def read_subspaces(
    folders: Sequence[Path], base: BaseModel, matrices: Mapping[str, Matrix]
) -> dict[str, MinedAttribute]:
    """Attribute → what was mined for it, of the matrices of ``base`` that are to get an M.

    Raises:
        InputError: an attribute that is given twice, a subspace of another model, one that lacks a matrix or has it in
            another size, and what :func:`experiments.mining.folder.read_folder` refuses.
        OSError: a file that cannot be read.
    """
    from experiments.mining.folder import check_base, read_folder

    found: dict[str, MinedAttribute] = {}
    for folder in folders:
        mined = read_folder(folder, "subspaces")
        if mined.attribute in found:
            raise InputError(
                f"subspaces: {found[mined.attribute].folder} and {folder} both hold the attribute {mined.attribute}"
            )
        check_base(mined, base)
        for path, matrix in matrices.items():
            if path not in mined.factors:
                raise InputError(f"{folder} has no subspace for {path}; leave it out", argument="matrices")
            if mined.factors[path].shape != (*matrix.stack, matrix.n, matrix.m):
                raise InputError(
                    f"{folder}: {path} is {mined.factors[path].shape}, in the base model it is "
                    f"{(*matrix.stack, matrix.n, matrix.m)}"
                )
        found[mined.attribute] = mined
    return found
