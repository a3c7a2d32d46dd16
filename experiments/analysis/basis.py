"""The union of the attributes' subspaces as a basis for fine-tuning (Sec. 3, last paragraph; supplement 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of, over_matrices
from experiments.mining.allocation import ALLOCATIONS, Allocation, allocate
from experiments.mining.folder import Inputs
from experiments.mining.union import Union, unite
from vggt_jax import adaptable
from vggt_jax.adapters import LoRA, SubspaceForm, abstract_bases, trained_numbers
from vggt_jax.patterns import HEADS


@dataclass(frozen=True, eq=False)
class MergedSizes:
    """How large a merged basis is."""

    dims: np.ndarray
    """(attributes, matrices): directions that each attribute brings."""
    output: np.ndarray
    """(matrices,): D of Ā after merging."""
    input: np.ndarray
    """(matrices,): D of B̄ after merging."""
    kept: np.ndarray
    """(attributes,): share of the energy of the attribute's shared updates ‖A Bᵀ‖² in the directions that it brings."""
    smallest: np.ndarray
    """(matrices, 2): smallest singular value of the concatenated bases on the output and the input side: 1 where the
    attributes are orthogonal, near 0 where one repeats the others, NaN where nothing is brought."""

    @property
    def brought(self) -> np.ndarray:
        """(matrices,): columns before merging."""
        return self.dims.sum(axis=0)

    @property
    def parameters(self) -> int:
        """Of all M, one of D_output × D_input for each matrix."""
        return int(np.sum(self.output * self.input))


@dataclass(frozen=True, eq=False)
class BasisNumbers:
    """What :func:`measure_basis` finds."""

    names: list[str]
    """The attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    whole: MergedSizes
    """All d' directions of every attribute."""
    budget: int
    """Mean dimension of the allocations."""
    allocations: dict[Allocation, MergedSizes]
    """By how the layers share the budget."""
    counts: ParameterCounts
    """Trainable parameters by way of fine-tuning."""

    @property
    def unions(self) -> dict[Allocation | None, MergedSizes]:
        """All choices of dimensions; None stands for all directions."""
        return {None: self.whole, **self.allocations}


