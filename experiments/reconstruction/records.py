"""Cameras as JSON, depth maps as PNG and npz."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from experiments.reconstruction.scene import ReconstructedScene

_DEEPEST = 65535
DEPTH_UNIT = "depth_unit"
"""Text in the PNG files of depth maps: the unit of their values."""

CONVENTIONS = {
    "world_to_camera": "3x4 [R | t], x_camera = R x_world + t; OpenCV axes: x right, y down, z forward",
    "centre": "the camera's position in the world",
    "intrinsics": "3x3 in pixels; the centre of the upper left pixel is (0, 0), add 0.5 to the principal point for COLMAP",
    "image": "the photo as COLMAP and 3DGS open it: upright, with a name that every program takes",
    "photo": "the photo as it should be seen, turned upright if its EXIF orientation asks for it",
    "preprocessed": "the picture that the model sees and that depth maps and confidences cover",
    "to_photo": "3x3, from homogeneous pixels of the preprocessed picture to those of the photo",
    "depth_png": "16 bits: z in the camera = value * depth_png_unit; 0 where there is no photo or it is transparent",
    "depth_npz": "depth, confidence (both HxW), points (HxWx3, world), is_photo (HxW, false in the frame of a photo and "
    "where it is transparent)",
    "length": "all lengths are in the scene's own unit",
}
"""What the entries of ``cameras.json`` mean; written into the file."""


def write_depth_maps(folder: Path, scene: ReconstructedScene, stems: Sequence[str]) -> float:
    """Write ``<stem>.png`` and ``<stem>.npz`` for every view, see :data:`CONVENTIONS`.

    Returns:
        The unit of the PNG files: the depth, in the scene's unit, that a step of 1 stands for; one for all views.
    """
    unit = float(scene.depth[scene.is_photo].max()) / _DEEPEST
    for view, stem in enumerate(stems):
        png = folder / f"{stem}.png"
        png.parent.mkdir(parents=True, exist_ok=True)
        depth, is_photo = scene.depth[view].astype(np.float64), scene.is_photo[view]
        _save_sixteen_bits(png, np.where(is_photo, np.clip(np.rint(depth / unit), 1, _DEEPEST), 0), unit)
        np.savez(
            folder / f"{stem}.npz",
            depth=depth.astype(np.float32),
            confidence=scene.confidence[view].astype(np.float32),
            points=scene.points[view].astype(np.float32),
            is_photo=is_photo,
        )
    return unit


def write_cameras(
    path: Path, scene: ReconstructedScene, stems: Sequence[str], images: Sequence[str], settings: dict[str, Any]
) -> None:
    """Write ``cameras.json``: ``settings``, :data:`CONVENTIONS` and one entry for every view.

    Args:
        path: of the file.
        scene: the cameras.
        stems: names of the depth maps, without suffix.
        images: paths of the upright photos.
        settings: what stands above the cameras.
    """
    cameras = [
        {
            "name": scene.names[view],
            "image": images[view],
            "colmap_image_id": view + 1,
            "depth_png": f"depth/{stems[view]}.png",
            "depth_npz": f"depth/{stems[view]}.npz",
            "world_to_camera": scene.extrinsics[view].tolist(),
            "centre": scene.centres[view].tolist(),
            "photo": {
                "width": framing.photo_width,
                "height": framing.photo_height,
                "intrinsics": scene.photo_intrinsics[view].tolist(),
            },
            "preprocessed": {
                "width": framing.width,
                "height": framing.height,
                "intrinsics": scene.intrinsics[view].tolist(),
                "to_photo": framing.to_photo.tolist(),
            },
        }
        for view, framing in enumerate(scene.framings)
    ]
    content = {"conventions": CONVENTIONS, **settings, "cameras": cameras}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _save_sixteen_bits(path: Path, values: Float[np.ndarray, "height width"], unit: float) -> None:
    info = PngInfo()
    info.add_text(DEPTH_UNIT, repr(unit))
    Image.fromarray(values.astype(np.uint16)).save(path, pnginfo=info)
