"""From settings to a folder of results: predict every scene, measure it, draw the telling ones, write."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.cluster.elsewhere import Elsewhere
from experiments.data.dataset import Dataset, StoredScene
from experiments.evaluation.paired import Difference, compare_results
from experiments.evaluation.pictures import draw
from experiments.evaluation.predictions import Model, Predictor, from_folder, from_model, prediction_file
from experiments.evaluation.report import OUTPUTS, SUMMARY, extremes, write_results
from experiments.evaluation.results import Results, SceneKey, joined, means, read_csv
from experiments.evaluation.run import evaluate_dataset, evaluate_views, last_scenes
from experiments.evaluation.settings import Settings
from experiments.evaluation.views import choose_views
from experiments.process.hosts import is_first, wait_for_all
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import StrPath, path_of
from experiments.storage.files import hashes, read_json, reading, sha256
from experiments.storage.identity import digest, identity
from experiments.storage.results import Ready, ResultsFolder, check_output
from subspace.errors import InputError
from vggt_jax.missing import no_folder

_VERSION = 2
"""To be raised where equal settings come to give other results. Version 1, which was not written down, knew no cameras."""


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found and where it lies."""

    folder: Path
    """Holds ``scenes.csv``, ``summary.json``, ``report.html``, ``pictures`` and, if asked for, ``predictions``."""
    results: Results
    """Figures of every scene, and the scenes that were left out."""
    seconds: float
    """Time that the whole evaluation took."""

    @property
    def mean(self) -> dict[str, float]:
        """Mean over scenes of each metric that was measured in all of them."""
        return means([metrics.row() for metrics in self.results.scenes.values()])


@dataclass(frozen=True)
class Comparison:
    """Two results on the same scenes."""

    scenes: int
    """Number of scenes that both results have."""
    differences: Mapping[str, Difference]
    """Second result minus first, by the metric's name."""


def evaluate(settings: Settings, reporter: Reporter = SILENT) -> Evaluation:
    """Measure a model or stored predictions on data sets, and write the results into one folder.

    A folder of the same results stays as it is.

    Raises:
        InputError: unusable data, weights, adapter, predictions or settings, nothing that can be evaluated, or a folder of
            other results where these should go.
        OSError: a file that cannot be read or written.
    """
    return work_of(settings, reporter).run()


def work_of(settings: Settings, reporter: Reporter = SILENT) -> Ready[Evaluation] | Elsewhere[Evaluation]:
    """What :func:`evaluate` is about to do, here or on the cluster that is asked for. Arguments and errors are the same."""
    if settings.executor is not None:
        return Elsewhere(settings.executor, ready, replace(settings, executor=None), "evaluation", reporter)
    return ready(settings, reporter)


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[Evaluation]:
    """What :func:`evaluate` is about to do on this machine. Arguments and errors are the same."""
    start = time.perf_counter()
    check_output(settings, {}, OUTPUTS)
    plan = _Plan.of(settings)
    check_output(settings, plan.identity, OUTPUTS)  # before the model is loaded
    predictions = _predictions(settings, plan)
    depends_on = {**plan.identity, "predictions": predictions.identity}
    folder = ResultsFolder.of(settings, "evaluate", predictions.label, depends_on, OUTPUTS)
    folder.check()
    return Ready(folder, lambda: _evaluate(settings, plan, predictions, folder, start, reporter), reporter)


def _evaluate(
    settings: Settings, plan: _Plan, predictions: _Predictions, folder: ResultsFolder, start: float, reporter: Reporter
) -> Evaluation:
    if settings.predictions is None:
        reporter.info(f"model: {settings.weights}")
    if not is_first():
        results = plan.measure(predictions.predict, None, reporter)
        wait_for_all("evaluation")
        return Evaluation(folder.path, results, time.perf_counter() - start)
    with folder.new() as new:
        results = plan.measure(
            predictions.predict, new / "predictions" if settings.save_predictions else None, reporter
        )
        if not results.scenes:
            first, why = next(iter(results.skipped.items()))
            raise InputError(f"no scene can be evaluated with mask={settings.mask}, such as {'/'.join(first)}: {why}")
        about = {
            "model": settings.weights if settings.predictions is None else str(settings.predictions),
            "adapter": "none" if settings.adapter is None else settings.adapter.name,
            "mask": settings.mask,
            "exact": settings.exact,
            "held_out": settings.held_out,
            "seconds": round(time.perf_counter() - start, 1),
        }
        drawings = plan.drawings(predictions.predict, results)
        write_results(new, "How good is the reconstruction?", results, about, drawings)
    wait_for_all("evaluation")
    return Evaluation(folder.path, results, time.perf_counter() - start)


def compare(first: StrPath, second: StrPath) -> Comparison:
    """Compare two results by a paired t test over their scenes.

    Args:
        first: a folder of :func:`evaluate`, or its ``scenes.csv``.
        second: another one, of the same scenes.

    Raises:
        InputError: a file that is no result, or results of different scenes, views or pixels, as far as folders say them.
        OSError: a file that cannot be read.
    """
    first, second = path_of(first, "first"), path_of(second, "second")
    results = read_csv(first)
    made, other = (_made_from(path) for path in (first, second))
    for name in made.keys() & other.keys():
        if made[name] != other[name]:
            raise InputError(
                f"{first} and {second} cannot be compared: their {name} are {made[name]} and {other[name]}",
                argument="compare",
            )
    return Comparison(len(results), compare_results(results, read_csv(second)))


