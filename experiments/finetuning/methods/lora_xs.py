"""LoRA-XS (Bałazy et al. 2024): the form of what the paper's Table 4 calls PSV."""

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
class LoRAXS(RankMethod):
    """dW = U Σ R Vᵀ with U Σ Vᵀ the truncated singular value decomposition of W, frozen, and only R, r × r, trained.

    R starts at zero; the authors draw it with a standard deviation of 1e-5, which Adam's first step exceeds.
    :class:`experiments.finetuning.methods.psv.PSV` reaches the same updates with M = Σ R, and has a plain LoRA on the heads.
    """

    name = "lora_xs"
    label = "LoRA-XS"
    summary = "r × r numbers between singular vectors of each weight"

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, rank=self.rank)
        return adapters.SubspaceForm(adapters.principal_bases(parameters, chosen, self.rank, scaled=True))
