"""Scenes that were recorded with a camera, written as a data set: cropped, resized, with normals of their depth."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image
from tqdm import tqdm

from experiments.data.cropping import CentredSquare
from experiments.data.geometry import is_pinhole, is_rotation, normals_from_depth
from experiments.data.inputs import InputFile, Sources
from experiments.data.manifest import RecordedSettings, scene_name
from experiments.data.production import (
    Production,
    begin,
    dataset_name,
    examine,
    locked,
    may_continue,
    remove_datasets,
    source_folder,
    write_settings,
)
from experiments.data.scene_folder import (
    SceneRecord,
    make_folders,
    view_files,
    write_arrays,
    write_cameras,
    write_record,
)
from experiments.process.memory import most_resident
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import files, shared
from subspace.errors import InputError

_FARTHEST = 100.0
"""Distance of the first camera from the origin, in distances between cameras, that float32 holds to 1e-5 of these."""


@dataclass(frozen=True, kw_only=True)
class RecordedView:
    """A frame as it was recorded. Maps may have fewer pixels than the picture if they have its shape."""

    name: str
    """Name of the frame in its source."""
    depth_file: Path
    """File of the depth map, which messages name."""
    size: tuple[int, int]
    """Width and height of the picture."""
    read_image: Callable[[], UInt8[np.ndarray, "h w 3"]]
    """The picture in sRGB. Raises InputError or OSError that names the file."""
    depth: Float[np.ndarray, "dh dw"]
    """Distance along the camera's z axis in metres; 0 where it is unknown."""
    intrinsics: Float[np.ndarray, "3 3"]
    """Intrinsics in pixels of the picture; the centre of the upper left one is (0, 0)."""
    world_to_camera: Float[np.ndarray, "3 4"] | None
    """Transformation from the world to the camera in OpenCV's axes, metres; None where it is not known."""
    object_ids: Integer[np.ndarray, "oh ow"] | None = None
    """Labels of objects, 0 for none."""
    glass: Bool[np.ndarray, "gh gw"] | None = None
    """Pixels whose surface is transparent."""
    mask: Bool[np.ndarray, "mh mw"] | None = None
    """Pixels that count when the task is evaluated."""


@dataclass(frozen=True)
class RecordedScene:
    """A scene whose views are read one at a time."""

    name: str
    """Folder of the scene in the source."""
    num_views: int
    """Number of views that are taken of the scene."""
    has_poses: bool
    """Whether it is known where the cameras stood."""
    read: Callable[[int], RecordedView]
    """The view of a number. Raises InputError or OSError that names the file."""
    files: Sequence[Path]
    """The files that the views are read from, as far as they are there."""


def write_recorded(
    output: Path,
    settings: RecordedSettings,
    source: Path,
    scenes: Sequence[RecordedScene],
    *,
    check: Callable[[Sequence[int]], None] = lambda _: None,
    overwrite: bool = False,
    reporter: Reporter = SILENT,
) -> int:
    """Write ``dataset_00`` of recorded scenes, or what is missing of it.

    Scenes whose files have changed since are written again.

    Args:
        output: its folder; one that is not empty must have been begun with the same settings.
        settings: of the data set, with the names of the scenes.
        source: the folder that the scenes are read from.
        scenes: in this order, all with the settings' number of views.
        check: is called with the numbers of the scenes that are to be written, before anything is; may raise InputError.
        overwrite: replace a data set of other settings, from another folder, or of more scenes.
        reporter: is told what is damaged or has changed, and of progress.

    Returns:
        How many scenes were written; the others were there.

    Raises:
        InputError: the folder holds something else, or a view is unusable. Scenes that are finished stay.
        OSError: something cannot be read or written.
    """
    source = Path(os.path.abspath(source))
    sources = Sources(source, known=lambda scene: scenes[scene].files, read=lambda scene: scenes[scene].files)
    with locked(output, reporter):
        keep = may_continue(output, settings, overwrite)
        dataset = Production(output / dataset_name(0), 0)
        shared.fetch(dataset.folder)
        if keep:
            dataset = examine(dataset.folder, 0, len(scenes), overwrite=overwrite, sources=sources, reporter=reporter)
        before = source_folder(output) if keep else None
        if before not in (None, source):
            if dataset.changed and not overwrite:
                raise InputError(
                    f"{output} was made from {before}, and {source} holds others; name another output, or overwrite it"
                )
            write_settings(output, settings, source)  # the same recordings have moved
        missing = dataset.missing(len(scenes))
        if missing:
            check(missing)
            if not keep:
                remove_datasets(output)
            begin(output, settings, [dataset], source)
            with reporter.progress(len(missing) * settings.views, " views") as bar:
                for number in missing:
                    inputs = sources.inputs(number)  # before they are read: what changes meanwhile is noticed next time
                    folder = dataset.folder / scene_name(number)
                    dataset.scenes[number] = _write_scene(folder, settings, scenes[number], inputs, bar, reporter)
        if not dataset.finished:
            dataset.finish(settings)
    return len(missing)


