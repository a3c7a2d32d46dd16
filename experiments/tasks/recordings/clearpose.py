"""ClearPose (Chen et al., ECCV 2022) as its owners distribute it: transparent objects before an Intel RealSense L515.

::

    set1/scene1/
        000000-color.png        640 × 480
        000000-depth.png        what the camera measured, which is wrong on glass
        000000-depth_true.png   the same, with the depth of the objects' fitted meshes drawn over it: the truth here
        000000-label.png        the object at a pixel, 0 for none
        metadata.mat            a struct for each frame, named by its number

Where that is known from: files and numbers of sets are what the owners' loader reads (github.com/opipari/ClearPose,
``clearpose/he_ffb6d/ffb6d/datasets/clearpose/clearpose_dataset.py``), as are the fields ``intrinsic_matrix`` (pixels) and
``factor_depth`` (a stored depth divided by it is in metres; 1000). Their labels 1 to 63 are the transparent objects
(``clearpose/he_ffb6d/ffb6d/common.py``); a label above can only be of one of the opaque objects that stand between them.
``rotation_translation_matrix`` is [R | t] from the camera's frame (x right, y down, z forward, metres) to the scene's: the
program that labelled the frames computes an object's pose in a frame as its inverse times the object's pose in the
scene. Their loader unprojects pixels with integer centres, the convention of RealSense and of this project.

Our choices, as the paper does not name its own:

- Views are spread evenly over a scene's video.
- The paper trains on 32 of the 51 scenes: see :data:`TRAINING`. All other scenes are for tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.data.manifest import Split
from experiments.data.recorded import RecordedScene, RecordedView
from experiments.tasks.recordings.mat_files import read_frames
from experiments.tasks.recordings.source_files import evenly, picture_size, read_color, read_map
from subspace.errors import InputError

TRAINING = frozenset(
    f"set{number}/scene{scene}"
    for number, scenes in {
        1: (1, 2, 3, 4), 4: (1, 2, 3, 4, 5), 5: (1, 2, 3, 4, 5), 6: (1, 2, 3, 4, 5), 7: (1, 2, 3, 4, 5),
        2: (1, 3, 4), 3: (1, 3, 4), 8: (1, 2),
    }.items()
    for scene in scenes
)  # fmt: skip
"""The 24 scenes that the owners train on (sets 1 and 4 to 7), and 8 of the sets that they only test on, so that scenes of
every kind are on both sides. None of the owners' tests on sets 1 and 4 to 7 is among them."""
TRANSPARENT = range(1, 64)
"""Labels of transparent objects."""

_FIELDS = ("intrinsic_matrix", "factor_depth", "rotation_translation_matrix")
_SCENE = re.compile(r"set(\d+)/scene(\d+)")


def clearpose_scenes(source: Path, split: Split, views: int) -> list[RecordedScene]:
    """The scenes of one side, those of them that are there.

    Those to train on come scene by scene through all sets, so that the last ones, which are held out to validate on, leave
    scenes of every set; those to test on come set by set.

    Args:
        source: the folder with ``set1``, ``set2``, ….
        split: ``"train"`` or ``"test"``.
        views: to take of each scene.

    Raises:
        InputError: there is no such side or scene, or a scene has fewer frames.
    """
    if split not in ("train", "test"):
        raise InputError(f"ClearPose has the splits train and test, not {split}")
    found = [
        (int(match[1]), int(match[2]), path)
        for path in source.glob("set*/scene*")
        if path.is_dir() and (match := _SCENE.fullmatch(path.relative_to(source).as_posix()))
    ]
    through_sets = split == "train"
    paths = [path for *_, path in sorted(found, key=lambda each: each[1::-1] if through_sets else each[:2])]
    chosen = [path for path in paths if (path.relative_to(source).as_posix() in TRAINING) == (split == "train")]
    if not chosen:
        there = f"only {len(paths)} of the other split" if paths else "no setN/sceneM"
        raise InputError(f"{source} has no ClearPose scenes for {split}: there is {there}")
    return [_scene(path, source, views) for path in chosen]


def _scene(folder: Path, source: Path, views: int) -> RecordedScene:
    frames = sorted(path.name.removesuffix("-color.png") for path in folder.glob("*-color.png"))
    chosen = evenly(frames, views, folder)
    files = [folder / f"{frame}-{kind}.png" for frame in chosen for kind in ("color", "depth_true", "label")]
    return RecordedScene(
        name=folder.relative_to(source).as_posix(),
        num_views=views,
        has_poses=True,
        read=lambda view: _read(folder, chosen[view], chosen),
        files=[path for path in [*files, folder / "metadata.mat"] if path.is_file()],
    )


def _read(folder: Path, frame: str, frames: Sequence[str]) -> RecordedView:
    facts = _metadata(folder / "metadata.mat", frame, frames)
    depth_file = folder / f"{frame}-depth_true.png"
    labels = read_map(folder / f"{frame}-label.png")
    rotation, centre = np.split(facts["rotation_translation_matrix"], [3], axis=1)
    picture = folder / f"{frame}-color.png"
    return RecordedView(
        name=frame,
        depth_file=depth_file,
        size=picture_size(picture),
        read_image=lambda: read_color(picture),
        depth=read_map(depth_file, sixteen_bits=True) / facts["factor_depth"].item(),
        intrinsics=facts["intrinsic_matrix"],
        world_to_camera=np.concatenate([rotation.T, -rotation.T @ centre], axis=1),
        object_ids=labels,
        glass=np.isin(labels, TRANSPARENT),
    )


def _metadata(path: Path, frame: str, frames: Sequence[str]) -> dict[str, np.ndarray]:
    """The :data:`_FIELDS` of a frame; those of all ``frames`` are read at once."""
    if not path.is_file():
        raise InputError(f"{path} is missing")
    shapes = dict(zip(_FIELDS, ((3, 3), (), (3, 4)), strict=True))
    content = read_frames(path, frames, _FIELDS)
    if frame not in content:
        raise InputError(f"{path} says nothing about '{frame}' of frame {frame}")
    facts = content[frame]
    if absent := [name for name in _FIELDS if name not in facts]:
        raise InputError(f"{path} says nothing about '{absent[0]}' of frame {frame}")
    for name, shape in shapes.items():
        if facts[name].shape != shape:
            raise InputError(f"{path}: {name} of frame {frame} has shape {facts[name].shape}, not {shape}")
    if not (facts["factor_depth"] > 0 and np.isfinite(facts["factor_depth"])):
        raise InputError(f"{path}: factor_depth of frame {frame} is {facts['factor_depth']}")
    return facts
