"""The union of the attributes' subspaces as a basis for fine-tuning (Sec. 3, last paragraph; supplement 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from experiments.analysis.matrices import Matrix, matrices_of, over_matrices
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
    matrices: list[Matrix]
    whole: Union
    """All d' directions of every attribute."""
    budget: int
    """Mean dimension of the allocations."""
    allocations: dict[str, Union]
    """By strategy, at the budget."""
    counts: dict[str, int]
    """Trainable parameters by way of fine-tuning."""


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


def parameter_counts(matrices: Sequence[Matrix], ranks: Mapping[str, int], union: Union, D: int) -> dict[str, int]:
    """Trainable parameters of the ways of fine-tuning in the paper's tables.

    Args:
      matrices: those that are adapted.
      ranks: path → r of a plain LoRA.
      union: of all attributes, with the D that merging leaves.
      D: number of attributes times d', the side of the paper's M.
    """
    lora = np.array([ranks[matrix.path] * (matrix.n + matrix.m) for matrix in matrices])
    M = np.array([min(D, matrix.n, matrix.m) ** 2 for matrix in matrices])
    head = np.array([matrix.path.startswith(HEADS) for matrix in matrices])
    counts = {
        "plain LoRA on every matrix": lora.sum(),
        f"M on every matrix, side min({D}, n, m)": M.sum(),
        f"M on every matrix, side min({D}, n, m), and a plain LoRA on the heads (Tables 1, 2)": M.sum()
        + lora[head].sum(),
        f"M on the blocks, side min({D}, n, m), and a plain LoRA on the heads (Table 3)": M[~head].sum()
        + lora[head].sum(),
        "M on every matrix, with the D that merging leaves": union.parameters,
    }
    if not head.any():
        counts = {name: count for name, count in counts.items() if "heads" not in name}
    return {name: int(count) for name, count in counts.items()}


def basis_rows(numbers: BasisNumbers) -> Iterator[dict[str, Any]]:
    """One row for each matrix and choice of dimensions."""
    unions = {"all directions": numbers.whole, **numbers.allocations}
    for name, union in unions.items():
        for i, matrix in enumerate(numbers.matrices):
            yield {
                "dimensions": name,
                "path": matrix.path,
                "layer": matrix.layer,
                **{f"of {attribute}": int(union.dims[a, i]) for a, attribute in enumerate(numbers.names)},
                "together": int(union.brought[i]),
                "D output": int(union.output[i]),
                "D input": int(union.input[i]),
                "smallest singular value, output": float(union.smallest[i, 0]) if union.brought[i] else None,
                "smallest singular value, input": float(union.smallest[i, 1]) if union.brought[i] else None,
            }


def union_summary(numbers: BasisNumbers) -> list[dict[str, Any]]:
    """One row for each choice of dimensions: sums over the matrices, and parameters."""
    unions = {
        f"all d' = {int(numbers.whole.dims.max())}": numbers.whole,
        **{f"{name}, d = {numbers.budget}": union for name, union in numbers.allocations.items()},
    }
    return [
        {
            "dimensions": name,
            "mean brought": float(union.brought.mean()),
            "mean D output": float(union.output.mean()),
            "mean D input": float(union.input.mean()),
            "dropped, output": float(1 - union.output.sum() / max(1, union.brought.sum())),
            "dropped, input": float(1 - union.input.sum() / max(1, union.brought.sum())),
            "smallest singular value": float(np.nanmin(union.smallest)),
            "energy kept": float(union.kept.mean()),
            "matrices left out": int((union.brought == 0).sum()),
            "parameters of M": union.parameters,
        }
        for name, union in unions.items()
    ]
