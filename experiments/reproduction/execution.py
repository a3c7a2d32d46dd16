"""Fine-tune and evaluate what a plan needs; what has a record is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from experiments.base_model import Base
from experiments.data.dataset import Dataset
from experiments.data.manifest import Split, Task
from experiments.evaluation.predictions import Model, from_model
from experiments.evaluation.results import METRICS
from experiments.evaluation.run import Mask, evaluate_dataset
from experiments.evaluation.views import choose_views
from experiments.extraction.presets import PresetName
from experiments.finetuning.choice import Choice, choose
from experiments.finetuning.data import TuningData, read_data
from experiments.finetuning.run import SECONDS, Tuned, tune
from experiments.reproduction import records
from experiments.reproduction.plan import Plan, Run, Subspaces
from experiments.reproduction.records import RateSearch, Record
from experiments.revision import commit

_DIGITS = 6
"""Significant ones of a scene's figures."""
_PLAIN_RANK = 16
"""The paper's, of the plain LoRA beside M."""
MASKS: Mapping[Task, Mask] = {"faces": "task", "humans": "valid", "glass": "valid"}
"""Pixels that count (:mod:`experiments.evaluate`): of a print those of the face."""


class Materials(Protocol):
    """What runs are made from, made when it is first needed (:class:`experiments.reproduction.data.Materials`)."""

    def dataset(self, task: Task, split: Split, /) -> Dataset:
        """The data set of a task."""
        ...

    def subspaces(self, wanted: Subspaces, /) -> tuple[Path, ...]:
        """Folders of ``experiments.extract``, one for each attribute."""
        ...


