"""LoRA-XS (Bałazy et al. 2024): the form of what the paper's Table 4 calls PSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.finetuning.method import AdapterMethod, Option, check_positive

if TYPE_CHECKING:
    from flax import nnx

    from experiments.presets import Preset
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class LoRAXS(AdapterMethod):
    """dW = U Σ R Vᵀ with U Σ Vᵀ the truncated singular value decomposition of W, frozen, and only R, r × r, trained.

    R starts at zero; the authors draw it with a standard deviation of 1e-5, which Adam's first step exceeds.
    :class:`experiments.finetuning.methods.psv.PSV` reaches the same updates with M = Σ R, and has a plain LoRA on the heads.
    """

    name = "lora_xs"
    label = "LoRA-XS"
    summary = "r × r numbers between singular vectors of each weight"
    size = symbol = "rank"
    options = AdapterMethod.options | {"rank": Option("r of the update (nano 8, vggt_1b 16)")}

    rank: int
    """r, side of R; a matrix with fewer rows or columns has as many."""

    def __post_init__(self) -> None:
        check_positive(rank=self.rank)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return {"rank": preset.training.rank}

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters

        chosen = adapters.select(matrices, self.matrices)
        return adapters.SubspaceForm(adapters.principal_bases(parameters, chosen, self.rank, scaled=True))
