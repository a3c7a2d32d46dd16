"""A reconstruction as a COLMAP text model: cameras.txt, images.txt and points3D.txt.

COLMAP puts the upper left corner of a photo at (0, 0), so that a pixel's centre lies half a pixel further than in the
rest of this project.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from experiments.reconstruction.scene import PointCloud, ReconstructedScene


def colmap_name(name: str) -> str:
    """The photo's name with underscores for white space, at which COLMAP's readers would end it."""
    return re.sub(r"\s", "_", name)


def photo_pixels(scene: ReconstructedScene, cloud: PointCloud) -> Float[np.ndarray, "points 2"]:
    """(x, y) of the points' pixels in the photos, with COLMAP's origin."""
    view, row, column = cloud.pixels.T
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(np.float64)
    to_photo = np.stack([framing.to_photo for framing in scene.framings])
    return np.einsum("pij,pj->pi", to_photo[view, :2], pixels) + 0.5


def write_colmap(folder: Path, scene: ReconstructedScene, cloud: PointCloud) -> None:
    """Write the model: a PINHOLE camera for every photo, in the photo's own pixels, and the points of ``cloud``.

    Every point is observed once, at the pixel that it comes from. Numbers are written so that they read back exactly.
    """
    folder.mkdir()
    pixels = photo_pixels(scene, cloud)
    first_of_view = np.searchsorted(cloud.pixels[:, 0], np.arange(len(scene.names) + 1))
    _write_cameras(folder / "cameras.txt", scene)
    with (folder / "images.txt").open("w", encoding="utf-8") as file:
        file.write("# Two lines each: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME / (X Y POINT3D_ID)…\n")
        quaternions = Rotation.from_matrix(scene.extrinsics[:, :, :3]).as_quat(canonical=True)
        for view, name in enumerate(scene.names):
            x, y, z, w = quaternions[view]
            pose = _joined([w, x, y, z, *scene.extrinsics[view, :, 3]])
            file.write(f"{view + 1} {pose} {view + 1} {colmap_name(name)}\n")
            first, last = first_of_view[view : view + 2]
            observed = (f"{x!r} {y!r} {first + i + 1}" for i, (x, y) in enumerate(pixels[first:last].tolist()))
            file.write(" ".join(observed) + "\n")
    with (folder / "points3D.txt").open("w", encoding="utf-8") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR (IMAGE_ID POINT2D_IDX)…; the points lie on their pixels: error 0\n")
        rows = zip(cloud.positions.tolist(), cloud.colours.tolist(), cloud.pixels[:, 0].tolist(), strict=True)
        for i, (position, (red, green, blue), view) in enumerate(rows):
            file.write(f"{i + 1} {_joined(position)} {red} {green} {blue} 0 {view + 1} {i - first_of_view[view]}\n")


def _write_cameras(path: Path, scene: ReconstructedScene) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY, in pixels of the photos\n")
        for view, (framing, K) in enumerate(zip(scene.framings, scene.photo_intrinsics, strict=True)):
            parameters = _joined([K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5])
            file.write(f"{view + 1} PINHOLE {framing.photo_width} {framing.photo_height} {parameters}\n")


def _joined(values: Sequence[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
