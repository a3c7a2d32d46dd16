"""The data sets of one attribute, from settings to manifests, picking up whatever an earlier run left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tqdm import tqdm

from experiments.data.inputs import Assets, InputFile, Inputs, Sources, write_inputs
from experiments.data.manifest import CONTACT_SHEET, MANIFEST, AnySettings, FailedScene, scene_name
from experiments.data.production import (
    Production,
    abandon,
    begin,
    dataset_name,
    examine,
    fetch_scenes,
    locked,
    may_continue,
    remove_datasets,
)
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering.jobs import Failed, RenderJob, RenderResult
from experiments.rendering.pool import Executor
from experiments.scenes import schema
from experiments.storage import shared
from subspace.errors import InputError

ATTEMPTS = 3
"""Specifications that are tried for a scene."""
_REASONS = 3
"""Of scenes that failed, told where all of a data set did."""

_Place = tuple[int, int]
"""Numbers of the data set and of the scene."""
_Errors = dict[_Place, tuple[str, ...]]
"""Of every attempt so far."""
_Inputs = dict[str, InputFile | None] | msgspec.UnsetType
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
    *,
    verify: bool = False,
    overwrite: bool = False,
    sources: Sources | None = None,
    assets: Assets | None = None,
    finished: Callable[[int], object] = lambda _: None,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Make all data sets, or what is missing of them.

    Finished data sets are left alone; larger numbers of data sets and of scenes than last time are made up, and scenes are
    made again for which the user's files say something else than last time.

    Args:
        output: their folder.
        settings: of all of them.
        datasets: how many.
        scenes: of each.
        scene_maker: called once if there is anything to render.
        executor: called once if there is anything to render.
        verify: hash all files of finished data sets too, not only those that were changed since they were written.
        overwrite: replace data sets of other settings, and data sets of more scenes by some of fewer.
        sources: the user's files that each scene is made from, if it is.
        assets: the user's files that all scenes choose from, if they do.
        finished: is called with the number of each data set that is finished while others are rendered.
        reporter: is told of scenes that fail, are damaged or have changed, and of progress.

    Raises:
        InputError: the folder holds something else, or a data set of which no scene could be rendered.
        OSError: it cannot be written, or no worker starts.
    """
    rendered = 0
    with locked(output, reporter):
        keep = may_continue(output, settings, overwrite)
        folders = [output / dataset_name(number) for number in range(datasets)]
        for folder in folders:
            if not shared.fetch(folder):
                fetch_scenes(folder)
        sets = [
            examine(
                folder,
                number,
                scenes,
                verify=verify,
                overwrite=overwrite,
                sources=sources,
                reporter=reporter,
            )
            if keep
            else Production(folder, number)
            for number, folder in enumerate(folders)
        ]
        inputs: Inputs = {}
        of_other_assets = [dataset for dataset in sets if assets is not None and not assets.are_current(dataset.folder)]
        if of_other_assets or any(dataset.missing(scenes) for dataset in sets):
            inputs = {} if assets is None else assets.read()  # before the maker reads them
            make_scene = scene_maker()
            for dataset in sets:
                if dataset in of_other_assets:
                    _drop_other_specs(dataset, make_scene, reporter)
                elif dataset.scenes and not dataset.finished:
                    _check_spec(dataset, make_scene)
            if missing := sum(len(dataset.missing(scenes)) for dataset in sets):
                with executor() as pool:  # only now, when nothing that was given has turned out to be wrong
                    if not keep:
                        remove_datasets(output)
                    begin(output, settings, sets)
                    if assets is not None:
                        assets.show()
                    for dataset in sets:
                        if dataset.finished:
                            finished(dataset.number)
                    with reporter.progress(missing * settings.views, " images") as bar:
                        run = _Rendering(sets, settings, scenes, make_scene, pool, sources, finished, reporter, bar)
                        rendered = run.run()
        for dataset in sets:
            if dataset.scenes and not dataset.finished:
                dataset.finish(settings)
        for dataset in of_other_assets:
            if dataset.scenes:
                write_inputs(dataset.folder, inputs)
                shared.publish(dataset.folder, MANIFEST)
        for dataset in sets:
            if dataset.finished:
                shared.settle(dataset.folder, MANIFEST)
        if empty := [dataset for dataset in sets if not dataset.scenes]:
            abandon(output, empty)
            raise InputError(
                f"none of the {scenes} scenes of {empty[0].folder} could be rendered: {_reasons(empty[0])}"
            )
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
    sources: Sources | None
    finished: Callable[[int], object]
    reporter: Reporter
    bar: tqdm
    inputs: dict[_Place, _Inputs] = field(default_factory=dict)
    """What scenes are made from, read once for all attempts."""
    seen: list[Path] = field(default_factory=list)
    """The contact sheet that was told of."""
    held: list[str] = field(default_factory=list)
    """What is to be told of scenes that failed once there is another one; without any, it is the error of the run."""

    def run(self) -> int:
        """Returns how many scenes were rendered; the others are recorded as failed."""
        errors: _Errors = {
            (dataset.number, scene): () for dataset in self.sets for scene in dataset.missing(self.scenes)
        }
        wanted = len(errors)
        given_up: _Errors = {}
        for attempt in range(ATTEMPTS):
            errors = self._round(attempt, errors, given_up)
        errors = dict(sorted({**errors, **given_up}.items()))
        for (dataset, scene), reasons in errors.items():
            inputs = self._inputs((dataset, scene))
            self.sets[dataset].failed[scene] = FailedScene(scene=scene, errors=reasons, inputs=inputs)
        return wanted - len(errors)

    def _round(self, attempt: int, errors: _Errors, given_up: _Errors) -> _Errors:
        """Render the scenes with earlier errors; returns those that failed again, in the order of their places.

        Those that no further attempt could help are put into ``given_up``.
        """
        failed: _Errors = {}
        for result in self.pool.render(self._jobs(attempt, errors)):
            if isinstance(result, Failed):
                place = result.dataset, result.scene
                (given_up if result.final else failed)[place] = (*errors[place], result.error)
                which = "" if result.final else f", attempt {attempt + 1} of {ATTEMPTS}"
                self.held.append(f"{self._folder(place)}{which}: {result.error}")
            else:
                self._finish(result)
            self._tell()
        return dict(sorted(failed.items()))

    def _tell(self) -> None:
        if all(dataset.scenes for dataset in self.sets):
            for line in self.held:
                self.reporter.warning(line)
            self.held.clear()

    def _finish(self, result: RenderResult) -> None:
        provenance = result.job.scene.provenance
        dataset = self.sets[provenance.dataset]
        dataset.scenes[provenance.scene] = result.record
        self.bar.update(self.settings.views)
        if not dataset.missing(self.scenes):
            dataset.finish(self.settings)
            self.finished(dataset.number)
            if not self.seen:
                self.seen.append(dataset.folder / CONTACT_SHEET)
                self.reporter.info(f"pictures of the first data set: {self.seen[0]}")

    def _jobs(self, attempt: int, errors: _Errors) -> Iterator[RenderJob | Failed]:
        renderers = {record.renderer for dataset in self.sets for record in dataset.scenes.values()}
        renderer = min(renderers, default=None)
        for place, earlier in errors.items():
            inputs = self._inputs(place)  # before the files are read: what changes meanwhile is noticed next time
            try:
                scene = self.make_scene(*place, attempt)
            except InputError as error:
                yield Failed(*place, str(error), final=self.sources is not None)  # the user's file is what it is
            else:
                yield RenderJob(scene, self._folder(place), earlier, renderer, inputs)

    def _inputs(self, place: _Place) -> _Inputs:
        if self.sources is None:
            return msgspec.UNSET
        if place not in self.inputs:
            self.inputs[place] = self.sources.inputs(place[1])
        return self.inputs[place]

    def _folder(self, place: _Place) -> Path:
        return self.sets[place[0]].folder / scene_name(place[1])


