"""From data sets to a folder with a trained model and its card."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.data.dataset import Dataset
from experiments.pretraining import recipe
from experiments.pretraining.card import OUTPUTS, write_model
from experiments.pretraining.initial import read_start
from experiments.pretraining.run import Evaluations, Pretraining
from experiments.pretraining.scenes import open_source, read_source, setting_of, source_name
from experiments.pretraining.settings import Settings
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import check_ours
from experiments.storage.identity import identity, stage_folder
from experiments.storage.locks import alone
from experiments.storage.results import Ready, ResultsFolder, check_output
from subspace.errors import InputError


@dataclass(frozen=True)
class PretrainedModel:
    """What :func:`pretrain` made and where it lies."""

    folder: Path
    """Holds weights, configuration, matcher, model card and the evaluation that the card's tables are made of; a folder
    that :func:`weights_convert.load_vggt` takes."""
    run: Path
    """Holds metrics and checkpoints of each stage."""
    evaluations: Evaluations
    """Metrics of the model and of the baselines on held-out pairs of views, by data set."""
    size: int
    """Size of the weights in bytes."""
    seconds: float
    """Time that the whole run took, or what was left of it."""


def pretrain(settings: Settings, reporter: Reporter = SILENT) -> PretrainedModel:
    """Train a small VGGT from scratch, or go on where an earlier call stopped, evaluate it and write it with its card.

    A folder of the same results stays as it is.

    Raises:
        InputError: unusable data or settings, a run that diverges, or a folder of other results where these should go.
        OSError: files that cannot be read or written.
    """
    return ready(settings, reporter).run()


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[PretrainedModel]:
    """What :func:`pretrain` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    check_output(settings, {"without": settings.without}, OUTPUTS)
    plan = replace(recipe.RECIPES[settings.recipe]().scaled(settings.length), seed=settings.seed)
    if settings.start is not None:
        plan = replace(plan, start=settings.start)
    if settings.without is not None:
        plan = plan.without(settings.without)
    size = plan.config.image_size
    datasets, others = (
        [open_source(path, size) for path in paths] for paths in (settings.data, settings.also_evaluate)
    )
    check_names(list(map(source_name, datasets)), list(map(source_name, others)))
    plan.check_settings([setting_of(dataset) for dataset in datasets])

    begun = None if plan.start is None else read_start(plan.start, plan.config)
    training: dict[str, Any] = {"recipe": identity(plan), "data": _hashes(datasets)}
    if begun is not None:
        training["start"] = begun.digest
    depends_on = {**training, "without": settings.without, "also_evaluate": _hashes(others)}
    results = ResultsFolder.of(settings, "pretrain", settings.label, depends_on, OUTPUTS)
    run = settings.run or stage_folder(settings.store, "pretraining", settings.label, training)
    results.check()
    check_ours(run, ("stage_*",), "run")

    def work() -> PretrainedModel:
        with alone(run, reporter, inside=True):
            return train_and_write()

    def train_and_write() -> PretrainedModel:
        sources, other_sources = (
            [read_source(path, size, reporter) for path in paths] for paths in (settings.data, settings.also_evaluate)
        )
        pretraining = Pretraining(plan, sources, run, settings.log, reporter, begun)
        parameters, evaluations = pretraining()
        evaluations |= pretraining.evaluate_on(parameters, other_sources)
        with results.new() as new:
            written = write_model(
                new,
                pretraining.model(parameters),
                pretraining.matcher(parameters),
                plan,
                pretraining.described_data(),
                evaluations,
                settings.without,
            )
        return PretrainedModel(results.path, run, evaluations, written, time.perf_counter() - start)

    return Ready(results, work, reporter)


def check_names(data: Sequence[str], also_evaluate: Sequence[str]) -> None:
    """Raises InputError for data sets that are given twice, or both to train on and to evaluate on."""
    if twice := [name for name, count in Counter(data).items() if count > 1]:
        raise InputError(
            f"data: {', '.join(twice)} is given twice, or two data sets are called the same", argument="data"
        )
    if known := sorted({*data} & {*also_evaluate}):
        raise InputError(
            f"also_evaluate: {', '.join(known)} is among the data to train on, or is called the same",
            argument="also_evaluate",
        )
    if twice := [name for name, count in Counter(also_evaluate).items() if count > 1]:
        raise InputError(f"also_evaluate: {', '.join(twice)} is given twice", argument="also_evaluate")


def _hashes(datasets: Sequence[Dataset]) -> dict[str, str]:
    return {source_name(dataset): dataset.manifest.sha256 for dataset in datasets}
