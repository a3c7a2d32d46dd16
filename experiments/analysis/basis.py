"""The union of the attributes' subspaces as a basis for fine-tuning (Sec. 3, last paragraph; supplement 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of, over_matrices
from experiments.mining.folder import Inputs
from subspace import (
    LowRank,
    allocate_importance,
    allocate_proportional,
    allocate_uniform,
    effective_rank,
    merge_subspaces,
)
from subspace.grouping import solve_in_groups

HEADS = ("camera_head.", "depth_head.")
"""Matrices that keep a plain LoRA beside the subspaces in the paper's Tables 1 and 2."""
Allocate = Callable[[jax.Array, int, int], jax.Array]
STRATEGIES: dict[str, Allocate] = {
    "uniform": lambda ranks, budget, most: allocate_uniform(ranks, budget),
    "importance": lambda ranks, budget, most: allocate_importance(ranks, budget),
    "exact budget": lambda ranks, budget, most: allocate_proportional(ranks, budget, most),
}
"""Effective ranks of the layers, mean budget d, what a layer has room for → d_l."""


@dataclass(frozen=True, eq=False)
class Union:
    """The merged basis of one choice of dimensions."""

    dims: np.ndarray
    """(attributes, matrices): directions that each attribute brings."""
    output: np.ndarray
    """(matrices,): D of Ā after merging."""
    input: np.ndarray
    """(matrices,): D of B̄."""
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
    whole: Union
    """All d' directions of every attribute."""
    budget: int
    """Mean dimension of the allocations."""
    allocations: dict[str, Union]
    """By strategy, at the budget."""
    counts: ParameterCounts
    """Trainable parameters by way of fine-tuning."""

    @property
    def unions(self) -> dict[str | None, Union]:
        """Strategy → union; None stands for all directions."""
        return {None: self.whole, **self.allocations}


