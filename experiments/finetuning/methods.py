"""Every method of the paper's tables as a :class:`Trainable`: nothing but this differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.finetuning.basis import read_subspaces, sha256_of, unite_directions
from experiments.finetuning.choice import Choice
from experiments.finetuning.full import train_parameters
from experiments.finetuning.trainable import Trainable
from experiments.models import Base
from experiments.training.batch import TrainingBatch
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.step import AdaptedBase, LossFunction, Params, adapter_loss
from vggt_jax.adaptable import Matrix
from vggt_jax.adapters import (
    AdaLoRA,
    Adapter,
    Combined,
    LoRA,
    Maker,
    PiSSA,
    RankAllocation,
    SubspaceForm,
    initialize,
    orthogonality,
    principal_bases,
    save_adapter,
    select,
    trained_numbers,
)
from vggt_jax.parameters import adaptable_matrices, by_part

ADAPTER = "adapter.safetensors"
_ORTHOGONALITY = 0.5
"""Weight of AdaLoRA's penalty, that of PEFT and of the authors' code."""


def make_trainable(choice: Choice, base: Base) -> Trainable:
    """What ``choice`` trains on ``base``.

    Raises:
        ValueError: patterns that match nothing, a rank that a matrix has no room for, subspaces of another model, and
            whatever the method's own settings contradict.
        OSError: a subspace that cannot be read.
    """
    optimizer = OptimizerSettings(choice.preset.steps, choice.preset.peak_rate)
    if choice.method == "full":
        return train_parameters(base, choice.matrices, optimizer)
    matrices = adaptable_matrices(base.config)
    maker, facts = make_maker(choice, base, select(matrices, choice.matrices))
    if choice.plain:
        heads = LoRA(select(matrices, choice.plain), choice.preset.rank, choice.preset.alpha)
        maker = Combined((maker, heads))
    loss = adapter_loss(base.graphdef, Objective())
    trainable = Trainable(
        params=initialize(maker, jax.random.key(choice.seed), 1, "independent"),
        frozen=AdaptedBase(base.parameters, maker),
        loss=loss,
        measured=loss,
        optimizer=make_optimizer(optimizer),
        count=by_part(trained_numbers(maker)),
        write=_writer(base, maker),
        facts=facts,
    )
    if choice.method != "adalora":
        return trainable
    assert choice.target_rank is not None
    allocation = RankAllocation.over(choice.preset.steps, choice.preset.rank, choice.target_rank)
    return replace(
        trainable,
        loss=with_penalty(loss),
        optimizer=allocating(trainable.optimizer, allocation, optimizer.clip),
        facts_after=_triplets_left,
    )


def make_maker(choice: Choice, base: Base, matrices: Mapping[str, Matrix]) -> tuple[Maker, dict[str, str]]:
    """The maker of a method that trains an adapter on ``matrices``, and facts about it; raises as :func:`make_trainable`."""
    rank, alpha = choice.preset.rank, choice.preset.alpha
    if choice.method == "lora":
        return LoRA(matrices, rank, alpha), {}
    if choice.method == "pissa":
        return PiSSA.of(base.parameters, matrices, rank), {}
    if choice.method == "adalora":
        return AdaLoRA(matrices, rank, alpha), {}
    if choice.method == "psv":
        assert choice.dim is not None
        return SubspaceForm(principal_bases(base.parameters, matrices, choice.dim)), {}
    mined = read_subspaces(choice.subspaces, base.identity, matrices)
    union = unite_directions(mined, matrices, choice.dim, choice.allocation)
    facts = {f"mean directions of {name}": f"{spent:.2f}" for name, spent in union.spent.items()}
    return SubspaceForm(union.square()), facts


def subspace_hashes(choice: Choice, base: Base) -> dict[str, str]:
    """Attribute → hash of its file, of the subspaces that ``choice`` names; raises as :func:`make_trainable`."""
    matrices = adaptable_matrices(base.config)
    chosen = select(matrices, choice.matrices) if choice.subspaces else {}
    return sha256_of(read_subspaces(choice.subspaces, base.identity, chosen))


def with_penalty(loss: LossFunction) -> LossFunction:
    """AdaLoRA's loss: ``loss`` and half of the vectors' distance from orthonormal ones, logged as loss_orthogonality."""

    def penalized(params: Params, frozen: Any, batch: TrainingBatch) -> Any:
        value, terms = loss(params, frozen, batch)
        distance = orthogonality(params)
        return value + _ORTHOGONALITY * distance, {**terms, "loss_orthogonality": distance}

    return penalized


def allocating(
    optimizer: optax.GradientTransformation, allocation: RankAllocation, clip: float
) -> optax.GradientTransformation:
    """``optimizer``, after whose step AdaLoRA's triplets are weighed and pruned; its state includes the allocation's.

    Importance is that of gradients cut to the norm ``clip``, as where PEFT is trained with clipping.
    """

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


def _triplets_left(params: Params) -> dict[str, str]:
    left = [int(np.sum(np.asarray(own.Lambda) != 0)) for own in params.values()]
    matrices = sum(prod(own.Lambda.shape[:-1]) for own in params.values())
    return {"triplets left": str(sum(left)), "mean rank left": f"{sum(left) / matrices:.2f}"}


def _writer(base: Base, maker: Maker) -> Callable[[Path, Params, Mapping[str, Any]], Path]:
    scale = maker.scale if isinstance(maker, LoRA | AdaLoRA) else 1.0

    def write(folder: Path, params: Params, about: Mapping[str, Any]) -> Path:
        deltas = maker.deltas(jax.tree.map(jnp.asarray, params))
        save_adapter(folder / ADAPTER, Adapter(deltas, base.identity, scale, about))
        return folder / ADAPTER

    return write
