"""One job of a plan: a fine-tuning and its evaluation, or a learning rate to compare."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from experiments.data.dataset import Dataset
from experiments.data.manifest import Split, Task
from experiments.evaluation.predictions import Model, from_model, with_constant_depth
from experiments.evaluation.results import METRICS
from experiments.evaluation.run import Mask, evaluate_dataset
from experiments.evaluation.views import choose_views
from experiments.finetuning.data import TuningData, read_data
from experiments.finetuning.methods import METHODS
from experiments.finetuning.run import FineTuned, tune
from experiments.finetuning.settings import Settings as Finetuning
from experiments.models import Base
from experiments.presets import PRESETS
from experiments.process.reporting import SILENT, Reporter
from experiments.process.revision import commit
from experiments.reproduction.plan import Run
from experiments.reproduction.records import RunRecord
from experiments.reproduction.scale import sizes
from experiments.reproduction.search import best_rate, from_chosen
from experiments.reproduction.settings import Settings
from experiments.training.loop import Diverged
from subspace.errors import InputError

_DIGITS = 6
"""Significant ones of a scene's figures."""
MASKS: Mapping[Task, Mask] = {"faces": "task", "humans": "valid", "glass": "valid"}
"""Pixels that count (:mod:`experiments.evaluate`): of a print those of the face."""


@dataclass(frozen=True)
class Job:
    """What is to be done, and the folders that it is done with."""

    run: Run
    """What is run."""
    rate: float | None
    """Peak learning rate; None where nothing is trained."""
    training: Path | None
    """Data set to train on; None where nothing is trained."""
    tests: Mapping[Split, Path]
    """Data sets to evaluate on."""
    subspaces: tuple[Path, ...]
    """Folders of ``experiments.extract``, one for each attribute."""
    rate_from: str | msgspec.UnsetType = msgspec.UNSET
    """Name of the run that the rate was found the best on."""
    validation: Path | None = None
    """Data set to validate on; None for the last scenes of ``training``."""


