"""The control of labels: Ours, mined from groups of adapters whose attributes were mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from experiments.finetuning.of_adapters import OfAdapters, dealt, read_adapters

if TYPE_CHECKING:
    from experiments.mining.folder import MinedAttribute
    from subspace import Basis
    from vggt_jax.adaptable import Matrix


@dataclass(frozen=True, kw_only=True)
class Shuffled(OfAdapters):
    """dW = Ā M B̄ᵀ as in Ours, but each subspace is mined from adapters of all attributes, dealt out by the seed.

    What attributes are worth is what Ours has over this.
    """

    name = "shuffled"
    label = "Ours, attributes shuffled"
    summary = "M inside subspaces mined from shuffled attributes"

    def bases(
        self, mined: Mapping[str, MinedAttribute], chosen: Mapping[str, Matrix], seed: int
    ) -> tuple[Mapping[str, Basis], Mapping[str, float]]:
        groups = dealt(read_adapters(mined), seed)
        mixed = {
            name: _mined_from(own, group, chosen) for (name, own), group in zip(mined.items(), groups, strict=True)
        }
        return super().bases(mixed, chosen, seed)


def _mined_from(own: MinedAttribute, group: list, chosen: Mapping[str, Matrix]) -> MinedAttribute:
    """What the attribute's folder would hold if its adapters were these, of the chosen matrices."""
    import jax

    from subspace import shared_subspaces

    stacks = {path: jax.tree.map(lambda *x: np.stack(x), *(adapter[path] for adapter in group)) for path in chosen}
    found = shared_subspaces(stacks, {path: own.factors[path].rank for path in chosen}, alpha=own.origin.exponent)
    return replace(
        own,
        factors={path: each.factors.to_numpy() for path, each in found.items()},
        statistics={path: {"singular_values": np.asarray(each.singular_values)} for path, each in found.items()},
    )
