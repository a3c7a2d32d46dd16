"""Adapters beside a base model: what is trained, what it does to the weights, and how it is kept.

* :mod:`vggt_jax.adapters.maker`: the interface, several makers at once, k adapters at once, which matrices
* :mod:`vggt_jax.adapters.lora`, :mod:`~vggt_jax.adapters.pissa`, :mod:`~vggt_jax.adapters.subspace_form`: the makers
* :mod:`vggt_jax.adapters.file`: adapters on disk
"""

from vggt_jax.adapters.file import Adapter, BaseModel, fingerprint, load_adapter, save_adapter
from vggt_jax.adapters.lora import LoRA
from vggt_jax.adapters.maker import Combined, Init, Maker, initialize, select
from vggt_jax.adapters.pissa import PiSSA, principal_part
from vggt_jax.adapters.subspace_form import SubspaceForm

__all__ = [
    "Adapter",
    "BaseModel",
    "Combined",
    "Init",
    "LoRA",
    "Maker",
    "PiSSA",
    "SubspaceForm",
    "fingerprint",
    "initialize",
    "load_adapter",
    "principal_part",
    "save_adapter",
    "select",
]