@dataclass
class Execution:
    """Does jobs, one after the other."""

    settings: Settings
    """Preset, base model and store."""
    base: Base
    """The model that everything starts from."""
    reporter: Reporter = SILENT
    """Gets a line when something begins."""
    _data: dict[Path, TuningData] = field(default_factory=dict, init=False)

    def validation_loss(self, job: Job) -> float:
        """On the task's validation scenes after fine-tuning, infinite if it diverged; else raises as :meth:`record` does."""
        try:
            return _validation(self._tune(job))["after"]
        except Diverged:
            return math.inf

    def record(self, job: Job) -> RunRecord:
        """Fine-tune, evaluate on all test sets; what was interrupted goes on.

        A run that diverges with its rate, or ends above the base model's loss on validation scenes, gets the next lower one of
        the scale's; if all do, the one that ended lowest counts.

        Raises:
            InputError, OSError: as :func:`experiments.finetuning.run.tune` and
                :func:`experiments.evaluation.run.evaluate_dataset` do.
        """
        run = job.run
        rate, given_up, tuned = None, (), None
        if run.method is not None:
            rate, given_up, tuned = self._tuned(job)
        self.reporter.info(f"{run.name}: evaluating")
        start = time.perf_counter()
        try:
            tests = self._evaluate(job, tuned)
        except InputError as error:
            raise InputError(f"{run.name}: {error}") from error
        return RunRecord(
            run=run,
            sizes=sizes(self.settings.scale, run.method, run.size),
            base=self.base.label,
            commit=commit(),
            parameters=0 if tuned is None else tuned.parameters.total,
            rate=rate,
            given_up=given_up,
            rate_from=job.rate_from,
            validated_on=msgspec.UNSET if job.validation is None else "test",
            steps=0 if tuned is None else self._finetuning(job).optimizer.steps,
            training_seconds=0.0 if tuned is None else tuned.seconds,
            evaluation_seconds=round(time.perf_counter() - start, 1),
            data=self._hashes(job),
            details={} if tuned is None else {name: f"{value:.6g}" for name, value in tuned.statistics.items()},
            validation={} if tuned is None else _validation(tuned),
            tests=tests,
            weights=self.base.weights,
        )

    def _tuned(self, job: Job) -> tuple[float, tuple[float, ...], FineTuned]:
        """Rate, those that were given up, and what the rate came to; raises Diverged if training does so with every rate."""
        assert job.rate is not None
        tried: dict[float, FineTuned] = {}
        losses: dict[float, float] = {}
        rates = from_chosen(self.settings.scale.rates, job.rate)
        for rate in rates:
            try:
                tried[rate] = self._tune(replace(job, rate=rate))
            except Diverged as error:
                if rate == rates[-1] and not tried:
                    raise
                losses[rate], outcome = math.inf, str(error)
            else:
                loss = _validation(tried[rate])
                losses[rate] = loss["after"]
                if loss["after"] <= loss["before"]:
                    break
                outcome = (
                    f"{job.run.name}: a rate of {rate:g} made the loss {loss['after']:.3g} from {loss['before']:.3g}"
                )
            if rate != rates[-1]:
                self.reporter.info(f"{outcome}; the next lower rate follows")
        best = best_rate({rate: losses[rate] for rate in tried})
        return best, tuple(rate for rate in losses if rate != best), tried[best]

    def _tune(self, job: Job) -> FineTuned:
        self.reporter.info(f"{job.run.name}: fine-tuning with a peak learning rate of {job.rate:g}")
        try:
            return tune(self._finetuning(job), self.base, self._training_data(job), self.reporter)
        except InputError as error:  # also that training diverged
            raise type(error)(f"{job.run.name}: {error}") from error

    def _finetuning(self, job: Job) -> Finetuning:
        run = job.run
        assert run.method is not None and job.training is not None
        own: dict[str, Any] = {}
        if run.subspaces is not None:
            own = {"subspaces": job.subspaces, "allocation": run.allocation}
        if run.plain:
            own |= {"plain": run.plain}
        own |= sizes(self.settings.scale, run.method, run.size)
        return Finetuning.of(
            self.settings.preset,
            METHODS[run.method].of(PRESETS[self.settings.preset], matrices=run.matrices, **own),
            data=[job.training],
            validation=() if job.validation is None else (job.validation,),
            weights=self.settings.base_weights,
            peak_rate=job.rate,
            held_out=self.settings.scale.held_out,
            seed=run.seed,
            store=self.settings.store,
        )

    def _training_data(self, job: Job) -> TuningData:
        assert job.training is not None
        if job.training not in self._data:
            others = () if job.validation is None else (job.validation,)
            self._data[job.training] = read_data([job.training], self.settings.scale.held_out, others)
        return self._data[job.training]

    def _hashes(self, job: Job) -> dict[str, str]:
        folders: dict[str, Path] = {} if job.training is None else {"train": job.training}
        return {split: Dataset(folder).manifest.sha256 for split, folder in {**folders, **job.tests}.items()}

    def _evaluate(self, job: Job, tuned: FineTuned | None) -> dict[str, dict[str, dict[str, float]]]:
        """Test set → scene → metric → value."""
        task = job.run.task
        model = Model(self.settings.base_weights) if tuned is None else Model(tuned.weights, tuned.adapter)
        predict = from_model(model) if job.run.constant_depth is msgspec.UNSET else with_constant_depth(model)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for split, folder in job.tests.items():
            dataset = Dataset(folder)
            views = choose_views(None, dataset.manifest.settings.views, task)
            results = evaluate_dataset(predict, dataset, views, MASKS[task])
            if results.skipped:
                first, why = next(iter(results.skipped.items()))
                said = f"of {folder}, {len(results.skipped)} scenes cannot be evaluated, such as {first[1]}: {why}"
                if not results.scenes:
                    raise InputError(said)
                self.reporter.warning(f"{job.run.name}: {said}")
            found[split] = {
                scene: {
                    m.name: float(f"{metrics.row()[m.name]:.{_DIGITS}g}")
                    for m in METRICS
                    if math.isfinite(metrics.row()[m.name])
                }
                for (_, scene), metrics in results.scenes.items()
            }
        return found


def _validation(tuned: FineTuned) -> dict[str, float]:
    return {"before": float(np.mean(tuned.before["loss"])), "after": float(np.mean(tuned.after["loss"]))}
