"""Recorded data sets of other people, converted once to this project's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from experiments.data.manifest import RecordedSettings, Split, Task
from experiments.data.production import dataset_name
from experiments.data.recorded import RecordedScene, write_recorded
from experiments.process.reporting import SILENT, Reporter
from experiments.tasks.recordings import Layout
from experiments.tasks.recordings.captures import capture_scenes
from experiments.tasks.recordings.clearpose import clearpose_scenes
from subspace.errors import InputError


@dataclass(frozen=True)
class Converted:
    """A data set of recorded scenes that is finished."""

    folder: Path
    """Folder of the data set."""
    scenes: int
    """Number of scenes that there are."""
    written: int
    """Number of scenes that were converted now."""
    has_poses: bool
    """Whether it is known where the cameras stood."""


def convert(
    layout: Layout,
    task: Task,
    split: Split,
    source: Path,
    output: Path,
    resolution: int,
    views: int,
    *,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> Converted:
    """Write ``dataset_00`` of recorded scenes, or what an interrupted run left out.

    Args:
        layout: of the source.
        task: what the scenes are for; ClearPose is of glass.
        split: of ClearPose it chooses the scenes (:data:`experiments.tasks.recordings.clearpose.TRAINING`); captures are all of
            the split that is named.
        source: folder of the recorded scenes.
        output: folder to make or to complete.
        resolution: width and height, pixels.
        views: of each scene, evenly spread over its frames.
        overwrite: replace a data set of other settings, from another folder, or of more scenes.
        reporter: is told what is damaged or has changed, and of progress.

    Raises:
        InputError: unusable settings, a source of another layout, or one that is damaged, with the file's name; an output
            that holds something else. Scenes that are finished stay, and are not converted again.
        OSError: something cannot be read or written.
    """
    if layout not in get_args(Layout):
        raise InputError(f"layout={layout} is none of {', '.join(get_args(Layout))}")
    if not source.is_dir():
        raise InputError(f"{source} is no folder")
    if layout == "clearpose":
        if task != "glass":
            raise InputError(f"ClearPose shows transparent objects: its task is glass, not {task}")
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
    written = write_recorded(output, settings, source, scenes, overwrite=overwrite, reporter=reporter)
    return Converted(output / dataset_name(0), len(scenes), written, settings.poses)


def _have_poses(scenes: list[RecordedScene], source: Path) -> bool:
    known = [scene.name for scene in scenes if scene.has_poses]
    if known and len(known) < len(scenes):
        unknown = next(scene.name for scene in scenes if not scene.has_poses)
        raise InputError(f"{source}: {known[0]} has poses and {unknown} has none; convert them separately")
    return bool(known)
