"""One trainer, one schedule and one data order for all methods; what it leaves is found again by the same settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.finetuning.data import TuningData
from experiments.finetuning.files import DONE, METRICS, MODEL
from experiments.finetuning.settings import Settings, depends_on
from experiments.finetuning.trainable import Trainable, without_axis
from experiments.models import Base
from experiments.process.hosts import is_first, on_host, only_first
from experiments.process.mesh_sizes import MeshSizes
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import check_as_written, hashes_of, read_json, sync, write_json
from experiments.storage.identity import stage_folder
from experiments.storage.locks import after_first_alone
from experiments.storage.shared import settle
from experiments.training.division import Division
from experiments.training.feature_cache import token_cache
from experiments.training.held_out import HeldOutLoss, check_base, check_trained, evenly_spaced
from experiments.training.held_out_errors import with_errors
from experiments.training.loop import LoopSettings, train
from experiments.training.metrics_log import plain
from experiments.training.sampling import BatchSampler, Encode, view_counts
from experiments.training.sharding import Placement, choose_mesh
from experiments.training.step import TrainingStep, start
from subspace.errors import InputError
from vggt_jax.parameters import ParameterCount

_CHECKPOINTS = 10
"""In the course of a run."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A finished fine-tuning."""

    folder: Path
    """The stage's folder in the store, with ``metrics.jsonl``, checkpoints and the result."""
    result: Path
    """The adapter's file, or the new model's folder."""
    weights: str
    """The model to load: the base model, or the new one's folder where the model itself was trained."""
    adapter: Path | None
    """The adapter to load beside it; None where the model itself was trained."""
    parameters: ParameterCount
    """Numbers that were trained, by part of the model."""
    before: dict[str, np.ndarray]
    """Loss, its terms and errors (:mod:`experiments.training.held_out_errors`) before training on the validation scenes,
    (scenes,): of the base model, but for a method that does not begin with it (``mean``); empty without any."""
    after: dict[str, np.ndarray]
    """The same after fine-tuning; empty without any."""
    seconds: float
    """Duration of training, with compilation and validation; of a run that was interrupted, since it went on."""
    statistics: dict[str, float]
    """What the method has to say of itself, such as the ranks that AdaLoRA left."""
    output: Path | None = None
    """Folder of results, with copies of ``result`` and ``metrics.jsonl``, and a summary; None where none was made."""


def tune(settings: Settings, base: Base, data: TuningData, reporter: Reporter = SILENT) -> FineTuned:
    """Fine-tune, or go on where an earlier run of the same settings stopped, or find what it left.

    Scenes, views and their order depend on ``settings.seed`` and the data alone, learning rates on the optimiser's settings.

    Args:
        settings: what is asked for.
        base: the model at ``settings.weights``.
        data: what :func:`experiments.finetuning.data.read_data` finds at ``settings.data``.
        reporter: gets a line when something long begins, and the number of trained parameters before any of it.

    Raises:
        InputError: contradictions in the settings, pictures that the model's patches do not divide, scenes with too few
            views, training that diverged, a damaged folder.
        OSError: something cannot be read or written.
    """
    patch = base.config.patch_size
    if data.resolution % patch:
        raise InputError(f"data: patches of {patch} pixels do not divide pictures of {data.resolution}")
    method = settings.method
    identity = depends_on(settings, base, data)
    folder = stage_folder(settings.store, "finetuned", method.name, identity)
    if (record := _found(folder, reporter)) is None:
        with after_first_alone(folder, reporter):
            record = _found(folder, reporter) or _tuned(settings, base, data, identity, folder, reporter)
    before, after = (
        {name: np.array(values, float) for name, values in record[when].items()} for when in ("before", "after")
    )
    result = folder / method.result
    is_model = method.result == MODEL
    return FineTuned(
        folder=folder,
        result=result,
        weights=str(result) if is_model else settings.weights,
        adapter=None if is_model else result,
        parameters=ParameterCount(record["parameters"]),
        before=before,
        after=after,
        seconds=record["seconds"],
        statistics=record["statistics"],
    )


