"""From settings to the data set of a task's split: a stand-in or scans that are rendered, or recordings that are converted."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from experiments.cluster.settings import Ray
from experiments.data.inputs import Sources
from experiments.data.manifest import Split, Task, TaskSettings, check_sizes
from experiments.data.production import dataset_name
from experiments.presets import PresetName, preset_of
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Scene
from experiments.storage import files
from experiments.storage.arguments import StrPath, check_choice, convert_fields, path_of
from experiments.storage.identity import NO_EFFECT
from experiments.tasks.recordings import Layout
from experiments.tasks.recordings.conventions import Conventions
from subspace.errors import InputError

if TYPE_CHECKING:
    from experiments.rendering import runs
    from experiments.tasks.recordings.checking import Check


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A split that is rendered: a stand-in, or real scans of people; :meth:`of` fills in the numbers of a preset."""

    task: Task
    """The task whose data it is."""
    split: Split
    """The part of the task's data."""
    scenes: int | None
    """Number of scenes; None for as many as there are meshes."""
    views: int
    """Number of views of each scene."""
    resolution: int
    """Width and height of the pictures in pixels."""
    samples: int
    """Light paths per pixel: 4 are enough to train, 16 to evaluate."""
    turn: float | None
    """Degrees of the circle about bodies, tables or heads that the views are spread over; None for faces."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    meshes: Path | None = None
    """Folder of textured scans (OBJ, GLB, PLY), at any depth, that are rendered in place of the stand-in's bodies."""
    up: Literal["y", "z"] = "y"
    """The axis of the meshes that points up."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that commands share; without an ``output`` the data set is written to its folder ``tasks``."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the task's splits, made or completed; by default below the store, named by the settings."""
    workers: int | None = field(default=None, metadata=NO_EFFECT)
    """Number of Blender processes; by default one for each core."""
    blender: str | None = field(default=None, metadata=NO_EFFECT)
    """An installed Blender or a Python with bpy; see :func:`experiments.rendering.blender_command.worker_command`."""
    executor: Ray | None = field(default=None, metadata=NO_EFFECT)
    """The cluster whose nodes render, of which ``workers`` and ``blender`` speak then; None for this machine."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace a data set that was made with other settings or from another folder, or of more scenes."""

    def __post_init__(self) -> None:
        """Raises InputError for a number that is too small or too large, and what is no path or no choice."""
        convert_fields(self)
        check_sizes(self, "scenes", "views", "resolution", "samples", "seed")

    @classmethod
    def of(cls, preset: PresetName, task: Task, split: Split, **changes: Any) -> Settings:
        """The numbers of a preset with some changes, for instance ``Settings.of("nano", "glass", "test", scenes=4)``.

        Without ``scenes``, as many as the preset says, or with ``meshes`` as many as there are.

        Raises InputError for a preset or task that there is not, or a split that the task does not have.
        """
        sizes = preset_of(preset)
        check_split(preset, task, split)
        usual: dict[str, Any] = {
            "scenes": sizes.tasks.scenes[task, split] if changes.get("meshes") is None else None,
            "views": sizes.tasks.views[task, split],
            "resolution": sizes.rendering.resolution,
            "samples": sizes.tasks.train_samples if split == "train" else sizes.tasks.test_samples,
            "turn": None if task == "faces" else sizes.tasks.head_turn if task == "heads" else sizes.tasks.turn,
        }
        return cls(task=task, split=split, **{**usual, **changes})

    @property
    def label(self) -> str:
        """A name that the data of other settings do not have, but for views and samples."""
        source = f"_{self.meshes.name}_{self.up}up" if self.meshes is not None else ""
        turn = f"_{self.turn:g}deg" if self.turn else ""
        return f"{self.task}{source}{turn}_{self.resolution}px_seed{self.seed}"

    @property
    def task_folder(self) -> Path:
        """Folder of the task's splits, and of the bodies and pictures that they share."""
        return self.store / "tasks" / self.label if self.output is None else self.output

    @property
    def stored(self) -> TaskSettings:
        """The part of the settings that decides about every byte of a scene, as data sets store it."""
        return TaskSettings(
            task=self.task,
            split=self.split,
            seed=self.seed,
            views=self.views,
            resolution=self.resolution,
            samples=self.samples,
            turn=self.turn,
            meshes=None if self.meshes is None else os.path.abspath(self.meshes),
            up="z" if self.meshes is not None and self.up == "z" else msgspec.UNSET,
        )


