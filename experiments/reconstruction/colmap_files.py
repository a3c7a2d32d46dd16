"""The files of a COLMAP model: cameras, images and points3D, binary or as text.

Numbers are written so that they read back exactly. COLMAP's documentation of its output has the layouts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from experiments.reconstruction.colmap import ColmapModel
from experiments.reconstruction.settings import CameraType

_TYPE_NUMBERS: dict[CameraType, int] = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2}
"""How COLMAP numbers types of cameras in binary files."""


def write_colmap(folder: Path, model: ColmapModel, *, text: bool = False) -> None:
    """Make ``folder`` with the three files, ``.bin`` or ``.txt``."""
    folder.mkdir(parents=True)
    if text:
        _write_text(folder, model)
    else:
        _write_binary(folder, model)


def _write_binary(folder: Path, model: ColmapModel) -> None:
    count = np.dtype("<u8")
    parameters = ("parameters", "<f8", model.parameters.shape[1])
    cameras = np.empty(len(model.sizes), [("id", "<u4"), ("type", "<i4"), ("size", "<u8", 2), parameters])
    cameras["id"] = np.arange(len(cameras)) + 1
    cameras["type"] = _TYPE_NUMBERS[model.type]
    cameras["size"], cameras["parameters"] = model.sizes, model.parameters
    with (folder / "cameras.bin").open("wb") as file:
        file.write(np.array(len(cameras), count).tobytes() + cameras.tobytes())

    first_points = model.first_points
    observations = np.empty(len(model.positions), [("pixel", "<f8", 2), ("point", "<u8")])
    observations["pixel"], observations["point"] = model.observed, np.arange(len(observations)) + 1
    poses = np.concatenate([model.quaternions, model.translations], axis=1)
    with (folder / "images.bin").open("wb") as file:
        file.write(np.array(len(model.names), count).tobytes())
        for image, name in enumerate(model.names):
            first, last = first_points[image : image + 2]
            file.write(_packed(("<u4", image + 1), ("<f8", poses[image]), ("<u4", model.cameras[image] + 1)))
            file.write(name.encode() + b"\0" + np.array(last - first, count).tobytes())
            file.write(observations[first:last].tobytes())

    track = np.dtype([("length", "<u8"), ("image", "<u4"), ("index", "<u4")])
    points = np.empty(
        len(model.positions),
        [("id", "<u8"), ("position", "<f8", 3), ("colour", "u1", 3), ("error", "<f8"), ("track", track)],
    )
    points["id"], points["position"], points["colour"] = observations["point"], model.positions, model.colours
    points["error"], points["track"]["length"], points["track"]["image"] = 0, 1, model.images + 1
    points["track"]["index"] = np.arange(len(points)) - first_points[model.images]
    with (folder / "points3D.bin").open("wb") as file:
        file.write(np.array(len(points), count).tobytes() + points.tobytes())


def _write_text(folder: Path, model: ColmapModel) -> None:
    with (folder / "cameras.txt").open("w", encoding="utf-8") as file:
        file.write("# CAMERA_ID MODEL WIDTH HEIGHT PARAMETERS, in pixels of the photos\n")
        for camera, ((width, height), parameters) in enumerate(zip(model.sizes, model.parameters, strict=True)):
            file.write(f"{camera + 1} {model.type} {width} {height} {_joined(parameters)}\n")

    first_points = model.first_points
    with (folder / "images.txt").open("w", encoding="utf-8") as file:
        file.write("# Two lines each: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME / (X Y POINT3D_ID)…\n")
        poses = np.concatenate([model.quaternions, model.translations], axis=1)
        for image, name in enumerate(model.names):
            file.write(f"{image + 1} {_joined(poses[image])} {model.cameras[image] + 1} {name}\n")
            first, last = first_points[image : image + 2]
            seen = enumerate(model.observed[first:last].tolist(), start=first + 1)
            file.write(" ".join(f"{x!r} {y!r} {point}" for point, (x, y) in seen) + "\n")

    with (folder / "points3D.txt").open("w", encoding="utf-8") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR (IMAGE_ID POINT2D_IDX)…; the points lie on their pixels: error 0\n")
        rows = zip(model.positions, model.colours.tolist(), model.images.tolist(), strict=True)
        for point, (position, (red, green, blue), image) in enumerate(rows):
            index = point - first_points[image]
            file.write(f"{point + 1} {_joined(position)} {red} {green} {blue} 0 {image + 1} {index}\n")


def _packed(*values: tuple[DTypeLike, object]) -> bytes:
    return b"".join(np.asarray(value).astype(kind).tobytes() for kind, value in values)


def _joined(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
