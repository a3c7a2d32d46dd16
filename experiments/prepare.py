"""The data of the paper's downstream tasks (Section 5), as stand-ins that are rendered here, without anything to download.

``python -m experiments.prepare --task=glass --split=test`` writes ``runs/tasks/glass_…/test/dataset_00``, a data set like
those of :mod:`experiments.generate`: resumable, hashed, with a contact sheet. The tasks are

- ``faces``: trained on rooms seen by a camera that hardly moves; tested on flat prints of faces before such a camera, whose
  mask is where a print shows the face. The faces are a photo from scikit-image and rendered heads;
- ``humans``: clothed bodies seen from all around, in place of THuman 2.1 (``train``, ``test``: adults) and 2K2K
  (``cross_domain``: children, the old, other builds). ``--meshes=FOLDER`` renders real scans instead, the same way;
- ``glass``: bottles, cups and bowls on a table, in place of ClearPose, with the depth of the first glass surface.

The bodies and faces need ``pip install -e '.[tasks]'``. Recorded data become such data sets by ``--source=FOLDER``:
``--layout=clearpose`` reads ClearPose as its owners distribute it, ``--layout=captures`` your own pictures with depth
(:mod:`experiments.tasks.clearpose`, :mod:`experiments.tasks.captures`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from absl import flags

from experiments.data.manifest import Split, Task, TaskSettings
from experiments.presets import PresetName
from experiments.process.cores import available_cores
from experiments.rendering import runs
from experiments.rendering.blender_command import worker_command
from experiments.rendering.pool import LocalPool
from experiments.scenes.schema import Scene
from experiments.tasks.meshes import Axis
from subspace.errors import InputError
from weights_convert.command_line import run


@dataclass(frozen=True)
class Preset:
    """How much is rendered."""

    resolution: int
    train_samples: int
    """Paths per pixel."""
    test_samples: int
    scenes: dict[tuple[Task, Split], int]
    """The splits that there are. ``train`` has scenes to validate on: nano 16, vggt_1b 8 beside as many as the paper's."""
    views: dict[tuple[Task, Split], int]
    turn: float
    """Degrees of the circle about bodies and tables that the views are spread over."""


