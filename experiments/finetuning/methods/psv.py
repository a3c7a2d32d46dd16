"""PSV, the paper's Table 4: M between the leading singular vectors of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.finetuning.inside_bases import InsideBases
from experiments.finetuning.method import AdapterMethod, Option, check_positive

if TYPE_CHECKING:
    from flax import nnx

    from experiments.presets import Preset
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker

_ATTRIBUTES = 4
"""The paper's: texture, geometry, camera and lighting."""


@dataclass(frozen=True, kw_only=True)
class PSV(InsideBases, AdapterMethod):
    """dW = U M Vᵀ with U and V the leading singular vectors of W, frozen, and as in Ours a plain LoRA on the heads.

    This is the form of LoRA-XS (:class:`experiments.finetuning.methods.lora_xs.LoRAXS`), whose R is Σ⁻¹ M: both reach the
    same updates of a matrix, with Adam at another pace along each direction.
    """

    name = "psv"
    label = "PSV"
    summary = "M between singular vectors of each weight"
    size, symbol = "dim", "D"
    options = InsideBases.options | {
        "dim": Option("D, side of M; by default four times d' of the preset (nano 32, vggt_1b 64)"),
    }

    dim: int
    """D, singular directions of each weight; a matrix with fewer rows or columns has as many."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(dim=self.dim)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return {"dim": _ATTRIBUTES * preset.extraction.dim}

    steep: ClassVar[bool] = False
    """Whether singular values of the matrices that directions are taken of fall by more than three decades."""

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, dim=self.dim)
        return self.with_plain(adapters.principal_bases(parameters, chosen, self.dim, steep=self.steep), matrices)
