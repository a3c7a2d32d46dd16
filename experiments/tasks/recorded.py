"""Recorded data sets of other people, converted once to this project's format."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, get_args

from experiments.data.manifest import RecordedSettings, Split, Task
from experiments.data.production import dataset_name
from experiments.data.recorded import RecordedScene, write_recorded
from experiments.tasks.captures import capture_scenes
from experiments.tasks.clearpose import clearpose_scenes
from subspace.errors import InputError

Layout = Literal["clearpose", "captures"]
"""See :mod:`experiments.tasks.clearpose` and :mod:`experiments.tasks.captures`."""


def convert(layout: Layout, task: Task, split: Split, source: Path, output: Path, resolution: int, views: int) -> str:
    """Write ``dataset_00`` of recorded scenes, or what an interrupted run left out.

    Args:
        layout: of the source.
        task: what the scenes are for; ClearPose is of glass.
        split: of ClearPose, see :data:`experiments.tasks.clearpose.TRAINING`; captures are all of the split that is named.
        source: folder of the recorded scenes.
        output: folder to make or to complete.
        resolution: width and height, pixels.
        views: of each scene, evenly spread over its frames.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: unusable settings, a source of another layout, or one that is damaged, with the file's name; an output
            that holds something else. Scenes that are finished stay, and are not converted again.
        OSError: something cannot be read or written.
    """
    start = time.perf_counter()
    if layout not in get_args(Layout):
        raise InputError(f"--layout={layout} is none of {', '.join(get_args(Layout))}")
    if not source.is_dir():
        raise InputError(f"--source={source} is no folder")
    if layout == "clearpose":
        if task != "glass":
            raise InputError(f"ClearPose shows transparent objects: --task=glass, not {task}")
        scenes = clearpose_scenes(source, split, views)
    else:
        scenes = capture_scenes(source, views)
    settings = RecordedSettings(
        task=task,
        split=split,
        layout=layout,
        source=source.resolve().name,
        views=views,
        resolution=resolution,
        scenes=tuple(scene.name for scene in scenes),
        poses=_have_poses(scenes, source),
    )
    written = write_recorded(output, settings, scenes)
    folder = output / dataset_name(0)
    if not written:
        return f"nothing to do: {folder} has all {len(scenes)} scenes"
    alone = "" if settings.poses else " without poses, to be evaluated on depth"
    return (
        f"wrote {written} scenes × {views} views of {resolution}²{alone} to {folder} in {time.perf_counter() - start:.0f} s; "
        f"look at {folder}/contact_sheet.png"
    )


def _have_poses(scenes: list[RecordedScene], source: Path) -> bool:
    known = [scene.name for scene in scenes if scene.has_poses]
    if known and len(known) < len(scenes):
        unknown = next(scene.name for scene in scenes if not scene.has_poses)
        raise InputError(f"{source}: {known[0]} has poses and {unknown} has none; convert them separately")
    return bool(known)
