"""Full fine-tuning: the parameters themselves are trained, with the rest of the model frozen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from experiments.finetuning.trainable import Trainable
from experiments.models import Base
from experiments.storage.files import new_folder
from experiments.training.batch import TrainingBatch
from experiments.training.losses import Objective
from experiments.training.normalization import normalize
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.step import LossFunction
from subspace.errors import InputError
from vggt_jax import VGGTConfig
from vggt_jax.adaptable import ADAPTABLE_PARTS
from vggt_jax.deltas import dotted
from vggt_jax.parameters import by_part
from weights_convert.convert import WEIGHTS
from weights_convert.sources import CONFIG

MODEL = "model"
"""The folder that :func:`weights_convert.load_vggt` reads."""


def train_parameters(base: Base, patterns: Sequence[str], optimizer: OptimizerSettings) -> Trainable:
    """All parameters of aggregator blocks, camera and depth head whose path matches one of the ``patterns``.

    What is written is a model, with the base's sizes and the heads that were trained. Raises ValueError for a pattern
    that matches nothing.
    """
    trained, frozen = split(base.parameters, patterns)
    loss = full_loss(base.graphdef, Objective())
    return Trainable(
        params=jax.tree.map(lambda leaf: leaf[None], trained),
        frozen=frozen,
        loss=loss,
        measured=loss,
        optimizer=make_optimizer(optimizer),
        count=by_part({dotted(keys): prod(leaf.shape) for keys, leaf in nnx.to_flat_state(trained)}),
        write=_writer(base.config, frozen),
    )


def split(base: nnx.State, patterns: Sequence[str]) -> tuple[nnx.State, nnx.State]:
    """(trained, frozen) parameters: trained are those that may be and of which a pattern matches the path or the layer's.

    Raises ValueError for a pattern that matches none.
    """
    flat = list(nnx.to_flat_state(base))
    names = [dotted(keys) for keys, _ in flat]
    adaptable = [name for name in names if name.startswith(tuple(part + "." for part in ADAPTABLE_PARTS))]
    matched = {pattern: {name for name in adaptable if _matches(name, pattern)} for pattern in patterns}
    if empty := [pattern for pattern, found in matched.items() if not found]:
        raise InputError(f"no parameter to fine-tune matches {', '.join(empty)}; names are like {adaptable[0]}")
    chosen = set().union(*matched.values())
    trained, frozen = (
        nnx.from_flat_state([leaf for name, leaf in zip(names, flat, strict=True) if (name in chosen) is wanted])
        for wanted in (True, False)
    )
    return trained, frozen


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def joined(trained: nnx.State, frozen: nnx.State) -> nnx.State:
    """The inverse of :func:`split`."""
    return nnx.from_flat_state([*nnx.to_flat_state(trained), *nnx.to_flat_state(frozen)])


def full_loss(graphdef: nnx.GraphDef, objective: Objective) -> LossFunction:
    """The objective of the model that trained and frozen parameters make together."""

    def loss(params: nnx.State, frozen: nnx.State, batch: TrainingBatch) -> Any:
        batch = normalize(batch)
        model = nnx.merge(graphdef, joined(params, frozen))
        return objective(model(batch.images, patch_tokens=batch.patch_tokens), batch)

    return loss


def _writer(config: VGGTConfig, frozen: nnx.State) -> Callable[[Path, nnx.State, Mapping[str, Any]], Path]:
    def write(folder: Path, params: nnx.State, about: Mapping[str, Any]) -> Path:
        parts = (nnx.to_flat_state(part) for part in (params, frozen))
        weights = {dotted(keys): np.asarray(leaf[...]) for part in parts for keys, leaf in part}
        plain = replace(config, dtype="float32", remat=False).to_dict()
        with new_folder(folder / MODEL) as made:
            save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, made / WEIGHTS)
            (made / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
            (made / "about.json").write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")
        return folder / MODEL

    return write
