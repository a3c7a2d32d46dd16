"""The data sets of one attribute, from settings to manifests, picking up whatever an earlier run left."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tqdm import tqdm

from experiments.data import files
from experiments.data.contact_sheet import dataset_panel, draw_sheet
from experiments.data.manifest import (
    CONTACT_SHEET,
    MANIFEST,
    AnySettings,
    FailedScene,
    read_manifest,
    scene_name,
    write_manifest,
)
from experiments.data.scene_folder import SceneRecord, find_damage, read_record
from experiments.synthetic import schema
from experiments.synthetic.pool import Executor, RenderJob

ATTEMPTS = 3
"""Specifications that are tried for a scene."""
_SETTINGS = "settings.json"

_Errors = dict[tuple[int, int], tuple[str, ...]]
"""Of every attempt so far, by data set and scene."""
SceneMaker = Callable[[int, int, int], schema.Scene]
"""The scene of (data set, scene, attempt)."""


@dataclass
class _DataSet:
    folder: Path
    number: int
    scenes: dict[int, SceneRecord] = field(default_factory=dict)
    failed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    finished: bool = False

    def missing(self, wanted: int) -> list[int]:
        return [scene for scene in range(wanted) if scene not in self.scenes and scene not in self.failed]


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
    with _locked(output):
        _check_settings(output, settings)
        sets = [_examine(output / dataset_name(number), number, scenes, verify) for number in range(datasets)]
        missing = sum(len(dataset.missing(scenes)) for dataset in sets)
        if missing:
            make_scene = scene_maker()
            for dataset in sets:
                _check_specs(dataset, make_scene)
            with executor() as pool:
                _begin(output, settings, sets)  # only now, when nothing that was given has turned out to be wrong
                with tqdm(total=missing * settings.views, unit=" images", smoothing=0.1) as progress:
                    _Rendering(sets, settings, scenes, make_scene, pool, progress).run()
        for dataset in sets:
            if dataset.scenes and not dataset.finished:
                _finish(dataset, settings)
    for dataset in sets:
        if not dataset.scenes:
            errors = next(iter(dataset.failed.values()))
            raise ValueError(f"none of the {scenes} scenes of {dataset.folder} could be rendered: {errors[-1]}")
    return Outcome(
        scenes=sum(len(dataset.scenes) for dataset in sets),
        failed=sum(len(dataset.failed) for dataset in sets),
        rendered=missing > 0,
        seconds=time.perf_counter() - start,
    )


def dataset_name(dataset: int) -> str:
    """The folder of a data set."""
    return f"dataset_{dataset:02d}"


@dataclass(frozen=True)
class _Rendering:
    """Renders what is missing, in rounds: the later ones take other specifications for the scenes that failed."""

    sets: list[_DataSet]
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
                    _finish(dataset, self.settings)
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


def _finish(dataset: _DataSet, settings: AnySettings) -> None:
    """Write contact sheet and manifest."""
    records = {scene_name(scene): record for scene, record in sorted(dataset.scenes.items())}
    title = f"{settings.title}, data set {dataset.number}"
    sheet = io.BytesIO()
    draw_sheet([[dataset_panel(dataset.folder, list(records), settings.views, title)]]).save(sheet, "PNG")
    files.write_bytes(dataset.folder / CONTACT_SHEET, sheet.getvalue())
    failed = tuple(FailedScene(scene=scene, errors=errors) for scene, errors in sorted(dataset.failed.items()))
    write_manifest(dataset.folder, settings, dataset.number, records, failed)
    dataset.finished = True


def _examine(folder: Path, number: int, scenes: int, verify: bool) -> _DataSet:
    """What is there already, without what is damaged."""
    dataset = _DataSet(folder, number)
    if (folder / MANIFEST).exists():
        _read_finished(dataset, scenes, verify)
        if dataset.finished:
            return dataset
        (folder / MANIFEST).unlink()
        dataset.scenes.clear()
        dataset.failed.clear()
    files.remove_partial(folder)
    for scene in range(scenes):
        if (path := folder / scene_name(scene)).exists():
            found = _whole_record(path, everything=True)
            if isinstance(found, SceneRecord):
                dataset.scenes[scene] = found
            else:
                print(f"{found}; the scene is rendered again", file=sys.stderr)
                files.remove(path)
    return dataset


def _read_finished(dataset: _DataSet, scenes: int, verify: bool) -> None:
    """Fill in a data set from its manifest, and call it finished if it is whole and nothing is missing."""
    try:
        manifest = read_manifest(dataset.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return
    if manifest.requested_scenes > scenes:
        raise ValueError(f"{dataset.folder} holds {manifest.requested_scenes} scenes, --scenes={scenes} are fewer")
    sheet = dataset.folder / CONTACT_SHEET
    whole = sheet.is_file() and files.sha256(sheet) == manifest.files.get(CONTACT_SHEET)
    for name, record in manifest.scenes.items():
        dataset.scenes[int(name.rsplit("_", 1)[1])] = record
        whole &= _whole_record(dataset.folder / name, verify) == record
    dataset.failed.update((failed.scene, failed.errors) for failed in manifest.failed)
    dataset.finished = whole and not dataset.missing(scenes)


def _whole_record(folder: Path, everything: bool) -> SceneRecord | str:
    """The record of a scene whose files are what was written, or what is wrong; see :func:`find_damage`."""
    try:
        record = read_record(folder)
        return find_damage(folder, record, everything) or record
    except (OSError, ValueError) as error:
        return str(error)


def _check_specs(dataset: _DataSet, make_scene: SceneMaker) -> None:
    """The latest scene of an unfinished data set, standing for all, must be what would be made now."""
    if dataset.finished or not dataset.scenes:
        return
    scene = max(dataset.scenes)
    spec = dataset.folder / scene_name(scene) / "spec.json"
    if spec.read_bytes() != schema.to_json(make_scene(dataset.number, scene, dataset.scenes[scene].attempt)):
        raise ValueError(f"{spec} is not what this version makes of these settings and textures: name another --output")


def _check_settings(output: Path, settings: AnySettings) -> None:
    """A folder that is not empty must have been made with the same settings."""
    if not (output / _SETTINGS).exists():
        others = sorted(entry.name for entry in output.iterdir() if not entry.name.startswith("."))
        if others:
            raise ValueError(f"--output={output} holds {others[0]!r}, but no {_SETTINGS}; name another folder")
        return
    made = files.read_json(output / _SETTINGS)
    for name, value in msgspec.to_builtins(settings).items():
        if made.get(name) != value:
            raise ValueError(
                f"--output={output} was made with --{name}={made.get(name)}, not {value}; name another folder"
            )


def _begin(output: Path, settings: AnySettings, sets: list[_DataSet]) -> None:
    files.write_json(output / _SETTINGS, msgspec.to_builtins(settings))
    for dataset in sets:
        dataset.folder.mkdir(exist_ok=True)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Make the folder and keep other runs out of it; the lock ends with the process."""
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise OSError(f"cannot write to --output={output}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(f"another run is writing to --output={output}") from None
    finally:
        os.close(folder)
        if is_new:
            with suppress(OSError):  # it is not empty, as it should be
                output.rmdir()
