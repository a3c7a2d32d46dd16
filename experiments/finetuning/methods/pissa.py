"""PiSSA (Meng et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.finetuning.method import RankMethod

if TYPE_CHECKING:
    from flax import nnx

    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class PiSSA(RankMethod):
    """A LoRA that starts from the principal part of the weights, see :class:`vggt_jax.adapters.PiSSA`."""

    name = "pissa"
    label = "PiSSA"
    summary = "a LoRA from the principal part of the weights"

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, rank=self.rank)
        return adapters.PiSSA.of(parameters, chosen, self.rank)
