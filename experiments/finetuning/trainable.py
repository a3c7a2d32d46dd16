"""What one method of fine-tuning hands to the trainer that all methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.training.step import Frozen, LossFunction, Params
from vggt_jax.parameters import ParameterCount


@dataclass(frozen=True, eq=False)
class Trainable:
    """A method on a base model, before the first step."""

    params: Params
    """What is trained, with a leading axis of length 1: the trainer's axis of adapters."""
    frozen: Frozen
    loss: LossFunction
    """What training minimises."""
    measured: LossFunction
    """What is compared between methods: VGGT's objective alone."""
    optimizer: optax.GradientTransformation
    count: ParameterCount
    write: Callable[[Path, Params, Mapping[str, Any]], Path]
    """(folder, trained numbers without the leading axis, what is to be known about them) → the file or folder made."""
    facts: dict[str, str] = field(default_factory=dict)
    """For the summary."""
    facts_after: Callable[[Params], dict[str, str]] = lambda params: {}
    """The same, of what was trained."""


def without_axis(params: Params) -> Params:
    """The numbers of the only adapter of a state, as NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], params)
