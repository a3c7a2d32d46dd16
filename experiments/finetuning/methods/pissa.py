"""PiSSA (Meng et al. 2024)."""

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
class PiSSA(AdapterMethod):
    """A LoRA that starts from the principal part of the weights, see :class:`vggt_jax.adapters.PiSSA`."""

    name = "pissa"
    label = "PiSSA"
    summary = "a LoRA from the principal part of the weights"
    size = symbol = "rank"
    options = AdapterMethod.options | {"rank": Option("r of the update (nano 8, vggt_1b 16)")}

    rank: int
    """r, singular directions of the weights that training starts from."""

    def __post_init__(self) -> None:
        check_positive(rank=self.rank)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return {"rank": preset.training.rank}

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters

        return adapters.PiSSA.of(parameters, adapters.select(matrices, self.matrices), self.rank)
