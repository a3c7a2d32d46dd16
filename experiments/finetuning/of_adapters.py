"""What the methods share that make bases of the attributes' adapters themselves, not of the subspaces mined from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.finetuning.methods.subspace import Subspace
from subspace.errors import InputError

if TYPE_CHECKING:
    from experiments.mining.folder import MinedAttribute
    from experiments.models import Base
    from subspace import LowRank


@dataclass(frozen=True, kw_only=True)
class OfAdapters(Subspace):
    """A control of :class:`Subspace` with as many directions, from the same adapters."""

    def inputs(self, base: Base) -> dict[str, Any]:
        """The adapters' files count too."""
        mined, _ = self.read(base)
        return super().inputs(base) | {f"adapters of {name}": _sha256(own) for name, own in mined.items()}


def read_adapters(mined: Mapping[str, MinedAttribute]) -> dict[str, list[dict[str, LowRank]]]:
    """Attribute → its adapters. Raises InputError for a folder without them."""
    for own in mined.values():
        if not own.adapter_files:
            raise InputError(
                f"{own.folder} keeps no copies of its adapters, which this method needs", argument="subspaces"
            )
    return {name: [own.read_adapter(i) for i in range(len(own.adapter_files))] for name, own in mined.items()}


def dealt(adapters: Mapping[str, Sequence[dict[str, LowRank]]], seed: int) -> list[list[dict[str, LowRank]]]:
    """As many groups as attributes, each with its share of the adapters of every attribute, which share is drawn."""
    import numpy as np

    rng = np.random.default_rng(seed)
    every = [own[i] for own in adapters.values() for i in rng.permutation(len(own))]
    return [every[group :: len(adapters)] for group in range(len(adapters))]


def _sha256(own: MinedAttribute) -> str:
    digest = hashlib.sha256()
    for file in own.adapter_files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