def measure_basis(inputs: Inputs) -> BasisNumbers:
    """Merge all directions, and those that three ways of allocating half of them choose.

    The budget is d'/2 on average, so that a layer can get more than its share: at d' itself every layer would already have
    all directions that were mined. Budgets are spent within each stack of layers.
    """
    mined, factors = inputs.attributes, inputs.first.factors
    full = {path: np.full((len(mined), *stack.shape[:-2]), stack.rank) for path, stack in factors.items()}
    allocations: dict[Allocation, MergedSizes] = {}
    for allocation in ALLOCATIONS:
        budgets = {path: max(1, stack.rank // 2) for path, stack in factors.items()}
        chosen = {path: allocate(mined, path, allocation, budget) for path, budget in budgets.items()}
        allocations[allocation] = _sizes(unite(mined, chosen))
    matrices = matrices_of(factors)
    whole = _sizes(unite(mined, full))
    return BasisNumbers(
        names=inputs.names,
        matrices=matrices,
        whole=whole,
        budget=max(1, inputs.first.origin.dim // 2),
        allocations=allocations,
        counts=parameter_counts(matrices, inputs.first.ranks, whole, len(mined) * inputs.first.origin.dim),
    )


def _sizes(union: Union) -> MergedSizes:
    dims = over_matrices({path: np.moveaxis(own, 0, -1) for path, own in union.dims.items()}, 1).T
    smallest: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for path, basis in union.bases.items():
        brought = union.dims[path].sum(axis=0).reshape(-1)
        sides = ((basis.output_spectrum, basis.A.shape[-2]), (basis.input_spectrum, basis.B.shape[-2]))
        for found, (spectrum, size) in zip(smallest, sides, strict=True):
            found.append(_smallest(np.reshape(spectrum, (-1, spectrum.shape[-1])), size, brought))
    return MergedSizes(
        dims=dims,
        output=over_matrices({path: np.asarray(basis.output_rank) for path, basis in union.bases.items()}, 0),
        input=over_matrices({path: np.asarray(basis.input_rank) for path, basis in union.bases.items()}, 0),
        kept=np.array([union.kept[name] for name in union.attributes]),
        smallest=np.stack([np.concatenate(side) for side in smallest], axis=-1),
    )


def _smallest(spectrum: np.ndarray, size: int, brought: np.ndarray) -> np.ndarray:
    """The last singular value (L,) that belongs to a direction brought, of spectra (L, D) in a space of ``size``."""
    last = np.clip(np.minimum(brought, size) - 1, 0, spectrum.shape[-1] - 1)
    return np.where(brought > 0, np.take_along_axis(spectrum, last[:, None], axis=-1)[:, 0], np.nan)


@dataclass(frozen=True)
class ParameterCounts:
    """Trainable parameters of the ways of fine-tuning in the paper's tables."""

    side: int
    """D, the side of the paper's M: number of attributes times d'."""
    lora: int
    """A plain LoRA on every matrix."""
    M: int
    """M on every matrix, of the side min(D, n, m)."""
    M_and_head_lora: int | None
    """M on every matrix and a plain LoRA on the heads besides (Tables 1 and 2); None without heads."""
    block_M_and_head_lora: int | None
    """M on the blocks and a plain LoRA on the heads (Table 3); None without heads."""
    merged_M: int
    """M on every matrix, with the sides that merging leaves."""


def parameter_counts(
    matrices: Sequence[Matrix], ranks: Mapping[str, int], union: MergedSizes, D: int
) -> ParameterCounts:
    """Trainable parameters by way of fine-tuning.

    Args:
      matrices: those that are adapted.
      ranks: path → r of a plain LoRA.
      union: of all attributes, with the D that merging leaves.
      D: number of attributes times d', the side of the paper's M.
    """
    layers = Counter(matrix.path for matrix in matrices)
    stacks = {each.path: adaptable.Matrix((layers[each.path],), each.n, each.m) for each in matrices}
    lora = Counter()
    for path, stack in stacks.items():
        lora.update(trained_numbers(LoRA({path: stack}, ranks[path], alpha=1)))
    M = trained_numbers(SubspaceForm(abstract_bases(stacks, D)))
    heads = [path for path in stacks if any(fnmatchcase(path, pattern) for pattern in HEADS)]
    on_heads = sum(lora[path] for path in heads)
    all_M, head_M = sum(M.values()), sum(M[path] for path in heads)
    return ParameterCounts(
        side=D,
        lora=sum(lora.values()),
        M=all_M,
        M_and_head_lora=all_M + on_heads if heads else None,
        block_M_and_head_lora=all_M - head_M + on_heads if heads else None,
        merged_M=union.parameters,
    )


@dataclass(frozen=True, kw_only=True)
class BasisRow(MatrixRow):
    """The union in one matrix."""

    allocation: Allocation | None
    """How the layers share the budget; None for all directions."""
    dims: list[int]
    """Directions that each attribute brings."""
    output: int
    """D of Ā after merging."""
    input: int
    """D of B̄ after merging."""
    smallest_output: float | None
    """Smallest singular value of the concatenated bases on the output side; None where nothing is brought."""
    smallest_input: float | None
    """The same on the input side."""


def basis_rows(numbers: BasisNumbers) -> list[BasisRow]:
    """One row for each choice of dimensions and matrix."""
    return [
        BasisRow(
            path=matrix.path,
            layer=matrix.layer,
            allocation=allocation,
            dims=union.dims[:, i].tolist(),
            output=int(union.output[i]),
            input=int(union.input[i]),
            smallest_output=float(union.smallest[i, 0]) if union.brought[i] else None,
            smallest_input=float(union.smallest[i, 1]) if union.brought[i] else None,
        )
        for allocation, union in numbers.unions.items()
        for i, matrix in enumerate(numbers.matrices)
    ]


@dataclass(frozen=True)
class UnionSummary:
    """One choice of dimensions, over all matrices."""

    allocation: Allocation | None
    """How the layers share the budget; None for all directions."""
    dim: int
    """Directions that each attribute brings: d' for all, the mean budget d for an allocation."""
    brought: float
    """Mean number of directions before merging."""
    output: float
    """Mean D of Ā."""
    input: float
    """Mean D of B̄."""
    dropped_output: float
    """Share of all directions that merging removes on the output side."""
    dropped_input: float
    """The same on the input side."""
    smallest: float
    """Smallest singular value of the concatenated bases in any matrix, on either side."""
    kept: float
    """Share of the energy of the attributes' shared updates, mean over the attributes."""
    left_out: int
    """Matrices to which no attribute brings a direction."""
    parameters: int
    """Of all M."""


def union_summary(numbers: BasisNumbers) -> list[UnionSummary]:
    """One row for each choice of dimensions."""
    return [
        UnionSummary(
            allocation=allocation,
            dim=numbers.budget if allocation else int(numbers.whole.dims.max()),
            brought=float(union.brought.mean()),
            output=float(union.output.mean()),
            input=float(union.input.mean()),
            dropped_output=float(1 - union.output.sum() / max(1, union.brought.sum())),
            dropped_input=float(1 - union.input.sum() / max(1, union.brought.sum())),
            smallest=float(np.nanmin(union.smallest)),
            kept=float(union.kept.mean()),
            left_out=int((union.brought == 0).sum()),
            parameters=union.parameters,
        )
        for allocation, union in numbers.unions.items()
    ]