def measure_basis(inputs: Inputs) -> BasisNumbers:
    """Merge all directions, and those that three ways of allocating half of them choose.

    The budget is d'/2 on average, so that a layer can get more than its share: at d' itself every layer would already have
    all directions that were mined. Budgets are spent within each stack of layers.
    """
    factors = {name: mined.factors for name, mined in inputs.attributes.items()}
    full = {
        path: np.full((len(factors), *stack.shape[:-2]), stack.rank) for path, stack in inputs.first.factors.items()
    }
    allocations = {}
    for strategy, allocate in STRATEGIES.items():
        chosen = {path: _allocated(inputs, path, allocate) for path in inputs.paths}
        allocations[strategy] = _merged(factors, chosen)
    matrices = matrices_of(inputs.first.factors)
    whole = _merged(factors, full)
    return BasisNumbers(
        names=inputs.names,
        matrices=matrices,
        whole=whole,
        budget=max(1, inputs.first.origin.dim // 2),
        allocations=allocations,
        counts=parameter_counts(matrices, inputs.first.ranks, whole, len(factors) * inputs.first.origin.dim),
    )


def _allocated(inputs: Inputs, path: str, allocate: Allocate) -> np.ndarray:
    """(attributes, *layers): d_l of each attribute, at most what was mined."""
    available = inputs.first.factors[path].rank
    budget = max(1, available // 2)
    return np.stack(
        [
            layer_dims(mined.statistics[path]["singular_values"], allocate, budget, available)
            for mined in inputs.attributes.values()
        ]
    )


def layer_dims(
    singular_values: Float[np.ndarray, "*layers p"], allocate: Allocate, budget: int, available: int
) -> Int[np.ndarray, "*layers"]:
    """d_l of one attribute in every layer of a stack, from the spectra of its C; at most what was mined.

    Args:
        singular_values: of C.
        allocate: one of :data:`STRATEGIES`.
        budget: mean dimension that may be spent, at most ``available``.
        available: d' of the mined subspace.
    """
    ranks = effective_rank(jnp.atleast_2d(singular_values)).reshape(-1)
    found = np.asarray(allocate(ranks, budget, available))
    return np.minimum(found, available).reshape(np.shape(singular_values)[:-1])


def _merged(factors: Mapping[str, Mapping[str, LowRank]], dims: Mapping[str, np.ndarray]) -> Union:
    """Merge the leading ``dims[path]`` (attributes, *layers) directions of every attribute."""
    first = next(iter(factors.values()))
    stacks, energies = {}, []
    for path in first:
        used = np.arange(first[path].rank) < dims[path][..., None]  # (attributes, *layers, d')
        sides = (np.stack([np.asarray(getattr(own[path], side)) for own in factors.values()]) for side in "AB")
        A, B = (columns * used[..., None, :] for columns in sides)
        stacks[path] = LowRank(jnp.asarray(A), jnp.asarray(B))  # a zero column is no direction
        sigma = np.stack([np.sum(np.asarray(own[path].A, np.float64) ** 2, axis=-2) for own in factors.values()])
        energies.append([np.sum(each.reshape(len(factors), -1), axis=1) for each in (sigma**2 * used, sigma**2)])
    solved = solve_in_groups(stacks, {path: stack.rank for path, stack in stacks.items()}, _merge)
    counts = np.moveaxis(over_matrices({path: np.moveaxis(own, 0, -1) for path, own in dims.items()}, 1), -1, 0)
    ranks = over_matrices({path: np.asarray(found[0]) for path, found in solved.items()}, 1)
    smallest = [
        _smallest(spectrum.reshape(-1, spectrum.shape[-1]), int(size), brought)
        for path, (_, *spectra) in solved.items()
        for brought in [dims[path].sum(axis=0).reshape(-1)]
        for spectrum, size in zip(map(np.asarray, spectra), first[path].shape[-2:], strict=True)
    ]
    inside, all_energy = np.sum(energies, axis=0)
    return Union(
        dims=counts,
        output=ranks[:, 0],
        input=ranks[:, 1],
        kept=inside / np.where(all_energy > 0, all_energy, 1),
        smallest=np.stack([np.concatenate(smallest[side::2]) for side in (0, 1)], axis=-1),
    )


def _merge(together: LowRank, dims: jax.Array, width: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ranks (L, 2) and the two spectra (L, D) of a stack (attributes, L, n, d')."""
    del dims, width  # columns that are not in use are zero
    basis = merge_subspaces({str(i): together[i] for i in range(together.A.shape[0])})
    return jnp.stack([basis.output_rank, basis.input_rank], axis=-1), basis.output_spectrum, basis.input_spectrum


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


def parameter_counts(matrices: Sequence[Matrix], ranks: Mapping[str, int], union: Union, D: int) -> ParameterCounts:
    """Trainable parameters by way of fine-tuning.

    Args:
      matrices: those that are adapted.
      ranks: path → r of a plain LoRA.
      union: of all attributes, with the D that merging leaves.
      D: number of attributes times d', the side of the paper's M.
    """
    lora = np.array([ranks[matrix.path] * (matrix.n + matrix.m) for matrix in matrices])
    M = np.array([min(D, matrix.n, matrix.m) ** 2 for matrix in matrices])
    head = np.array([matrix.path.startswith(HEADS) for matrix in matrices])
    on_heads = int(lora[head].sum())
    return ParameterCounts(
        side=D,
        lora=int(lora.sum()),
        M=int(M.sum()),
        M_and_head_lora=int(M.sum()) + on_heads if head.any() else None,
        block_M_and_head_lora=int(M[~head].sum()) + on_heads if head.any() else None,
        merged_M=union.parameters,
    )


@dataclass(frozen=True, kw_only=True)
class BasisRow(MatrixRow):
    """The union in one matrix."""

    strategy: str | None
    """How dimensions were allocated, a key of :data:`STRATEGIES`; None for all directions."""
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
            strategy=strategy,
            dims=union.dims[:, i].tolist(),
            output=int(union.output[i]),
            input=int(union.input[i]),
            smallest_output=float(union.smallest[i, 0]) if union.brought[i] else None,
            smallest_input=float(union.smallest[i, 1]) if union.brought[i] else None,
        )
        for strategy, union in numbers.unions.items()
        for i, matrix in enumerate(numbers.matrices)
    ]


@dataclass(frozen=True)
class UnionSummary:
    """One choice of dimensions, over all matrices."""

    strategy: str | None
    """How dimensions were allocated, a key of :data:`STRATEGIES`; None for all directions."""
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
            strategy=strategy,
            dim=numbers.budget if strategy else int(numbers.whole.dims.max()),
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
        for strategy, union in numbers.unions.items()
    ]
