"""Linear algebra on stacks of low-rank updates: what several LoRA adapters share, and how far such subspaces are apart.

Pure functions on arrays and pytrees. Nothing here knows a model, reads a file, or forms an n×m matrix of every adapter. Every
array may have leading layer axes. What solves for many matrices at once is compiled by JAX; formulas of one update or one
spectrum follow the kind of array, and stay with NumPy for NumPy's. The formulas are those of *Mining Attribute Subspaces for
Efficient Fine-tuning of 3D Foundation Models*:

* Sec. 3, Eq. 1–3 (shared subspace by IRLS): :mod:`subspace.shared`, on the coordinates of :mod:`subspace.compression`; of
  hundreds of adapters of large matrices: :mod:`subspace.crowd`
* Sec. 3, last paragraph (the union as a basis): :mod:`subspace.basis`
* Sec. 4.2 and Fig. 4 (spectral patterns): :mod:`subspace.spectra`
* Sec. 4.3, Eq. 4–5 (distance of subspaces): :mod:`subspace.angles`; by chance alone: :mod:`subspace.null_model`
* Supplement 2.2 (effective rank, allocation): :mod:`subspace.spectra`, :mod:`subspace.allocation`
"""

from typing import TYPE_CHECKING

import lazy_loader

from subspace.environment import configure

if TYPE_CHECKING:
    from subspace.allocation import allocate_importance, allocate_proportional, allocate_uniform
    from subspace.angles import (
        Side,
        angles_of_eigenvalues,
        generalized_eigenvalues,
        generalized_eigh,
        pairwise_eigenvalues,
        pairwise_eigenvalues_by_path,
        principal_angles,
    )
    from subspace.basis import Basis, captured_energy, merge_subspaces, merge_subspaces_by_path, project
    from subspace.low_rank import LowRank, canonicalize, frobenius_norm, inner_product, singular_values
    from subspace.null_model import null_eigenvalues, null_p_value, null_percentile
    from subspace.shared import SharedSubspace, shared_subspace, shared_subspaces
    from subspace.spectra import Pattern, SpectralPattern, effective_rank, spectral_pattern
    from subspace.stability import Examined, Stability, examine_subspaces, subspace_stabilities, subspace_stability

__all__ = [
    "Basis",
    "Examined",
    "LowRank",
    "Pattern",
    "SharedSubspace",
    "Side",
    "SpectralPattern",
    "Stability",
    "allocate_importance",
    "allocate_proportional",
    "allocate_uniform",
    "angles_of_eigenvalues",
    "canonicalize",
    "captured_energy",
    "effective_rank",
    "examine_subspaces",
    "frobenius_norm",
    "generalized_eigenvalues",
    "generalized_eigh",
    "inner_product",
    "merge_subspaces",
    "merge_subspaces_by_path",
    "null_eigenvalues",
    "null_p_value",
    "null_percentile",
    "pairwise_eigenvalues",
    "pairwise_eigenvalues_by_path",
    "principal_angles",
    "project",
    "shared_subspace",
    "shared_subspaces",
    "singular_values",
    "spectral_pattern",
    "subspace_stabilities",
    "subspace_stability",
]

configure()

# JAX is loaded with the first name that is used: what only raises InputError should not wait for it
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "allocation": ["allocate_importance", "allocate_proportional", "allocate_uniform"],
        "angles": [
            "Side",
            "angles_of_eigenvalues",
            "generalized_eigenvalues",
            "generalized_eigh",
            "pairwise_eigenvalues",
            "pairwise_eigenvalues_by_path",
            "principal_angles",
        ],
        "basis": ["Basis", "captured_energy", "merge_subspaces", "merge_subspaces_by_path", "project"],
        "low_rank": ["LowRank", "canonicalize", "frobenius_norm", "inner_product", "singular_values"],
        "null_model": ["null_eigenvalues", "null_p_value", "null_percentile"],
        "shared": ["SharedSubspace", "shared_subspace", "shared_subspaces"],
        "spectra": ["Pattern", "SpectralPattern", "effective_rank", "spectral_pattern"],
        "stability": ["Examined", "Stability", "examine_subspaces", "subspace_stabilities", "subspace_stability"],
    },
)