@dataclass
class Execution:
    """Runs a plan.

    Args:
        plan: what is wanted.
        preset: of fine-tuning.
        weights: of the model that everything starts from …
        base: … and the model.
        materials: data sets and subspaces.
        store: of finished and interrupted fine-tunings.
        folder: of the records.
        announce: gets a line when something begins.
    """

    plan: Plan
    preset: PresetName
    weights: str
    base: Base
    materials: Materials
    store: Path
    folder: Path
    announce: Callable[[str], object]
    _data: dict[Task, TuningData] = field(default_factory=dict, init=False)
    _mined: dict[Subspaces, tuple[Path, ...]] = field(default_factory=dict, init=False)

    def found(self) -> dict[Run, Record]:
        """The runs that have a record already.

        Raises:
            ValueError: a record that is damaged or of another base model.
            OSError: one that cannot be read.
        """
        read = {run: self._read(run) for run in self.plan.runs}
        return {run: record for run, record in read.items() if record is not None}

    def __call__(self, run: Run) -> Record:
        """The run's record; what was interrupted goes on.

        Raises:
            ValueError, OSError: as :func:`experiments.finetuning.run.tune` and
                :func:`experiments.evaluation.run.evaluate_dataset` do, and for damaged records.
        """
        found = self._read(run)
        if found is not None:
            return found
        rate = None if run.method is None else self._rate(run)
        tuned = None
        if rate is not None:
            self.announce(f"{run.name}: fine-tuning")
            tuned = self._tune(run, rate)
        splits: list[Split] = [split for task, split in self.plan.tests if task == run.task]
        datasets: dict[Split, Dataset] = {split: self.materials.dataset(run.task, split) for split in splits}
        self.announce(f"{run.name}: evaluating")
        start = time.perf_counter()
        tests = self._evaluate(run, tuned, datasets)
        record = Record(
            run=_plain(run),
            sizes=self._sizes(run),
            base=self.base.label,
            commit=commit(),
            parameters=0 if tuned is None else tuned.count.total,
            rate=rate,
            steps=0 if tuned is None else self._choice(run, rate).preset.steps,
            training_seconds=0.0 if tuned is None else float(tuned.facts[SECONDS]),
            evaluation_seconds=round(time.perf_counter() - start, 1),
            data={} if tuned is None else dict(self._training_data(run.task).sha256),
            facts={} if tuned is None else dict(tuned.facts),
            validation={} if tuned is None else _validation(tuned),
            tests=tests,
        )
        records.write(self._file(run), record)
        return record

    def _rate(self, run: Run) -> float:
        """The peak learning rate of the run's method, chosen on the task's validation scenes."""
        assert run.method is not None
        rates = self.plan.scale.rates
        if len(rates) == 1:
            return rates[0]
        tried = self.plan.searches[run.task, run.method]
        path = self.folder / f"rates_{run.task}_{run.method}.json"
        found: RateSearch | None = records.read(path, RateSearch)
        if found is None or list(found.losses) != [f"{rate:g}" for rate in rates]:
            losses = {}
            for rate in rates:
                self.announce(f"{tried.name}: learning rate {rate:g}, to compare on validation scenes")
                losses[f"{rate:g}"] = _validation(self._tune(tried, rate))["after"]
            found = RateSearch(
                run=_plain(tried), losses=losses, chosen=float(min(losses, key=lambda rate: losses[rate]))
            )
            records.write(path, found)
        return found.chosen

    def _tune(self, run: Run, rate: float) -> Tuned:
        return tune(self._choice(run, rate), self.base, self._training_data(run.task), self.announce)

    def _choice(self, run: Run, rate: float | None) -> Choice:
        assert run.method is not None
        sizes: dict[str, Any] = self._sizes(run)
        if run.subspaces is not None:
            if run.subspaces not in self._mined:
                self._mined[run.subspaces] = self.materials.subspaces(run.subspaces)
            sizes |= {"subspaces": [str(path) for path in self._mined[run.subspaces]]}
            sizes |= {"allocation": run.allocation}
        if run.plain:
            sizes |= {"plain": run.plain}
        return choose(
            method=run.method,
            data=[str(self.materials.dataset(run.task, "train").folder)],
            preset=self.preset,
            weights=self.weights,
            matrices=run.matrices,
            peak_rate=rate,
            seed=run.seed,
            store=str(self.store),
            **sizes,
        )

    def _sizes(self, run: Run) -> dict[str, int]:
        """``rank`` and ``dim`` at the scale of the plan, of those that the method has."""
        size = self.plan.scale.size
        if run.method in ("lora", "pissa", "adalora"):
            return {"rank": size(run.size)}
        if run.method in ("subspace", "psv"):
            return {"dim": size(run.size), "rank": size(_PLAIN_RANK)}
        return {}

    def _training_data(self, task: Task) -> TuningData:
        if task not in self._data:
            held_out = choose(method="full", data=["."], preset=self.preset).preset.held_out
            self._data[task] = read_data([self.materials.dataset(task, "train").folder], held_out)
        return self._data[task]

    def _evaluate(
        self, run: Run, tuned: Tuned | None, datasets: Mapping[Split, Dataset]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Test set → scene → metric → value."""
        weights, adapter = self.weights, None
        if tuned is not None and run.method == "full":
            weights = str(tuned.result)
        elif tuned is not None:
            adapter = tuned.result
        predict = from_model(Model(weights, adapter))
        found: dict[str, dict[str, dict[str, float]]] = {}
        for split, dataset in datasets.items():
            views = choose_views(None, dataset.manifest.settings.views, run.task)
            results = evaluate_dataset(predict, dataset, views, MASKS[run.task])
            found[split] = {
                scene: {m.name: float(f"{metrics.row()[m.name]:.{_DIGITS}g}") for m in METRICS}
                for (_, scene), metrics in results.scenes.items()
            }
        return found

    def _file(self, run: Run) -> Path:
        return self.folder / f"{run.name}.json"

    def _read(self, run: Run) -> Record | None:
        path = self._file(run)
        found: Record | None = records.read(path, Record)
        if found is None:
            return None
        for name, made, wanted in (
            ("run", found.run, _plain(run)),
            ("sizes", found.sizes, self._sizes(run)),
            ("base model", found.base, self.base.label),
        ):
            if made != wanted:
                raise ValueError(f"{path} is of another {name}: {made}, not {wanted}; name another --output")
        missing = {split for task, split in self.plan.tests if task == run.task} - found.tests.keys()
        return None if missing else found


def _plain(run: Run) -> dict[str, Any]:
    """As JSON can hold it."""
    return json.loads(json.dumps(asdict(run)))


def _validation(tuned: Tuned) -> dict[str, float]:
    return {"before": float(np.mean(tuned.before["loss"])), "after": float(np.mean(tuned.after["loss"]))}