def _reasons(dataset: Production) -> str:
    """Why the scenes of a data set failed; few reasons stand for all."""
    reasons = list(dict.fromkeys(failure.errors[-1] for failure in dataset.failed.values()))
    more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
    return "; ".join(reasons[:_REASONS]) + more


def _check_spec(dataset: Production, make_scene: SceneMaker) -> None:
    """The latest scene of an unfinished data set, standing for all, must be what would be made now."""
    scene = max(dataset.scenes)
    if not _is_specified(dataset, scene, make_scene):
        folder = dataset.folder / scene_name(scene)
        raise InputError(f"{folder} is not what this version makes of these settings; name another output")


def _drop_other_specs(dataset: Production, make_scene: SceneMaker, reporter: Reporter) -> None:
    """Forget the scenes that would be others now."""
    for scene in list(dataset.scenes):
        if not _is_specified(dataset, scene, make_scene):
            dataset.finished = False
            dataset.check_growing()
            reporter.info(f"{dataset.folder / scene_name(scene)} would be another now; it is made again")
            del dataset.scenes[scene]


def _is_specified(dataset: Production, scene: int, make_scene: SceneMaker) -> bool:
    made = make_scene(dataset.number, scene, dataset.scenes[scene].attempt)
    return dataset.stored(scene, len(made.cameras.views)).read_file("spec.json") == schema.to_json(made)