def _write_scene(
    path: Path,
    settings: RecordedSettings,
    scene: RecordedScene,
    inputs: dict[str, InputFile | None],
    bar: tqdm,
    reporter: Reporter,
) -> SceneRecord:
    start = time.perf_counter()
    cameras = []
    with files.new_folder(path) as folder:
        make_folders(folder)
        for number in range(scene.num_views):
            view = scene.read(number)
            arrays, camera = convert_maps(view, settings.resolution)
            picture, maps = view_files(number)
            image = CentredSquare(*view.size, settings.resolution).picture(view.read_image())
            Image.fromarray(image).save(folder / picture)
            write_arrays(folder / maps, arrays)
            cameras.append({**camera, "frame": view.name})
            bar.update()
        far = _moved_near(cameras)
        if far is not None:
            reporter.info(
                f"{scene.name}: its cameras stand {far:,.0f} m from the origin; the first one is the origin now"
            )
        write_cameras(folder, settings.resolution, settings.resolution, cameras)
        seconds = time.perf_counter() - start
        return write_record(
            folder,
            attempt=0,
            renderer=f"recorded ({settings.layout})",
            seconds=seconds,
            build_seconds=0.0,
            writing_seconds=seconds,
            peak_memory_gb=most_resident() / 1e9,
            failures=(),
            inputs=inputs,
        )


def _moved_near(cameras: Sequence[dict[str, Any]]) -> float | None:
    """Move the world to the first camera if all stand far off, as in the coordinates of a map; how far, or None if they do not.

    Poses are read in float32: 447 km from the origin they would be off by 3 cm.
    """
    poses = np.array([camera["world_to_camera"] for camera in cameras])
    moved, centres = about_the_first(poses)
    far, apart = float(np.linalg.norm(centres[0])), float(np.ptp(centres, axis=0).max())
    if far <= _FARTHEST * (apart or 1.0):
        return None
    for camera, pose in zip(cameras, moved, strict=True):
        camera["world_to_camera"] = pose.tolist()
    return far


def about_the_first(
    poses: Float[np.ndarray, "v 3 4"],
) -> tuple[Float[np.ndarray, "v 3 4"], Float[np.ndarray, "v 3"]]:
    """Cameras in a world whose origin is the first one's centre, and the centres in the world as it was.

    Rotations are written with some decimals, so that their transposes are not quite their inverses: 5,400 km from the origin,
    in the coordinates of a map, six decimals are metres. So they are inverted here, and a transpose does afterwards.

    Args:
        poses: world to camera, in the unit of the world.
    """
    rotations, translations = poses[..., :3], poses[..., 3:]
    centres = np.linalg.solve(rotations, -translations)
    moved = np.concatenate([rotations, rotations @ (centres[0] - centres)], axis=-1)
    return moved, centres[..., 0]


def convert_maps(view: RecordedView, resolution: int) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """Crop the largest centred square and resize it to the nearest pixel; the picture, which has a filter, is not read.

    Args:
        view: as it was recorded.
        resolution: width and height, pixels.

    Returns:
        The arrays of ``arrays/*.npz`` and the intrinsics and extrinsics of ``cameras.json``, which are the identity where they
        are not known.

    Raises:
        InputError: a map of another shape than the picture's, a depth that is not finite or negative, or no camera.
    """
    if not (np.isfinite(view.depth) & (view.depth >= 0)).all():
        raise InputError(f"{view.depth_file} has a depth that is not finite or negative")
    square = CentredSquare(*view.size, resolution)
    given = {"depth": view.depth, "object_id": view.object_ids, "glass": view.glass, "mask": view.mask}
    maps: dict[str, np.ndarray] = {}
    for name, values in given.items():
        if values is not None:
            try:
                maps[name] = square.nearest(values)
            except InputError as error:
                raise InputError(f"{view.depth_file.parent}: {name} of frame {view.name}: {error}") from None
    _check_camera(view)
    intrinsics = square.intrinsics(view.intrinsics)
    extrinsics = np.eye(3, 4) if view.world_to_camera is None else view.world_to_camera
    depth = maps["depth"].astype(np.float32)
    valid = depth > 0
    nothing = np.zeros(depth.shape, bool)
    arrays = {
        "depth": depth,
        "valid": valid,
        "normal": normals_from_depth(depth, intrinsics).astype(np.float16),
        "object_id": np.where(valid, maps.get("object_id", nothing), 0).astype(np.uint16),
        "glass": valid & maps.get("glass", nothing),
    }
    if "mask" in maps:
        arrays["mask"] = valid & maps["mask"]
    camera = {"intrinsics": intrinsics.tolist(), "world_to_camera": extrinsics.tolist()}
    return arrays, camera


def _check_camera(view: RecordedView) -> None:
    scene = view.depth_file.parent.parent if view.depth_file.parent.name == "depth" else view.depth_file.parent
    if not is_pinhole(view.intrinsics):
        raise InputError(f"{scene}: frame {view.name} has intrinsics of no pinhole camera: {view.intrinsics.tolist()}")
    if view.world_to_camera is None:
        return
    if not np.isfinite(view.world_to_camera).all():
        raise InputError(f"{scene}: frame {view.name} has a pose with NaN or infinity")
    if not is_rotation(view.world_to_camera[:, :3]):
        raise InputError(f"{scene}: frame {view.name} has a pose that is no rotation and translation")
