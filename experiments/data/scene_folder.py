"""One scene on disk: written once, complete; verified by its record."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool
from PIL import Image

from experiments.data.inputs import InputFile
from experiments.data.passes import Passes
from experiments.data.tone_mapping import luminance, to_srgb, white_level
from experiments.scenes import schema
from experiments.storage import files
from subspace.errors import InputError
from vggt_jax.pixels import from_corner

RECORD = "record.json"

CAMERA_CONVENTIONS = {
    "world_to_camera": "3x4 [R | t], x_camera = R x_world + t; OpenCV axes: x right, y down, z forward; metres",
    "intrinsics": "3x3 in pixels; the centre of the upper left pixel is (0, 0), add 0.5 to the principal point for COLMAP",
}
"""What the entries of ``cameras.json`` mean; written into the file."""


class SceneRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``record.json``."""

    attempt: int
    """Number of the attempt that succeeded, from 0."""
    renderer: str
    """Program and version, e.g. "Blender 4.5.15"."""
    seconds: float
    """Duration in seconds from the worker's start on the scene to its answer."""
    build_seconds: float
    """Part of ``seconds`` that was spent on building the scene."""
    writing_seconds: float
    """Duration in seconds of reading the passes, tone mapping, compressing and writing."""
    peak_memory_gb: float
    """Largest memory of the worker so far, in gigabytes."""
    failures: tuple[str, ...]
    """Errors of the attempts before the one that succeeded."""
    files: dict[str, str]
    """SHA-256 of every other file of the folder, by path."""
    inputs: dict[str, InputFile | None] | msgspec.UnsetType = msgspec.UNSET
    """The user's files that the scene was made from, by path in the folder that was named; unset where there are none."""


_Row3 = tuple[float, float, float]
_Row4 = tuple[float, float, float, float]


class CameraOfView(msgspec.Struct, frozen=True, kw_only=True):
    """A view in ``cameras.json``, which may say more of it."""

    intrinsics: tuple[_Row3, _Row3, _Row3]
    """See :data:`CAMERA_CONVENTIONS`."""
    world_to_camera: tuple[_Row4, _Row4, _Row4]
    """See :data:`CAMERA_CONVENTIONS`."""


class CameraFile(msgspec.Struct, frozen=True, kw_only=True):
    """``cameras.json``, as far as it is read."""

    views: tuple[CameraOfView, ...]
    """In the order of the views."""


def view_files(view: int) -> tuple[str, str]:
    """Image and arrays of a view, as paths in the scene's folder."""
    return f"images/{view:06d}.png", f"arrays/{view:06d}.npz"


def camera_arrays(cameras: schema.Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (V, 3, 3) and extrinsics (V, 3, 4), float64, as in ``cameras.json``."""
    described = [[[view.fx, 0, view.cx], [0, view.fy, view.cy], [0, 0, 1]] for view in cameras.views]
    extrinsics = [np.reshape(view.world_to_camera, (3, 4)) for view in cameras.views]
    return from_corner(np.array(described, np.float64)), np.array(extrinsics, np.float64)


def write_views(
    folder: Path,
    scene: schema.Scene,
    read: Callable[[int], Passes],
    mask: Callable[[int, Passes], Bool[np.ndarray, "h w"]] | None = None,
) -> None:
    """Write everything about a scene but its record.

    Args:
        folder: an empty folder.
        scene: what was rendered.
        read: the passes of a view. Called twice for each view, as the exposure depends on all of them and long scenes
            need not fit into memory.
        mask: of a view, given its passes: the pixels that count when the scene's task is evaluated; none are stored by
            default. Pixels without a surface never count.

    Raises:
        InputError: passes of the wrong size, black or not finite, or with objects that the scene does not have.
        OSError: the folder cannot be written.
    """
    make_folders(folder)
    (folder / "spec.json").write_bytes(schema.to_json(scene))
    intrinsics, extrinsics = camera_arrays(scene.cameras)
    cameras = [
        {"intrinsics": k.tolist(), "world_to_camera": e.tolist()} for k, e in zip(intrinsics, extrinsics, strict=True)
    ]
    write_cameras(folder, scene.cameras.width, scene.cameras.height, cameras)
    is_glass = np.array([False, *(_is_glass(scene, item) for item in scene.objects)])
    brightness = []
    views = range(len(scene.cameras.views))
    for view in views:
        passes = read(view)
        _check(scene, passes, view)
        brightness.append(luminance(passes.color[passes.valid]))
        arrays = {
            "depth": passes.depth,
            "valid": passes.valid,
            "normal": passes.normal.astype(np.float16),
            "object_id": passes.object_id,
            "glass": is_glass[passes.object_id],
        }
        if mask is not None:
            arrays["mask"] = passes.valid & mask(view, passes)
        write_arrays(folder / view_files(view)[1], arrays)
    white = white_level(brightness, scene.render.exposure_percentile)
    for view in views:
        Image.fromarray(to_srgb(read(view).color, white)).save(folder / view_files(view)[0])


def make_folders(folder: Path) -> None:
    """The folders of :func:`view_files`, in a scene's empty one."""
    (folder / "images").mkdir()
    (folder / "arrays").mkdir()


def write_cameras(folder: Path, width: int, height: int, views: Sequence[Mapping[str, Any]]) -> None:
    """Write ``cameras.json``.

    Args:
        folder: of the scene.
        width: of the pictures, pixels.
        height: likewise.
        views: ``intrinsics`` and ``world_to_camera`` of each as nested lists, see :data:`CAMERA_CONVENTIONS`, and what else
            there is to say about it.

    Raises OSError if it cannot be written.
    """
    content = {
        "conventions": CAMERA_CONVENTIONS,
        "width": width,
        "height": height,
        "views": [dict(view) for view in views],
    }
    files.write_json(folder / "cameras.json", content)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of a view; see :mod:`experiments.data` for their names.

    Raises OSError if it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    path.write_bytes(content.getvalue())  # at once, as zipfile seeks back and forth


def write_record(folder: Path, **measured: Any) -> SceneRecord:
    """Hash the files of a scene and write ``record.json``; ``measured`` are the other fields of :class:`SceneRecord`."""
    record = SceneRecord(**measured, files=files.hashes(folder))
    files.write_json(folder / RECORD, msgspec.to_builtins(record))
    return record


def read_record(folder: Path) -> SceneRecord:
    """Read ``record.json``.

    Raises:
        InputError: it is damaged.
        OSError: it cannot be read.
    """
    return files.read_json(folder / RECORD, SceneRecord)


def find_damage(folder: Path, record: SceneRecord, everything: bool) -> str | None:
    """What is wrong with a scene's files, or None.

    Args:
        folder: of the scene.
        record: of the scene.
        everything: hash every file. Otherwise only those that were changed after the record was written, which finds
            all but silent faults of the disk.
    """
    written = (folder / RECORD).stat().st_mtime_ns
    for name, expected in record.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if (everything or path.stat().st_mtime_ns >= written) and files.sha256(path) != expected:
            return f"{path} is damaged"
    return None


def _is_glass(scene: schema.Scene, item: schema.Object) -> bool:
    return scene.materials[item.material % len(scene.materials)].transmission > 0


def _check(scene: schema.Scene, passes: Passes, view: int) -> None:
    expected = (scene.cameras.height, scene.cameras.width)
    if passes.depth.shape != expected:
        raise InputError(f"view {view} was rendered with {passes.depth.shape} pixels in place of {expected}")
    if passes.object_id.max(initial=0) > len(scene.objects):
        raise InputError(f"view {view} shows object {passes.object_id.max()} of {len(scene.objects)}")
