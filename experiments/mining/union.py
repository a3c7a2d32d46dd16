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
from subspace import Basis, merge_subspaces_by_path


@dataclass(frozen=True, eq=False)
class Union:
    """The merged basis of the directions that some attributes bring."""

    attributes: tuple[str, ...]
    """Names of the attributes, in the order in which they were merged."""
    dims: dict[str, Int[np.ndarray, " attributes *layers"]]
    """path → how many of its leading directions each attribute brings to each layer."""
    bases: dict[str, Basis]
    """path → orthonormal bases (*layers, n, D) and (*layers, m, D). D is the number of columns that were merged, at most
    n or m; columns past a layer's own rank are zero. Spectra hold the singular
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
        return {
            path: jax.tree.map(jnp.asarray, basis.narrowed(min(basis.A.shape[-2], basis.B.shape[-2])))
            for path, basis in self.bases.items()
        }


def unite(mined: Mapping[str, MinedAttribute], dims: Mapping[str, Int[np.ndarray, " attributes *layers"]]) -> Union:
    """Put the leading directions of all attributes side by side and make them orthonormal.

    Args:
        mined: attribute → its subspaces, all of one base model.
        dims: path → how many directions each attribute brings, of the matrices that are wanted; see
            :func:`experiments.mining.allocation.allocate`.
    """
    factors = {name: {path: own.factors[path] for path in dims} for name, own in mined.items()}
    ranks = {name: {path: own[i] for path, own in dims.items()} for i, name in enumerate(mined)}
    return Union(tuple(mined), dict(dims), merge_subspaces_by_path(factors, ranks), _kept(mined, dims))


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
