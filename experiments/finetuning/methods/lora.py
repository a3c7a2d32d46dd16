"""LoRA (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.finetuning.method import RankMethod, check_positive

if TYPE_CHECKING:
    from flax import nnx

    from experiments.presets import Preset
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class LoRA(RankMethod):
    """dW = scale · A Bᵀ with A and B trained, see :class:`vggt_jax.adapters.LoRA`."""

    name = "lora"
    reads_weights = False
    label = "LoRA"
    summary = "a LoRA"

    scale: float = 1.0
    """The factor alpha / rank before A Bᵀ."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(scale=self.scale)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return super().defaults(preset) | {"scale": preset.training.alpha / preset.training.rank}

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, rank=self.rank)
        return adapters.LoRA(chosen, self.rank, self.scale * self.rank)