def _made_from(path: Path) -> dict[str, Any]:
    """What figures of equal scenes must have in common, as far as the folder says it."""
    if not (path / SUMMARY).is_file():
        return {}
    content = read_json(path / SUMMARY, dict)
    with reading(path / SUMMARY):
        found = {"views": content.get("views"), "masks": content.get("settings", {}).get("mask")}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class _Predictions:
    """Where depth maps and cameras come from."""

    predict: Predictor
    """A scene's views → what is predicted of them."""
    label: str
    """Name of the model, of its adapter or of the folder, for the results' folder."""
    identity: Any
    """What tells them from any others, as JSON can hold it."""


@dataclass(frozen=True)
class _Plan:
    """Data sets whose scenes and views are known to exist; nothing is predicted yet."""

    settings: Settings
    """What was asked for."""
    datasets: Mapping[str, Dataset]
    """Data sets by their names in the results, which differ."""
    views: Mapping[str, Sequence[int]]
    """Views to predict together, by data set."""

    @classmethod
    def of(cls, settings: Settings) -> _Plan:
        datasets = [Dataset(folder) for folder in settings.data]
        names = [dataset.folder.name for dataset in datasets]
        if len(set(names)) != len(names):
            names = [dataset.folder.as_posix().strip("/").replace("/", "_") for dataset in datasets]
        views = [choose_views(settings.views, d.manifest.settings.views, d.manifest.task) for d in datasets]
        for dataset in datasets:
            last_scenes(dataset, settings.held_out)
        return cls(settings, dict(zip(names, datasets, strict=True)), dict(zip(names, views, strict=True)))

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on besides the predictions."""
        described = identity(self.settings)
        return {
            "version": _VERSION,
            "data": {name: dataset.manifest.sha256 for name, dataset in self.datasets.items()},
            "views": identity(self.views),
            **{name: described[name] for name in ("held_out", "mask", "exact", "save_predictions")},
        }

    def scenes(self, name: str) -> list[StoredScene]:
        """The scenes of a data set that are evaluated."""
        return last_scenes(self.datasets[name], self.settings.held_out)

    def measure(self, predict: Predictor, keep: Path | None, reporter: Reporter) -> Results:
        parts = [
            evaluate_dataset(
                predict,
                dataset,
                self.views[name],
                self.settings.mask,
                held_out=self.settings.held_out,
                name=name,
                exact=self.settings.exact,
                keep=keep,
                doubt=self.settings.predictions is not None,
                shared=not self.settings.save_predictions,  # which only the first process can write
                reporter=reporter,
            )
            for name, dataset in self.datasets.items()
        ]
        return joined(parts)

    def drawings(self, predict: Predictor, results: Results) -> dict[SceneKey, Figure]:
        """The best, median and worst scene, predicted once more: the clouds of all scenes would fill the memory."""
        drawn = {}
        for key in extremes(results.scenes):
            name, scene = key
            dataset, views = self.datasets[name], self.views[name]
            (stored,) = (each for each in self.scenes(name) if each.folder.name == scene)
            loaded = stored.load(views)
            evaluated = evaluate_views(
                predict,
                key,
                loaded,
                views,
                self.settings.mask,
                has_poses=dataset.manifest.has_poses,
                exact=self.settings.exact,
            )
            drawn[key] = draw(evaluated, loaded.images, loaded.extrinsics)
        return drawn


def _predictions(settings: Settings, plan: _Plan) -> _Predictions:
    if settings.predictions is not None:
        files = {
            "/".join(key): prediction_file(settings.predictions, *key)
            for key in ((name, scene.folder.name) for name in plan.datasets for scene in plan.scenes(name))
        }
        if not settings.predictions.is_dir():
            raise InputError(no_folder(settings.predictions), argument="predictions")
        if missing := [file for file in files.values() if not file.is_file()]:
            first = missing[0].relative_to(settings.predictions)
            raise InputError(
                f"{settings.predictions} lacks {len(missing)} of {len(files)} scenes, such as {first}",
                argument="predictions",
            )
        stored = {name: sha256(file) for name, file in files.items()}
        return _Predictions(from_folder(settings.predictions), settings.predictions.name, {"stored": stored})
    model = Model(settings.weights, settings.adapter, settings.mesh)
    for dataset in plan.datasets.values():
        model.check(dataset.manifest.settings.resolution)
    described: dict[str, Any] = {
        "parameters": model.digest,
        "config": digest(identity(model.identity.config.to_dict())),
        "adapter": None,
    }
    if settings.adapter is None:
        return _Predictions(from_model(model), model.identity.name, described)
    described["adapter"] = hashes(settings.adapter) if settings.adapter.is_dir() else sha256(settings.adapter)
    return _Predictions(from_model(model), f"{model.identity.name}_{settings.adapter.stem}", described)