_IN_TASK_FOLDER = (*get_args(Split), "bodies", "pictures")
"""What a task's folder holds: its splits, and what their scenes are made of."""

_BODIES = ("anny", "warp")
_MADE_WITH: Mapping[tuple[Task, Split], tuple[str, ...]] = {
    ("humans", "train"): _BODIES,
    ("humans", "test"): _BODIES,
    ("humans", "cross_domain"): _BODIES,
    ("faces", "test"): ("skimage",),
    ("heads", "train"): _BODIES,
}
"""Packages of the extra ``tasks``, by what they make."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A split whose scenes were recorded with a camera; :meth:`of` fills in the numbers of a preset."""

    layout: Layout
    """How the recordings lie on disk."""
    source: Path
    """Folder of the recorded scenes."""
    task: Task
    """The task that the scenes are for; ClearPose is of glass."""
    split: Split
    """The part of the task's data: of ClearPose it chooses the scenes, captures are all of the split that is named."""
    views: int
    """Number of views of each scene, evenly spread over its frames."""
    resolution: int
    """Width and height of the pictures in pixels."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that commands share; without an ``output`` the data set is written to its folder ``tasks``."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the task's splits, made or completed; by default below the store, named by the task."""
    conventions: Conventions = field(default_factory=Conventions)
    """What the numbers of captures mean."""
    accept: bool = field(default=False, metadata=NO_EFFECT)
    """Convert captures whose views disagree, too."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace a data set that was made with other settings or from another folder, or of more scenes."""

    def __post_init__(self) -> None:
        """Raises InputError for a number that is too small or too large, and what is no path or no choice."""
        convert_fields(self)
        check_sizes(self, "views", "resolution")

    @classmethod
    def of(
        cls, preset: PresetName, layout: Layout, source: StrPath, task: Task, split: Split, **changes: Any
    ) -> Recording:
        """The numbers of a preset with some changes; raises InputError as :meth:`Settings.of`."""
        sizes = preset_of(preset)
        check_split(preset, task, split)
        usual: dict[str, Any] = {
            "views": sizes.tasks.views[task, split],
            "resolution": sizes.rendering.resolution,
        }
        return cls(layout=layout, source=path_of(source, "source"), task=task, split=split, **{**usual, **changes})

    @property
    def task_folder(self) -> Path:
        """Folder of the task's splits."""
        return self.store / "tasks" / self.task if self.output is None else self.output


@dataclass(frozen=True)
class Prepared:
    """A data set that is finished."""

    folder: Path
    """Folder of the data set, which :class:`experiments.data.dataset.Dataset` reads."""
    scenes: int
    """Number of scenes that there are."""
    failed: int
    """Number of scenes that could not be rendered; the manifest lists them."""
    written: int
    """Number of scenes that were rendered or converted now; 0 if there was nothing to do."""
    has_poses: bool
    """Whether it is known where the cameras stood. Otherwise only depth can be evaluated."""
    seconds: float
    """Duration of this call."""
    checks: Mapping[str, Check] = field(default_factory=dict)
    """Of recorded scenes that were converted now, by name: how far their views agree."""


def splits_of(preset: PresetName, task: Task) -> list[Split]:
    """The splits that a task has; raises InputError for a preset or task that there is not."""
    check_choice(task, get_args(Task), "task")
    return [split for known, split in preset_of(preset).tasks.scenes if known == task]


def check_split(preset: PresetName, task: Task, split: Split) -> None:
    """Raises InputError for a preset or task that there is not, or a split that the task does not have."""
    known = splits_of(preset, task)
    if split not in known:
        raise InputError(f"the task {task} has no split {split}; it has {', '.join(known)}", argument="split")


