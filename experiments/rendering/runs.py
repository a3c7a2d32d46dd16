"""The data sets of one attribute, from settings to manifests, picking up whatever an earlier run left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experiments.data.manifest import AnySettings, scene_name
from experiments.data.production import Production, begin, check_settings, dataset_name, examine, locked
from experiments.rendering.pool import Executor, RenderJob
from experiments.scenes import schema
from subspace.errors import InputError

ATTEMPTS = 3
"""Specifications that are tried for a scene."""

_Errors = dict[tuple[int, int], tuple[str, ...]]
"""Of every attempt so far, by data set and scene."""
SceneMaker = Callable[[int, int, int], schema.Scene]
"""The scene of (data set, scene, attempt)."""


@dataclass(frozen=True)
class Outcome:
    """What there is after a run."""

    scenes: int
    failed: int
    rendered: bool
    """Whether this run did any of it."""
    seconds: float


def generate(
    output: Path,
    settings: AnySettings,
    datasets: int,
    scenes: int,
    scene_maker: Callable[[], SceneMaker],
    executor: Callable[[], AbstractContextManager[Executor]],
    verify: bool = False,
) -> Outcome:
    """Make all data sets, or what is missing of them.

    Finished data sets are left alone; larger numbers of data sets and of scenes than last time are made up.

    Args:
        output: their folder.
        settings: of all of them.
        datasets: how many.
        scenes: of each.
        scene_maker: called once if there is anything to render.
        executor: likewise.
        verify: hash all files of finished data sets too, not only those that were changed since they were written.

    Raises:
        ValueError: the folder holds something else, or a data set of which no scene could be rendered.
        OSError: it cannot be written, or no worker starts.
    """
    start = time.perf_counter()
    with locked(output):
        check_settings(output, settings)
        sets = [examine(output / dataset_name(number), number, scenes, verify) for number in range(datasets)]
        missing = sum(len(dataset.missing(scenes)) for dataset in sets)
        if missing:
            make_scene = scene_maker()
            for dataset in sets:
                _check_specs(dataset, make_scene)
            with executor() as pool:
                begin(output, settings, sets)  # only now, when nothing that was given has turned out to be wrong
                with tqdm(total=missing * settings.views, unit=" images", smoothing=0.1) as progress:
                    _Rendering(sets, settings, scenes, make_scene, pool, progress).run()
        for dataset in sets:
            if dataset.scenes and not dataset.finished:
                dataset.finish(settings)
    for dataset in sets:
        if not dataset.scenes:
            errors = next(iter(dataset.failed.values()))
            raise InputError(f"none of the {scenes} scenes of {dataset.folder} could be rendered: {errors[-1]}")
    return Outcome(
        scenes=sum(len(dataset.scenes) for dataset in sets),
        failed=sum(len(dataset.failed) for dataset in sets),
        rendered=missing > 0,
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class _Rendering:
    """Renders what is missing, in rounds: the later ones take other specifications for the scenes that failed."""

    sets: list[Production]
    settings: AnySettings
    scenes: int
    make_scene: SceneMaker
    pool: Executor
    progress: tqdm

    def run(self) -> None:
        errors: _Errors = {
            (dataset.number, scene): () for dataset in self.sets for scene in dataset.missing(self.scenes)
        }
        for attempt in range(ATTEMPTS):
            errors = self._round(attempt, errors)
        for (dataset, scene), reasons in errors.items():
            self.sets[dataset].failed[scene] = reasons

    def _round(self, attempt: int, errors: _Errors) -> _Errors:
        """Render the scenes with earlier errors; returns those that failed again."""
        failed: _Errors = {}
        for result in self.pool.render(self._jobs(attempt, errors, failed)):
            provenance = result.job.scene.provenance
            place = provenance.dataset, provenance.scene
            if result.record is None:
                self._fail(place, attempt, errors, failed, result.error)
            else:
                dataset = self.sets[provenance.dataset]
                dataset.scenes[provenance.scene] = result.record
                self.progress.update(self.settings.views)
                if not dataset.missing(self.scenes):
                    dataset.finish(self.settings)
        return dict(sorted(failed.items()))

    def _jobs(self, attempt: int, errors: _Errors, failed: _Errors) -> Iterator[RenderJob]:
        renderers = {record.renderer for dataset in self.sets for record in dataset.scenes.values()}
        renderer = min(renderers, default=None)
        for place, earlier in errors.items():
            try:
                scene = self.make_scene(*place, attempt)
            except ValueError as error:
                self._fail(place, attempt, errors, failed, str(error))
            else:
                yield RenderJob(scene, self._folder(place), earlier, renderer)

    def _fail(self, place: tuple[int, int], attempt: int, errors: _Errors, failed: _Errors, error: str) -> None:
        failed[place] = (*errors[place], error)
        self.progress.write(f"{self._folder(place)}, attempt {attempt + 1} of {ATTEMPTS}: {error}", sys.stderr)

    def _folder(self, place: tuple[int, int]) -> Path:
        return self.sets[place[0]].folder / scene_name(place[1])


def _check_specs(dataset: Production, make_scene: SceneMaker) -> None:
    """The latest scene of an unfinished data set, standing for all, must be what would be made now."""
    if dataset.finished or not dataset.scenes:
        return
    scene = max(dataset.scenes)
    spec = dataset.folder / scene_name(scene) / "spec.json"
    if spec.read_bytes() != schema.to_json(make_scene(dataset.number, scene, dataset.scenes[scene].attempt)):
        raise InputError(f"{spec} is not what this version makes of these settings and textures: name another --output")
