"""Adapters beside a base model: what is trained, what it does to the weights, and how it is kept.

* :mod:`vggt_jax.adapters.maker`: the interface, several makers at once, k adapters at once, which matrices
* :mod:`vggt_jax.adapters.lora`, :mod:`~vggt_jax.adapters.pissa`, :mod:`~vggt_jax.adapters.adalora`,
  :mod:`~vggt_jax.adapters.subspace_form`: the makers
* :mod:`vggt_jax.adapters.decomposed`: rows' lengths trained beside another maker's updates
* :mod:`vggt_jax.adapters.rank_allocation`: which triplets of an AdaLoRA stay
* :mod:`vggt_jax.adapters.principal_basis`: a basis for the subspace form from the model's own weights
* :mod:`vggt_jax.adapters.fixed_outputs`: inputs trained from zero, with outputs given
* :mod:`vggt_jax.adapters.dense`: all entries of the matrices trained, from zero
* :mod:`vggt_jax.adapters.count`: how many numbers a maker trains
* :mod:`vggt_jax.adapters.file`: adapters on disk
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from vggt_jax.adapters.adalora import AdaLoRA, Triplets, orthogonality
    from vggt_jax.adapters.count import trained_numbers
    from vggt_jax.adapters.decomposed import Decomposed
    from vggt_jax.adapters.dense import Dense
    from vggt_jax.adapters.file import Adapter, BaseModel, fingerprint, load_adapter, save_adapter
    from vggt_jax.adapters.fixed_outputs import FixedOutputs
    from vggt_jax.adapters.lora import LoRA
    from vggt_jax.adapters.maker import Combined, Init, Maker, initialize, select
    from vggt_jax.adapters.pissa import PiSSA, principal_part
    from vggt_jax.adapters.principal_basis import principal_bases
    from vggt_jax.adapters.rank_allocation import Allocated, RankAllocation, triplet_scores
    from vggt_jax.adapters.subspace_form import SubspaceForm, abstract_bases

__all__ = [
    "AdaLoRA",
    "Adapter",
    "Allocated",
    "BaseModel",
    "Combined",
    "Decomposed",
    "Dense",
    "FixedOutputs",
    "Init",
    "LoRA",
    "Maker",
    "PiSSA",
    "RankAllocation",
    "SubspaceForm",
    "Triplets",
    "abstract_bases",
    "fingerprint",
    "initialize",
    "load_adapter",
    "orthogonality",
    "principal_bases",
    "principal_part",
    "save_adapter",
    "select",
    "trained_numbers",
    "triplet_scores",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adalora": ["AdaLoRA", "Triplets", "orthogonality"],
        "count": ["trained_numbers"],
        "decomposed": ["Decomposed"],
        "dense": ["Dense"],
        "fixed_outputs": ["FixedOutputs"],
        "file": ["Adapter", "BaseModel", "fingerprint", "load_adapter", "save_adapter"],
        "lora": ["LoRA"],
        "maker": ["Combined", "Init", "Maker", "initialize", "select"],
        "pissa": ["PiSSA", "principal_part"],
        "principal_basis": ["principal_bases"],
        "rank_allocation": ["Allocated", "RankAllocation", "triplet_scores"],
        "subspace_form": ["SubspaceForm", "abstract_bases"],
    },
)