def check_extra(task: Task, split: Split) -> None:
    """Raises InputError if a package of the extra ``tasks`` is missing that the stand-in for a split is made with."""
    for name in _MADE_WITH.get((task, split), ()):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is missing, which makes the data of {task} ({split}): pip install -e '.[tasks]'")


def prepare(settings: Settings | Recording, reporter: Reporter = SILENT) -> Prepared:
    """Make a split's data set, or what is missing of it.

    Args:
        settings: of what is rendered, or of what was recorded.
        reporter: is told of scenes that fail and of progress.

    Raises:
        InputError: meshes or recordings that cannot be used, a folder with something else, nothing that can be rendered, or
            the extra ``tasks`` is missing. Recorded scenes that are finished stay, and are not converted again.
        OSError: no Blender, or something cannot be read or written.
    """
    start = time.perf_counter()
    files.check_ours(settings.task_folder, _IN_TASK_FOLDER)
    made = _convert(settings, reporter) if isinstance(settings, Recording) else _render(settings, reporter)
    return replace(made, seconds=time.perf_counter() - start)


def _convert(settings: Recording, reporter: Reporter) -> Prepared:
    from experiments.tasks.recordings.conversion import convert

    converted = convert(
        settings.layout,
        settings.task,
        settings.split,
        settings.source,
        settings.task_folder / settings.split,
        settings.resolution,
        settings.views,
        settings.conventions,
        accept=settings.accept,
        overwrite=settings.overwrite,
        reporter=reporter,
    )
    return Prepared(
        folder=converted.folder,
        scenes=converted.scenes,
        failed=0,
        written=converted.written,
        has_poses=converted.has_poses,
        seconds=0.0,
        checks=converted.checks,
    )


def _render(settings: Settings, reporter: Reporter) -> Prepared:
    from experiments.rendering import runs  # now, as --help should not wait for SciPy
    from experiments.rendering.places import Place
    from experiments.rendering.pool import Executor

    meshes = _meshes(settings)
    scenes = _number_of_scenes(settings, meshes)
    folder = settings.task_folder / settings.split
    place = Place(settings.executor, settings.blender, settings.workers, settings.resolution, folder)
    place.check(scenes)

    def executor() -> AbstractContextManager[Executor]:
        return place.executor(reporter)

    def scene_maker() -> runs.SceneMaker:
        from experiments.tasks.makers import task_scenes
        from experiments.tasks.naming import Name

        make = task_scenes(settings.stored, settings.task_folder, scenes, settings.up, executor, reporter)

        def make_scene(dataset: int, scene: int, attempt: int) -> Scene:
            return make(Name(settings.stored, dataset, scene, attempt))

        return make_scene

    outcome = runs.generate(
        folder,
        settings.stored,
        1,
        scenes,
        scene_maker,
        executor,
        overwrite=settings.overwrite,
        sources=None if settings.meshes is None or meshes is None else _sources(settings.meshes, meshes),
        reporter=reporter,
    )
    return Prepared(
        folder=folder / dataset_name(0),
        scenes=outcome.scenes,
        failed=outcome.failed,
        written=outcome.rendered,
        has_poses=True,
        seconds=0.0,
    )


def _meshes(settings: Settings) -> list[Path] | None:
    if settings.meshes is None:
        return None
    if settings.task != "humans":
        raise InputError(f"meshes are scans of people: they go with the task humans, not {settings.task}")
    from experiments.tasks.scans import find_meshes

    return find_meshes(settings.meshes)


def _number_of_scenes(settings: Settings, meshes: Sequence[Path] | None) -> int:
    """As many as there are meshes, where these are given and no number is."""
    if meshes is None:
        if settings.scenes is None:
            raise InputError("the number of scenes is missing")
        return settings.scenes
    if settings.scenes is not None and settings.scenes > len(meshes):
        raise InputError(f"scenes={settings.scenes} is more than the {len(meshes)} meshes that {settings.meshes} holds")
    return len(meshes) if settings.scenes is None else settings.scenes


def _sources(folder: Path, meshes: Sequence[Path]) -> Sources:
    from experiments.scenes import mesh_files

    return Sources(
        folder=folder,
        known=lambda scene: [meshes[scene]],
        read=lambda scene: mesh_files.files_of(meshes[scene]),
    )
