"""The data of the paper's downstream tasks (Section 5), as stand-ins that are rendered here, without anything to download.

``python -m experiments.prepare --task=glass --split=test`` writes ``runs/tasks/glass_…/test/dataset_00``, a data set like
those of ``experiments.generate``: resumable, hashed, with a contact sheet. The tasks are

- ``faces``: trained on rooms seen by a camera that hardly moves; tested on flat prints of faces before such a camera, whose
  mask is where a print shows the face. The faces are a photo from scikit-image and rendered heads;
- ``humans``: clothed bodies seen from all around, in place of THuman 2.1 (``train``, ``test``: adults) and 2K2K
  (``cross_domain``: children, the old, other builds). ``--meshes=FOLDER`` renders real scans instead, the same way;
- ``glass``: bottles, cups and bowls on a table, in place of ClearPose, with the depth of the first glass surface;
- ``heads``: rendered heads seen from several places before them, ``train`` only. It is no task of the paper's: a base model
  that was trained on it too (``experiments.pretrain --data``) has the prior that the printed faces deceive.

A command that is complete does nothing. Where files of ``--meshes`` or ``--source`` have changed since, the scenes that were
made from them are made again; data sets of other settings or folders are replaced only with ``--overwrite``.

The bodies and faces need ``pip install -e '.[tasks]'``. Recorded data become such data sets by ``--source=FOLDER``:
``--layout=clearpose`` reads ClearPose as its owners distribute it, ``--layout=captures`` your own pictures with depth. How
far the views of each scene agree is printed; captures whose views disagree are not converted, and the likeliest of
``--depth_scale``, ``--pose``, ``--axes``, ``--pose_scale`` and ``--intrinsics_size`` is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from absl import flags

from experiments.cluster.flags import DEFINE_executor, executor_of
from experiments.data.manifest import Split, Task
from experiments.presets import PRESETS
from experiments.process.command_line import DEFINE_path, DEFINE_path_or_name, InputError, refuse, run
from experiments.process.reporting import console
from experiments.scenes.schema import MOST_SAMPLES, MOST_SCENES
from experiments.storage.store_flags import DEFINE_store
from experiments.tasks import Prepared, Recording, Settings, prepare
from experiments.tasks.preparation import check_split, splits_of
from experiments.tasks.recordings import Layout
from experiments.tasks.recordings.conventions import Axes, Conventions, Pose

_NUMBERS = ("scenes", "views", "resolution", "samples")
_CONVENTIONS = ("depth_scale", "pose", "axes", "pose_scale")
_OF_RENDERED_SCENES = ("meshes", "scenes", "samples", "seed", "workers", "blender", "executor", "retries")


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.task is None:
        raise InputError(f"--task is missing: {', '.join(get_args(Task))}")
    if given.split != "all":
        check_split(given.preset, given.task, given.split)
    if given.meshes is not None and (given.task != "humans" or given.split == "all"):
        raise InputError("--meshes=FOLDER goes with --task=humans and one --split, whose scans the folder holds")
    if given.source is None:
        refuse(("layout", *_CONVENTIONS, "intrinsics_size", "accept"), "without --source")
    if given.meshes is None:
        refuse(["up"], "without --meshes")
    reporter = console()
    for settings in [_recording()] if given.source is not None else _rendered():
        print(closing_line(settings, prepare(settings, reporter)))


def closing_line(settings: Settings | Recording, made: Prepared) -> str:
    """What was written, for people."""
    content = f"{made.scenes} scenes × {settings.views} views of {settings.resolution}×{settings.resolution} pixels"
    failed = f"; {made.failed} scene(s) could not be rendered, see manifest.json" if made.failed else ""
    alone = "" if made.has_poses else ", without poses, to be evaluated on depth"
    if not made.written:
        return f"nothing to do: {made.folder} holds {content}{alone}{failed}"
    sheet = f"look at {made.folder}/contact_sheet.png"
    return f"wrote {content}{alone} to {made.folder} in {made.seconds:.0f} s{failed}; {sheet}"


def _rendered() -> list[Settings]:
    """Of each split that is asked for."""
    given = flags.FLAGS
    changes = {
        **_chosen(_NUMBERS),
        "seed": given.seed,
        "meshes": given.meshes,
        "up": given.up,
        "store": given.store,
        "output": given.output,
        "workers": given.workers,
        "blender": given.blender,
        "executor": executor_of(),
        "overwrite": given.overwrite,
    }
    splits = splits_of(given.preset, given.task) if given.split == "all" else [given.split]
    return [Settings.of(given.preset, given.task, split, **changes) for split in splits]


def _recording() -> Recording:
    """Recorded scenes in place of rendered ones."""
    given = flags.FLAGS
    if given.layout is None or given.split == "all":
        raise InputError("--source=FOLDER goes with --layout and one --split")
    refuse(_OF_RENDERED_SCENES, "with --source: recorded scenes are not rendered")
    return Recording.of(
        given.preset,
        given.layout,
        given.source,
        given.task,
        given.split,
        **_chosen(("views", "resolution")),
        conventions=Conventions(**_chosen(_CONVENTIONS), intrinsics_size=_size(given.intrinsics_size)),
        accept=given.accept,
        store=given.store,
        output=given.output,
        overwrite=given.overwrite,
    )


def _size(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    if not (match := re.fullmatch(r"(\d+)[x×](\d+)", given)):
        raise InputError(f"--intrinsics_size={given} is no WIDTHxHEIGHT, such as 1920x1440")
    return int(match[1]), int(match[2])


def _chosen(names: Sequence[str]) -> dict[str, Any]:
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].value is not None}


if __name__ == "__main__":
    flags.DEFINE_enum("preset", "nano", list(PRESETS), "default numbers: nano for CPUs, vggt_1b as in the paper")
    flags.DEFINE_enum("task", None, list(get_args(Task)), "whose data")
    flags.DEFINE_enum("split", "all", [*get_args(Split), "all"], "which part; only humans have cross_domain")
    DEFINE_path("source", None, "folder of recorded scenes, converted in place of rendering any")
    flags.DEFINE_enum("layout", None, list(get_args(Layout)), "how --source lies on disk")
    flags.DEFINE_float(
        "depth_scale", None, "of --source: stored depths in a metre; by default 1000 for integers, else 1"
    )
    flags.DEFINE_enum("pose", None, list(get_args(Pose)), "of --source: what its poses are; by default camera_to_world")
    flags.DEFINE_enum("axes", None, list(get_args(Axes)), "of --source: axes of the poses' cameras; by default opencv")
    flags.DEFINE_float("pose_scale", None, "of --source: units of its poses in a metre; by default 1")
    flags.DEFINE_string(
        "intrinsics_size",
        None,
        "of --source: WIDTHxHEIGHT of the pictures that the intrinsics are of, by default the frames'; 1x1 if normalised",
    )
    flags.DEFINE_boolean("accept", False, "convert scenes of --source whose views disagree, too")
    DEFINE_path(
        "meshes",
        None,
        "folder of textured scans (OBJ, GLB, PLY), at any depth, rendered in place of the stand-in's bodies",
    )
    flags.DEFINE_enum("up", "y", ["y", "z"], "the axis of --meshes that points up")
    flags.DEFINE_integer(
        "scenes", None, "scenes of each split (nano: train 144, of glass 48)", lower_bound=1, upper_bound=MOST_SCENES
    )
    flags.DEFINE_integer("views", None, "views of each scene (nano 7 to 16, vggt_1b 42 to 100)", lower_bound=1)
    flags.DEFINE_integer("resolution", None, "width and height in pixels (nano 96, vggt_1b 518)", lower_bound=14)
    flags.DEFINE_integer(
        "samples", None, "light paths per pixel (train 4, test 16)", lower_bound=1, upper_bound=MOST_SAMPLES
    )
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    DEFINE_store("folder that commands share")
    DEFINE_path(
        "output",
        None,
        "folder to make or to complete; by default below STORE/tasks, named by task, resolution and seed",
    )
    flags.DEFINE_integer("workers", None, "Blender processes; by default one for each core", lower_bound=1)
    DEFINE_path_or_name(
        "blender", None, "an installed Blender 4.5 or 5.0, or a Python with bpy; by default uv makes an environment"
    )
    DEFINE_executor()
    flags.DEFINE_boolean("overwrite", False, "replace data sets of other settings, of other sources or of more scenes")
    run(main)