PRESETS: dict[PresetName, Preset] = {
    "nano": Preset(
        resolution=96,
        train_samples=4,
        test_samples=16,
        scenes={
            ("faces", "train"): 144, ("faces", "test"): 24,
            ("humans", "train"): 144, ("humans", "test"): 16, ("humans", "cross_domain"): 16,
            ("glass", "train"): 48, ("glass", "test"): 19,
        },
        views={
            ("faces", "train"): 8, ("faces", "test"): 7,
            ("humans", "train"): 16, ("humans", "test"): 8, ("humans", "cross_domain"): 8,
            ("glass", "train"): 8, ("glass", "test"): 8,
        },
        turn=90.0,
    ),
    "vggt_1b": Preset(
        resolution=518,
        train_samples=4,
        test_samples=16,
        scenes={
            ("faces", "train"): 208, ("faces", "test"): 50,
            ("humans", "train"): 2353, ("humans", "test"): 100, ("humans", "cross_domain"): 100,
            ("glass", "train"): 40, ("glass", "test"): 19,
        },
        views={
            ("faces", "train"): 100, ("faces", "test"): 42,
            ("humans", "train"): 96, ("humans", "test"): 96, ("humans", "cross_domain"): 96,
            ("glass", "train"): 100, ("glass", "test"): 100,
        },
        turn=360.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rendering:
    """By whom."""

    workers: int | None = None
    """Blender processes; by default one for each core."""
    blender: str | None = None
    """See :func:`experiments.rendering.blender_command.worker_command`."""

    def executor(self) -> LocalPool:
        workers = len(available_cores()) if self.workers is None else self.workers
        return LocalPool(worker_command(self.blender), workers)


def prepare(settings: TaskSettings, output: Path, scenes: int, rendering: Rendering, up: Axis = "y") -> str:
    """Make a split's data set.

    Args:
        settings: of it.
        output: the task's folder; the data set becomes ``SPLIT/dataset_00`` in it.
        scenes: how many.
        rendering: by whom.
        up: the up axis of ``settings.meshes``.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: unusable meshes, a folder with something else, or nothing that can be rendered.
        OSError: no Blender, the extra ``tasks`` is missing, or a folder cannot be written.
    """

    def scene_maker() -> runs.SceneMaker:
        from experiments.tasks.makers import task_scenes
        from experiments.tasks.naming import Name

        make = task_scenes(settings, output, scenes, up, rendering.executor)

        def make_scene(dataset: int, scene: int, attempt: int) -> Scene:
            return make(Name(settings, dataset, scene, attempt))

        return make_scene

    folder = output / settings.split
    outcome = runs.generate(folder, settings, 1, scenes, scene_maker, rendering.executor)
    content = f"{outcome.scenes} scenes × {settings.views} views of {settings.resolution}×{settings.resolution} pixels"
    failed = f"; {outcome.failed} scene(s) could not be rendered, see manifest.json" if outcome.failed else ""
    target = folder / runs.dataset_name(0)
    if not outcome.rendered:
        return f"nothing to do: {target} holds {content}{failed}"
    return f"wrote {content} to {target} in {outcome.seconds:.0f} s{failed}; look at {target}/contact_sheet.png"


def standin(task: Task, split: Split, preset: PresetName, store: Path, rendering: Rendering) -> tuple[Path, str]:
    """The folder of a split's data set at a preset's size, made where it is missing, and what :func:`prepare` says."""
    sizes = PRESETS[preset]
    settings = _settings(task, split, sizes)
    output = store / "tasks" / default_folder(settings)
    line = prepare(settings, output, sizes.scenes[task, split], rendering)
    return output / split / runs.dataset_name(0), line


def _settings(
    task: Task,
    split: Split,
    preset: Preset,
    *,
    views: int | None = None,
    resolution: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    meshes: str | None = None,
) -> TaskSettings:
    """With the preset's numbers for those that are None."""
    usual = preset.train_samples if split == "train" else preset.test_samples
    return TaskSettings(
        task=task,
        split=split,
        seed=seed,
        views=preset.views[task, split] if views is None else views,
        resolution=preset.resolution if resolution is None else resolution,
        samples=usual if samples is None else samples,
        turn=None if task == "faces" else preset.turn,
        meshes=meshes,
    )


def default_folder(settings: TaskSettings, up: Axis = "y") -> str:
    """A name that data with other settings do not have, but for views and samples."""
    source = f"_{Path(settings.meshes).name}_{up}up" if settings.meshes else ""
    turn = f"_{settings.turn:g}deg" if settings.turn else ""
    return f"{settings.task}{source}{turn}_{settings.resolution}px_seed{settings.seed}"


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    preset = PRESETS[given.preset]
    if given.task is None:
        raise InputError(f"--task is missing: {', '.join(get_args(Task))}")
    task: Task = given.task
    known = [split for split in get_args(Split) if (task, split) in preset.scenes]
    splits: list[Split] = known if given.split == "all" else [given.split]
    if splits[0] not in known:
        raise InputError(f"--task={task} has no --split={given.split}; it has {', '.join(known)}")
    if given.meshes is not None and (task != "humans" or given.split == "all"):
        raise InputError("--meshes=FOLDER goes with --task=humans and one --split, whose scans the folder holds")
    if given.source is not None:
        print(_convert(preset))
        return
    if given.layout is not None:
        raise InputError("--layout goes with --source")
    meshes = given.meshes and os.path.abspath(given.meshes)
    for split in splits:
        settings = _settings(
            task, split, preset,
            views=given.views, resolution=given.resolution, samples=given.samples, seed=given.seed, meshes=meshes,
        )  # fmt: skip
        output = given.output or f"runs/tasks/{default_folder(settings, given.up)}"
        rendering = Rendering(given.workers, given.blender)
        print(prepare(settings, Path(output), _scenes(settings, preset), rendering, given.up))


def _convert(preset: Preset) -> str:
    """Recorded scenes in place of rendered ones."""
    from experiments.tasks.recorded import convert

    given = flags.FLAGS
    if given.layout is None or given.split == "all":
        raise InputError("--source=FOLDER goes with --layout and one --split")
    for name in ("meshes", "scenes", "samples", "workers", "blender"):
        if given[name].value is not None:
            raise InputError(f"--{name} has no meaning for recorded scenes (--source)")
    output = Path(given.output or f"runs/tasks/{given.task}")
    views = preset.views[given.task, given.split] if given.views is None else given.views
    resolution = preset.resolution if given.resolution is None else given.resolution
    return convert(given.layout, given.task, given.split, Path(given.source), output / given.split, resolution, views)


def _scenes(settings: TaskSettings, preset: Preset) -> int:
    """As many as there are meshes, where these are given."""
    wanted: int | None = flags.FLAGS.scenes
    if settings.meshes is None:
        return preset.scenes[settings.task, settings.split] if wanted is None else wanted
    from experiments.tasks.meshes import find_meshes

    found = len(find_meshes(Path(settings.meshes)))
    if wanted is not None and wanted > found:
        raise InputError(f"--scenes={wanted}, but --meshes={settings.meshes} holds {found} meshes")
    return found if wanted is None else wanted


if __name__ == "__main__":
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "default numbers: nano for CPUs, vggt_1b as in the paper")
    flags.DEFINE_enum("task", None, list(get_args(Task)), "whose data")
    flags.DEFINE_enum("split", "all", [*get_args(Split), "all"], "which part; only humans have cross_domain")
    flags.DEFINE_string("source", None, "folder of recorded scenes, converted in place of rendering any")
    flags.DEFINE_enum("layout", None, ["clearpose", "captures"], "how --source lies on disk")
    flags.DEFINE_string(
        "meshes",
        None,
        "folder of textured scans (OBJ, GLB, PLY), at any depth, rendered in place of the stand-in's bodies",
    )
    flags.DEFINE_enum("up", "y", ["y", "z"], "the axis of --meshes that points up")
    flags.DEFINE_integer("scenes", None, "scenes of each split (nano: train 144, of glass 48)", lower_bound=1)
    flags.DEFINE_integer("views", None, "views of each scene (nano 7 to 16, vggt_1b 42 to 100)", lower_bound=1)
    flags.DEFINE_integer("resolution", None, "width and height in pixels (nano 96, vggt_1b 518)", lower_bound=14)
    flags.DEFINE_integer("samples", None, "light paths per pixel (train 4, test 16)", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    flags.DEFINE_string(
        "output", None, "folder to make or to complete; by default below runs/tasks, named by task, resolution and seed"
    )
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    flags.DEFINE_string(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    run(main)
