"""One trainer, one schedule and one data order for all methods; what it leaves is found again by the same choice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.finetuning.choice import Choice
from experiments.finetuning.data import TuningData
from experiments.finetuning.full import MODEL
from experiments.finetuning.methods import ADAPTER, make_trainable, subspace_hashes
from experiments.finetuning.trainable import Trainable, without_axis
from experiments.models import Base
from experiments.process.reporting import Reporter
from experiments.storage.files import read_json, write_json
from experiments.storage.identity import stage_folder
from experiments.training.feature_cache import token_cache
from experiments.training.held_out import HeldOutLoss, evenly_spaced
from experiments.training.loop import LoopSettings, train
from experiments.training.sampling import BatchSampler, Encode, view_counts
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import start, training_step
from subspace.errors import InputError
from vggt_jax.parameters import ParameterCount

DONE = "held_out.json"
"""Written last: losses on validation scenes before and after training, counts, facts."""
SECONDS = "seconds of training"
"""A fact: with compilation and validation; of a run that was interrupted, since it went on."""
_CHECKPOINTS = 10
"""In the course of a run."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """A finished run."""

    folder: Path
    """With ``metrics.jsonl`` and the result."""
    result: Path
    """An adapter's file, or for full fine-tuning a model's folder."""
    count: ParameterCount
    before: dict[str, np.ndarray]
    """Loss and its terms of the base model on the validation scenes, (scenes,); empty without any."""
    after: dict[str, np.ndarray]
    """The same after fine-tuning."""
    facts: dict[str, str]


def tune(choice: Choice, base: Base, data: TuningData, announce: Callable[[str], object]) -> Tuned:
    """Fine-tune, or go on where an earlier run of the same choice stopped, or find what it left.

    Scenes, views and their order depend on ``choice.seed`` and the data alone, learning rates on steps and peak rate.

    Args:
        choice: what is asked for.
        base: the model that is fine-tuned.
        data: scenes for training and for validation.
        announce: gets a line when something long begins, and the number of trained parameters before any of it.

    Raises:
        ValueError: contradictions in the choice, pictures that the model's patches do not divide, scenes with too few
            views, training that diverged, a damaged folder.
        OSError: something cannot be read or written.
    """
    patch = base.config.patch_size
    if data.resolution % patch:
        raise InputError(f"--data: patches of {patch} pixels do not divide pictures of {data.resolution}")
    identity = {
        "base": {"name": base.identity.name, "fingerprint": base.identity.fingerprint},
        "data": list(data.sha256.values()),
        **choice.settings,
        **({"subspaces": subspace_hashes(choice, base)} if choice.subspaces else {}),
    }
    folder = stage_folder(choice.store, "finetuned", choice.method, identity)
    if (folder / DONE).exists():
        record = read_json(folder / DONE)
        announce(describe(choice.method, ParameterCount(record["parameters"])))
        announce(f"found in {folder}")
    else:
        trainable = make_trainable(choice, base)
        announce(describe(choice.method, trainable.count))
        record = _train(choice, base, data, trainable, identity, folder)
        write_json(folder / DONE, record)
    before, after = ({name: np.array(values) for name, values in record[when].items()} for when in ("before", "after"))
    result = folder / (MODEL if choice.method == "full" else ADAPTER)
    return Tuned(folder, result, ParameterCount(record["parameters"]), before, after, record["facts"])


def describe(method: str, count: ParameterCount) -> str:
    """The exact number of trained parameters, in all and by part of the model."""
    parts = ", ".join(f"{part.removeprefix('aggregator.')} {number:,}" for part, number in count.parts.items())
    return f"{method} trains {count.total:,} parameters ({parts})"


def _train(
    choice: Choice, base: Base, data: TuningData, trainable: Trainable, identity: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """What :data:`DONE` is to hold; metrics, checkpoints and the result are in ``folder`` then."""
    preset = choice.preset
    placement = Placement(make_mesh())
    counts = view_counts(
        preset.images, fewest=preset.fewest_views, most=preset.most_views, multiple=placement.mesh.shape["data"]
    )
    encode = None
    if preset.cache_tokens:
        encode = token_cache(choice.store, base.graphdef, base.config, base.parameters)
    sampler = BatchSampler({0: data.training}, preset.images, counts, choice.seed, encode=encode)
    held_out = _HeldOut(trainable, data, preset.held_out_views, encode)
    first = start(trainable.params, trainable.optimizer)
    before = held_out(first)
    begun = time.perf_counter()
    every = max(1, preset.steps // _CHECKPOINTS)
    last = train(
        training_step(trainable.loss, trainable.optimizer),
        first,
        trainable.frozen,
        sampler,
        placement,
        LoopSettings(preset.steps, checkpoint_every=every, validate_every=every),
        folder,
        identity,
        validate=lambda state: {name: values.mean() for name, values in held_out(state).items()},
        reporter=Reporter(bars=True),
    )
    seconds = time.perf_counter() - begun
    after = held_out(last)
    params = without_axis(last.params)
    trainable.write(folder, params, identity)
    losses = {
        when: {name: values.tolist() for name, values in found.items()}
        for when, found in (("before", before), ("after", after))
    }
    facts = {**trainable.facts, **trainable.facts_after(params), SECONDS: f"{seconds:.1f}"}
    return {"parameters": trainable.count.parts, **losses, "facts": facts}


class _HeldOut:
    """State of training → loss and terms on each validation scene, (scenes,); nothing without any."""

    def __init__(self, trainable: Trainable, data: TuningData, views: int, encode: Encode | None):
        batches = [evenly_spaced([scene], min(views, scene.num_views), encode) for scene in data.validation]
        self._loss = HeldOutLoss(trainable.measured, trainable.frozen, batches) if batches else None

    def __call__(self, state: Any) -> dict[str, np.ndarray]:
        return {} if self._loss is None else {name: values[0] for name, values in self._loss(state).items()}
