"""One view that the Blender worker rendered, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR

from experiments.storage.files import reading
from subspace.errors import InputError

NO_SURFACE = 1e9
"""Metres; Blender's depth is 1e10 where a ray leaves the scene."""


@dataclass(frozen=True)
class Passes:
    """Images of one view, rows from top to bottom."""

    color: np.ndarray
    """(H, W, 3) float32, linear RGB without upper limit."""
    depth: np.ndarray
    """(H, W) float32, metres along the optical axis to the first surface, glass included; 0 where there is none."""
    normal: np.ndarray
    """(H, W, 3) float32, unit length, in the camera's frame (OpenCV: a wall that faces the camera has (0, 0, -1)), turned
    to the viewer, averaged over the pixel and with the materials' relief; 0 where there is no surface."""
    object_id: np.ndarray
    """(H, W) uint16, place in ``Scene.objects`` plus one; 0 where there is no surface."""

    @property
    def valid(self) -> np.ndarray:
        """(H, W) bool, where the camera sees a surface."""
        return self.depth > 0


def read(path: Path, world_to_camera: np.ndarray) -> Passes:
    """Read one of the worker's files.

    Args:
        path: a multi-layer OpenEXR file.
        world_to_camera: (3, 4) or (4, 4), the view's.

    Raises:
        InputError: the file cannot be read, or lacks a channel.
    """
    with reading(path, "cannot be read"), OpenEXR.File(str(path), separate_channels=True) as file:
        parts: list = file.parts
        channels = {name: channel.pixels for part in parts for name, channel in part.channels.items()}

    def layers(*names: str) -> np.ndarray:
        missing = [name for name in names if f"ViewLayer.{name}" not in channels]
        if missing:
            raise InputError(f"{path} has no channel {', '.join(missing)}; it has {', '.join(sorted(channels))}")
        return np.stack([channels[f"ViewLayer.{name}"] for name in names], axis=-1).astype(np.float32)

    depth = layers("Depth.Z")[..., 0]
    valid = (depth > 0) & (depth < NO_SURFACE)
    index = "Object Index.X" if "ViewLayer.Object Index.X" in channels else "IndexOB.X"  # since Blender 5, and before
    world = layers("Normal.X", "Normal.Y", "Normal.Z")
    normal = world @ np.asarray(world_to_camera, np.float32)[:3, :3].T
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return Passes(
        color=np.maximum(layers("Combined.R", "Combined.G", "Combined.B"), 0),
        depth=np.where(valid, depth, np.float32(0)),
        normal=np.where(valid[..., None], normal / np.maximum(length, 1e-12), np.float32(0)),
        object_id=np.where(valid, np.rint(layers(index)[..., 0]), 0).astype(np.uint16),
    )