def _found(folder: Path, reporter: Reporter) -> dict[str, Any] | None:
    """The record of a finished fine-tuning; None where there is none."""
    if not (folder / DONE).exists():
        return None
    record = read_json(folder / DONE)
    files = record.get("files", {})  # version 0.2.0 had none
    check_as_written(folder, files)
    if files and is_first():
        settle(folder, DONE, [*files, DONE])
    reporter.info(f"found in {folder}")
    return record


def _tuned(
    settings: Settings, base: Base, data: TuningData, identity: dict[str, Any], folder: Path, reporter: Reporter
) -> dict[str, Any]:
    method = settings.method
    trainable = method.trainable(base, settings)
    reporter.info(describe(method.label, trainable.count))
    record = _train(settings, base, data, trainable, identity, folder, reporter)
    only_first("fine-tuning", lambda: _write_record(folder, record, method.result))
    return record


def describe(label: str, count: ParameterCount) -> str:
    """The exact number of trained parameters, in all and by part of the model."""
    parts = ", ".join(f"{part.removeprefix('aggregator.')} {number:,}" for part, number in count.parts.items())
    return f"{label} trains {count.total:,} parameters ({parts})"


def _write_record(folder: Path, record: dict[str, Any], result: str) -> None:
    written = (result, METRICS)
    sync(folder, written)
    hashes = hashes_of(folder, written)
    write_json(folder / DONE, {**record, "files": hashes}, durable=True)
    settle(folder, DONE, [*hashes, DONE])


def _train(
    settings: Settings,
    base: Base,
    data: TuningData,
    trainable: Trainable,
    identity: dict[str, Any],
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """What :data:`DONE` is to hold; metrics, checkpoints and the result are in ``folder`` then."""
    counts = view_counts(settings.images, fewest=settings.fewest_views, most=settings.most_views)
    mesh = choose_mesh(settings.plan.mesh, sequences={settings.images // count for count in counts})
    placement = Placement(mesh)
    if mesh.size > 1:
        reporter.info(f"training on {mesh.size} devices ({MeshSizes(**mesh.shape)})")
    encode = None
    if settings.cache_tokens:
        encode = token_cache(settings.store, base.graphdef, base.config, base.parameters)
    sampler = BatchSampler({0: data.training}, settings.images, counts, settings.seed, encode=encode)
    frozen = placement.frozen(trainable.frozen)
    measured = HeldOutLoss(with_errors(trainable.measured), frozen, placement)
    held_out = _HeldOut(measured, data, settings.held_out_views, encode)
    first = start(trainable.params, trainable.optimizer)
    before = held_out(first)
    if before:
        check_base(_of_one(before), [data.validation_names])
    begun = time.perf_counter()
    steps = settings.optimizer.steps
    every = max(1, steps // _CHECKPOINTS)
    last = train(
        TrainingStep(trainable.loss, trainable.optimizer, Division(settings.plan.accumulate)),
        first,
        frozen,
        sampler,
        placement,
        LoopSettings(steps, checkpoint_every=every, validate_every=every, log=settings.log),
        folder,
        identity,
        validate=lambda state: {name: _mean(values) for name, values in held_out(state).items()},
        reporter=reporter,
    )
    seconds = time.perf_counter() - begun
    after = held_out(last)
    if after:
        check_trained(_of_one(before), _of_one(after), [data.validation_names])
    params = without_axis(on_host(last.params))
    only_first("adapter", lambda: trainable.write(folder, params, identity))
    return {
        "parameters": trainable.count.parts,
        "before": {name: plain(values) for name, values in before.items()},
        "after": {name: plain(values) for name, values in after.items()},
        "seconds": round(seconds, 1),
        "statistics": {**trainable.statistics, **trainable.statistics_after(params)},
    }


def _mean(values: np.ndarray) -> float:
    """Over the scenes in which something was measured."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


class _HeldOut:
    """State of training → loss, terms and errors on each validation scene, (scenes,); nothing without any.

    An error is NaN where a scene has nothing to measure it by.
    """

    def __init__(self, loss: HeldOutLoss, data: TuningData, views: int, encode: Encode | None):
        self._batches = [evenly_spaced([scene], min(views, scene.num_views), encode) for scene in data.validation]
        self._loss = loss

    def __call__(self, state: Any) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self._loss(state, self._batches).items()} if self._batches else {}


def _of_one(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As of one of several adapters."""
    return {name: values[None] for name, values in found.items()}
