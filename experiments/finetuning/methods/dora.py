"""DoRA, weight-decomposed LoRA (Liu et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.finetuning.methods.lora import LoRA

if TYPE_CHECKING:
    from flax import nnx

    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class DoRA(LoRA):
    """W becomes m · (W + scale · A Bᵀ) / ‖W + scale · A Bᵀ‖, row by row, with m, A and B trained.

    m starts at the lengths of the rows of W, one for each output; see :class:`vggt_jax.adapters.Decomposed`.
    """

    name = "dora"
    reads_weights = True
    label = "DoRA"
    summary = "a LoRA and the lengths of the weights' rows"

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters

        chosen = adapters.select(matrices, self.matrices)
        return adapters.Decomposed.of(parameters, chosen, super().maker(parameters, matrices))
