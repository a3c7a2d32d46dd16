"""What the methods share that train an M between fixed bases, dW = Ā M B̄ᵀ, with a plain LoRA beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from experiments.finetuning.method import Method, Option, check_positive
from experiments.storage.arguments import convert_fields
from subspace.errors import InputError
from vggt_jax.patterns import HEADS

if TYPE_CHECKING:
    import numpy as np

    from experiments.presets import Preset
    from subspace import Basis
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class PlainLoRA:
    """A LoRA beside the M."""

    rank: int
    """r of the LoRA."""
    matrices: tuple[str, ...] = HEADS
    """Patterns of the matrices that get it."""
    scale: float = 1.0
    """The factor alpha / rank before A Bᵀ."""

    def __post_init__(self) -> None:
        convert_fields(self)
        check_positive(rank=self.rank, scale=self.scale)
        if not self.matrices:
            raise InputError("matrices: name at least one pattern for the plain LoRA, or leave it out")


@dataclass(frozen=True, kw_only=True)
class InsideBases(Method):
    """dW = Ā M B̄ᵀ on ``matrices``, and as in the paper a plain LoRA on the heads' matrices."""

    options = Method.options | {
        "plain": Option(
            "patterns of the matrices that get a plain LoRA beside M, '' for none; by default " + " and ".join(HEADS),
            "names",
        ),
        "rank": Option("r of the plain LoRA beside M (nano 8, vggt_1b 16)"),
    }

    plain: PlainLoRA | None
    """The plain LoRA beside M; None for none."""

    @classmethod
    def of(cls, preset: Preset, *, plain: Sequence[str] = HEADS, rank: int | None = None, **given: Any) -> Self:
        """As :meth:`Method.of`; ``plain`` are patterns and ``rank`` is r of the plain LoRA.

        Raises InputError for a rank without patterns.
        """
        patterns = tuple(pattern for pattern in plain if pattern)
        if not patterns and rank is not None:
            raise InputError(f"rank={rank} has no meaning without a plain LoRA beside M", argument="rank")
        training = preset.training
        lora = (
            PlainLoRA(
                rank=training.rank if rank is None else rank, matrices=patterns, scale=training.alpha / training.rank
            )
            if patterns
            else None
        )
        return super().of(preset, **{"plain": lora, **given})

    def with_plain(
        self,
        bases: Mapping[str, Basis],
        matrices: Mapping[str, Matrix],
        start: Mapping[str, np.ndarray] | None = None,
    ) -> Maker:
        """The maker of M inside ``bases``, from ``start`` or zero, and of the plain LoRA on those ``matrices`` that get one."""
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        form = adapters.SubspaceForm(bases, start)
        if self.plain is None:
            return form
        chosen = adapters.select(matrices, self.plain.matrices)
        check_room(chosen, rank=self.plain.rank)
        return adapters.Combined((form, adapters.LoRA(chosen, self.plain.rank, self.plain.scale * self.plain.rank)))
