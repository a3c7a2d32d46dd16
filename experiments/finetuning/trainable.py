"""What a method of fine-tuning hands to the trainer that all methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.finetuning.files import ADAPTER
from experiments.finetuning.training_settings import TrainingSettings
from experiments.models import Base
from experiments.training.loss_function import Frozen, LossFunction, Params
from experiments.training.optimizer import make_optimizer
from experiments.training.step import AdaptedBase, adapter_loss
from vggt_jax import VGGTConfig
from vggt_jax.adaptable import Matrix, adaptable
from vggt_jax.adapters import Adapter, Maker, initialize, save_adapter, trained_numbers
from vggt_jax.parameters import ParameterCount, abstract_model, by_part


@dataclass(frozen=True, eq=False)
class Trainable:
    """A method on a base model, before the first step."""

    params: Params
    """What is trained, with a leading axis of length 1: the trainer's axis of adapters."""
    frozen: Frozen
    """What the loss needs and training leaves alone."""
    loss: LossFunction
    """What training minimises."""
    measured: LossFunction
    """What is compared between methods: VGGT's objective alone."""
    optimizer: optax.GradientTransformation
    """What follows the gradients of ``loss``."""
    count: ParameterCount
    """Numbers that are trained, by part of the model."""
    write: Callable[[Path, Params, Mapping[str, Any]], Path]
    """(folder, trained numbers without the leading axis, what is to be known about them) → the file or folder made."""
    statistics: Mapping[str, float] = field(default_factory=dict)
    """What the method has to say of itself before training, for the summary."""
    statistics_after: Callable[[Params], dict[str, float]] = lambda params: {}
    """What the method has to say of the trained numbers, without their leading axis."""


def train_adapter(
    base: Base, maker: Maker, settings: TrainingSettings, statistics: Mapping[str, float] | None = None
) -> Trainable:
    """What ``maker`` trains beside ``base``, with the objective, optimiser and seed of ``settings``."""
    loss = adapter_loss(base.graphdef, settings.objective)
    return Trainable(
        params=initialize(maker, jax.random.key(settings.seed), 1, "independent"),
        frozen=AdaptedBase(base.parameters, maker),
        loss=loss,
        measured=loss,
        optimizer=make_optimizer(settings.optimizer),
        count=by_part(trained_numbers(maker)),
        write=_writer(base, maker),
        statistics=statistics or {},
    )


def count_of(config: VGGTConfig, make: Callable[[nnx.State, Mapping[str, Matrix]], Maker]) -> ParameterCount:
    """Numbers that a maker trains in a model of this size; neither weights nor the maker's constants are computed.

    Args:
        config: of the model.
        make: (parameters, all matrices that may be adapted) → the maker.
    """
    parameters, matrices = _shapes(config)
    return by_part(trained_numbers(jax.eval_shape(lambda parameters: make(parameters, matrices), parameters)))


@cache
def _shapes(config: VGGTConfig) -> tuple[nnx.State, Mapping[str, Matrix]]:
    """Abstract parameters and all matrices that may be adapted."""
    model = abstract_model(config)
    return nnx.split(model)[1], MappingProxyType(adaptable(model))


def without_axis(params: Params) -> Params:
    """The numbers of the only adapter of a state, as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], params)


def _writer(base: Base, maker: Maker) -> Callable[[Path, Params, Mapping[str, Any]], Path]:
    scale = getattr(maker, "scale", 1.0)

    def write(folder: Path, params: Params, about: Mapping[str, Any]) -> Path:
        deltas = maker.deltas(jax.tree.map(jnp.asarray, params))
        save_adapter(folder / ADAPTER, Adapter(deltas, base.identity, scale, about))
        return folder / ADAPTER

    return write
