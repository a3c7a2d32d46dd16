"""The union of several attributes' subspaces as one basis (Sec. 3, last paragraph; supplement 2.2).

Used in two steps, so that dimensions can come from anywhere::

    dims = {path: allocate(mined, path, "uniform", budget=8) for path in paths}
    union = unite(mined, dims)
    bases = union.square()          # Ā and B̄ of dW = Ā M B̄ᵀ
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from experiments.mining.folder import MinedAttribute
from subspace import Basis, LowRank, merge_subspaces
from subspace.grouping import solve_in_groups


@dataclass(frozen=True, eq=False)
class Union:
    """The merged basis of the directions that some attributes bring."""

    attributes: tuple[str, ...]
    """Names of the attributes, in the order in which they were merged."""
    dims: dict[str, Int[np.ndarray, " attributes *layers"]]
    """path → how many of its leading directions each attribute brings to each layer."""
    bases: dict[str, Basis]
    """path → orthonormal bases (*layers, n, D) and (*layers, m, D). D is the number of columns that were merged, at most
    what the largest layer of any matrix could need; columns past a layer's own rank are zero. Spectra hold the singular
    values of all merged columns, those of dropped directions included."""
    kept: dict[str, float]
    """attribute → share, 0 to 1, of the energy ‖A Bᵀ‖² of its shared updates that lies in the directions that it brings."""

    @property
    def spent(self) -> dict[str, float]:
        """attribute → mean of the directions that it brings, over all matrices of all layers."""
        return {
            name: float(np.mean(np.concatenate([own[i].ravel() for own in self.dims.values()])))
            for i, name in enumerate(self.attributes)
        }

    def square(self) -> dict[str, Basis]:
        """path → the basis with at most min(n, m) directions on each side and no more columns than some layer uses.

        So M has the paper's side min(D, n, m).
        """
        return {path: _cut(basis) for path, basis in self.bases.items()}


def unite(mined: Mapping[str, MinedAttribute], dims: Mapping[str, Int[np.ndarray, " attributes *layers"]]) -> Union:
    """Put the leading directions of all attributes side by side and make them orthonormal.

    Args:
        mined: attribute → its subspaces, all of one base model.
        dims: path → how many directions each attribute brings, of the matrices that are wanted; see
            :func:`experiments.mining.allocation.allocate`.
    """
    stacks = {path: _side_by_side([own.factors[path] for own in mined.values()], dims[path]) for path in dims}
    solved = solve_in_groups(stacks, {path: stack.rank for path, stack in stacks.items()}, _merge)
    bases = {path: _unpadded(basis, *stacks[path].shape[-2:]) for path, basis in solved.items()}
    return Union(tuple(mined), dict(dims), bases, _kept(mined, dims))


def _side_by_side(parts: list[LowRank], dims: np.ndarray) -> LowRank:
    """(attributes, *layers, n, d'): leading columns of all attributes, the others zero: a zero column is no direction."""
    widest = max(part.rank for part in parts)
    used = [np.arange(part.rank) < own[..., None] for part, own in zip(parts, dims, strict=True)]
    sides = (
        [
            _wide(np.asarray(getattr(part, side)) * own[..., None, :], widest)
            for part, own in zip(parts, used, strict=True)
        ]
        for side in "AB"
    )
    A, B = (jnp.asarray(np.stack(columns)) for columns in sides)
    return LowRank(A, B)


def _wide(columns: np.ndarray, width: int) -> np.ndarray:
    return np.pad(columns, [(0, 0)] * (columns.ndim - 1) + [(0, width - columns.shape[-1])])


def _merge(together: LowRank, dims: jax.Array, width: int) -> Basis:
    """Of a stack (attributes, L, n, d') the bases (L, n, D)."""
    del dims, width  # columns that are not in use are zero
    return merge_subspaces({str(i): together[i] for i in range(together.A.shape[0])})


def _unpadded(basis: Basis, n: int, m: int) -> Basis:
    """As NumPy arrays without the rows that made sizes alike."""
    A, B = np.asarray(basis.A)[..., :n, :], np.asarray(basis.B)[..., :m, :]
    ranks, spectra = (
        [np.asarray(getattr(basis, f"{side}_{kind}")) for side in ("output", "input")] for kind in ("rank", "spectrum")
    )
    return Basis(A, B, *ranks, *spectra)  # pyright: ignore[reportArgumentType]  # NumPy is welcome


def _cut(basis: Basis) -> Basis:
    most = min(basis.A.shape[-2], basis.B.shape[-2])
    sides = []
    for columns, ranks, spectrum in (
        (basis.A, basis.output_rank, basis.output_spectrum),
        (basis.B, basis.input_rank, basis.input_spectrum),
    ):
        ranks = np.minimum(np.asarray(ranks), most)
        width = max(1, int(ranks.max()))
        used = np.arange(width) < ranks[..., None]
        kept = np.asarray(columns)[..., :width] * used[..., None, :]
        sides.append((jnp.asarray(kept), jnp.asarray(ranks), jnp.asarray(np.asarray(spectrum)[..., :width])))
    (A, output_rank, output_spectrum), (B, input_rank, input_spectrum) = sides
    return Basis(A, B, output_rank, input_rank, output_spectrum, input_spectrum)


def _kept(mined: Mapping[str, MinedAttribute], dims: Mapping[str, np.ndarray]) -> dict[str, float]:
    shares = {}
    for i, (name, own) in enumerate(mined.items()):
        inside = whole = 0.0
        for path, chosen in dims.items():
            factors = own.factors[path]
            sigma = np.sum(np.asarray(factors.A, np.float64) ** 2, axis=-2)  # as A is U Σ^½
            energy = sigma**2
            inside += float(np.sum(energy * (np.arange(factors.rank) < chosen[i][..., None])))
            whole += float(np.sum(energy))
        shares[name] = inside / whole if whole > 0 else inside
    return shares
