"""The data sets of one attribute, from settings to manifests, picking up whatever an earlier run left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experiments.data.manifest import AnySettings, scene_name
from experiments.data.production import Production, begin, check_settings, dataset_name, examine, locked
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering.pool import Executor, Failed, RenderJob, RenderResult
from experiments.scenes import schema
from subspace.errors import InputError

ATTEMPTS = 3
"""Specifications that are tried for a scene."""

_Place = tuple[int, int]
"""Numbers of the data set and of the scene."""
_Errors = dict[_Place, tuple[str, ...]]
"""Of every attempt so far."""
SceneMaker = Callable[[int, int, int], schema.Scene]
"""The scene of (data set, scene, attempt)."""


@dataclass(frozen=True)
class Outcome:
    """What there is after a run."""

    datasets: tuple[Path, ...]
    """Folder of each data set."""
    scenes: int
    """Number of scenes that there are, over all data sets."""
    failed: int
    """Number of scenes that could not be rendered."""
    rendered: int
    """Number of scenes that this run rendered."""


def generate(
    output: Path,
    settings: AnySettings,
    datasets: int,
    scenes: int,
    scene_maker: Callable[[], SceneMaker],
    executor: Callable[[], AbstractContextManager[Executor]],
    verify: bool = False,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Make all data sets, or what is missing of them.

    Finished data sets are left alone; larger numbers of data sets and of scenes than last time are made up.

    Args:
        output: their folder.
        settings: of all of them.
        datasets: how many.
        scenes: of each.
        scene_maker: called once if there is anything to render.
        executor: called once if there is anything to render.
        verify: hash all files of finished data sets too, not only those that were changed since they were written.
        reporter: is told of scenes that fail or are damaged, and of progress.

    Raises:
        InputError: the folder holds something else, or a data set of which no scene could be rendered.
        OSError: it cannot be written, or no worker starts.
    """
    rendered = 0
    with locked(output):
        check_settings(output, settings)
        sets = [examine(output / dataset_name(number), number, scenes, verify, reporter) for number in range(datasets)]
        missing = sum(len(dataset.missing(scenes)) for dataset in sets)
        if missing:
            make_scene = scene_maker()
            for dataset in sets:
                _check_specs(dataset, make_scene)
            with executor() as pool:
                begin(output, settings, sets)  # only now, when nothing that was given has turned out to be wrong
                with reporter.progress(missing * settings.views, " images") as bar:
                    rendered = _Rendering(sets, settings, scenes, make_scene, pool, reporter, bar).run()
        for dataset in sets:
            if dataset.scenes and not dataset.finished:
                dataset.finish(settings)
    for dataset in sets:
        if not dataset.scenes:
            errors = next(iter(dataset.failed.values()))
            raise InputError(f"none of the {scenes} scenes of {dataset.folder} could be rendered: {errors[-1]}")
    return Outcome(
        datasets=tuple(dataset.folder for dataset in sets),
        scenes=sum(len(dataset.scenes) for dataset in sets),
        failed=sum(len(dataset.failed) for dataset in sets),
        rendered=rendered,
    )


@dataclass(frozen=True)
class _Rendering:
    """Renders what is missing, in rounds: the later ones take other specifications for the scenes that failed."""

    sets: list[Production]
    settings: AnySettings
    scenes: int
    make_scene: SceneMaker
    pool: Executor
    reporter: Reporter
    bar: tqdm

    def run(self) -> int:
        """Returns how many scenes were rendered; the others are recorded as failed."""
        errors: _Errors = {
            (dataset.number, scene): () for dataset in self.sets for scene in dataset.missing(self.scenes)
        }
        wanted = len(errors)
        for attempt in range(ATTEMPTS):
            errors = self._round(attempt, errors)
        for (dataset, scene), reasons in errors.items():
            self.sets[dataset].failed[scene] = reasons
        return wanted - len(errors)

    def _round(self, attempt: int, errors: _Errors) -> _Errors:
        """Render the scenes with earlier errors; returns those that failed again, in the order of their places."""
        failed: _Errors = {}
        for result in self.pool.render(self._jobs(attempt, errors)):
            if isinstance(result, Failed):
                place = result.dataset, result.scene
                failed[place] = (*errors[place], result.error)
                self.reporter.warning(f"{self._folder(place)}, attempt {attempt + 1} of {ATTEMPTS}: {result.error}")
            else:
                self._finish(result)
        return dict(sorted(failed.items()))

    def _finish(self, result: RenderResult) -> None:
        provenance = result.job.scene.provenance
        dataset = self.sets[provenance.dataset]
        dataset.scenes[provenance.scene] = result.record
        self.bar.update(self.settings.views)
        if not dataset.missing(self.scenes):
            dataset.finish(self.settings)

    def _jobs(self, attempt: int, errors: _Errors) -> Iterator[RenderJob | Failed]:
        renderers = {record.renderer for dataset in self.sets for record in dataset.scenes.values()}
        renderer = min(renderers, default=None)
        for place, earlier in errors.items():
            try:
                scene = self.make_scene(*place, attempt)
            except InputError as error:
                yield Failed(*place, str(error))
            else:
                yield RenderJob(scene, self._folder(place), earlier, renderer)

    def _folder(self, place: _Place) -> Path:
        return self.sets[place[0]].folder / scene_name(place[1])


def _check_specs(dataset: Production, make_scene: SceneMaker) -> None:
    """The latest scene of an unfinished data set, standing for all, must be what would be made now."""
    if dataset.finished or not dataset.scenes:
        return
    scene = max(dataset.scenes)
    spec = dataset.folder / scene_name(scene) / "spec.json"
    if spec.read_bytes() != schema.to_json(make_scene(dataset.number, scene, dataset.scenes[scene].attempt)):
        raise InputError(f"{spec} is not what this version makes of these settings and textures: name another output")
