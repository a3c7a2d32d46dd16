"""AdaLoRA (Zhang et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Self

from experiments.finetuning.method import AdapterMethod, Option, check_positive
from subspace.errors import InputError

if TYPE_CHECKING:
    import optax
    from flax import nnx

    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.models import Base
    from experiments.presets import Preset
    from experiments.training.batch import TrainingBatch
    from experiments.training.loss_function import LossFunction, Params
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker, RankAllocation

_ORTHOGONALITY = 0.5
"""Weight of the penalty, that of PEFT and of the authors' code."""


@dataclass(frozen=True, kw_only=True)
class AdaLoRA(AdapterMethod):
    """dW = scale · P Λ Qᵀ on linear layers, with fewer and fewer triplets (:class:`vggt_jax.adapters.RankAllocation`)."""

    name = "adalora"
    reads_weights = False
    label = "AdaLoRA"
    summary = "singular triplets, fewer and fewer"
    size = symbol = "rank"
    options = AdapterMethod.options | {
        "rank": Option("r of the update to begin with (nano 8, vggt_1b 16)"),
        "target_rank": Option("mean rank at the end; by default two thirds of the rank"),
    }

    rank: int
    """Triplets of every matrix that training starts with."""
    target_rank: int
    """Triplets of a matrix that are left at the end, on average over matrices."""
    scale: float = 1.0
    """The factor alpha / rank before P Λ Qᵀ, which stays when triplets go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rank=self.rank, target_rank=self.target_rank, scale=self.scale)
        if self.target_rank > self.rank:
            raise InputError(f"target_rank={self.target_rank} is larger than the rank {self.rank} to begin with")

    @classmethod
    def of(cls, preset: Preset, **given: Any) -> Self:
        rank = given.get("rank", preset.training.rank)
        return super().of(preset, **{"target_rank": max(1, round(2 / 3 * rank)), **given})

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return {"rank": preset.training.rank, "scale": preset.training.alpha / preset.training.rank}

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, rank=self.rank)
        return adapters.AdaLoRA(chosen, self.rank, self.scale * self.rank)

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        from vggt_jax.adapters import RankAllocation

        found = super().trainable(base, settings)
        allocation = RankAllocation.over(settings.optimizer.steps, self.rank, self.target_rank)
        return replace(
            found,
            loss=with_penalty(found.loss),
            optimizer=allocating(found.optimizer, allocation, settings.optimizer.clip),
            statistics_after=_triplets_left,
        )


def with_penalty(loss: LossFunction) -> LossFunction:
    """AdaLoRA's loss: ``loss`` and half of the vectors' distance from orthonormal ones, logged as loss_orthogonality."""
    from vggt_jax.adapters import orthogonality

    def judge(predicted: Any, batch: TrainingBatch, params: Params) -> Any:
        value, terms = loss.judge(predicted, batch, params)
        distance = orthogonality(params)
        return value + _ORTHOGONALITY * distance, {**terms, "loss_orthogonality": distance}

    return replace(loss, judge=judge)


def allocating(
    optimizer: optax.GradientTransformation, allocation: RankAllocation, clip: float
) -> optax.GradientTransformation:
    """``optimizer``, after whose step AdaLoRA's triplets are weighed and pruned; its state includes the allocation's.

    Importance is that of gradients cut to the norm ``clip``, as where PEFT is trained with clipping.
    """
    import jax.numpy as jnp
    import optax

    def init(params: Params) -> Any:
        return optimizer.init(params), allocation.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moments, allocated = state
        changes: Any
        changes, moments = optimizer.update(updates, moments, params)
        after: Any = optax.apply_updates(params, changes)
        pruned, allocated = allocation.update(after, updates, allocated)
        pruning = {
            path: replace(own, Lambda=jnp.where(pruned[path].Lambda == 0, -params[path].Lambda, own.Lambda))
            for path, own in changes.items()
        }
        return pruning, (moments, allocated)

    return optax.chain(optax.clip_by_global_norm(clip), optax.GradientTransformation(init, update))


def _triplets_left(params: Params) -> dict[str, float]:
    left = sum(int((own.Lambda != 0).sum()) for own in params.values())
    matrices = sum(prod(own.Lambda.shape[:-1]) for own in params.values())
    return {"triplets_left": left, "mean_rank_left": left / matrices}
