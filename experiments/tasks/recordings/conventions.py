"""What numbers in files of captures mean: units, directions and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from experiments.storage.arguments import convert_fields
from subspace.errors import InputError

Pose = Literal["camera_to_world", "world_to_camera"]
"""What a pose brings to what."""
Axes = Literal["opencv", "opengl"]
"""A camera's axes: x right, y down, z forward; or x right, y up, z backward."""

_TURNED = np.diag([1.0, -1.0, -1.0])
"""From OpenGL's axes to OpenCV's and back."""
NORMALISED = (1, 1)
"""Size of the pictures that normalised intrinsics are of: their corners, not the centres of pixels, are at 0 and 1."""


@dataclass(frozen=True)
class Conventions:
    """What captures' files mean where it is not what :mod:`~experiments.tasks.recordings.captures` says.

    Raises InputError for numbers that can mean nothing, and words that are no choices.
    """

    depth_scale: float | None = None
    """Stored depths in a metre; by default 1000 for integers and 1 for other numbers."""
    pose: Pose = "camera_to_world"
    """What the poses bring to what."""
    axes: Axes = "opencv"
    """Axes of the cameras in the poses."""
    pose_scale: float = 1.0
    """Units of the poses' translations in a metre: 1000 for millimetres."""
    intrinsics_size: tuple[int, int] | None = None
    """Width and height of the pictures that the intrinsics are of, where they are not the frames': (1, 1) for normalised
    intrinsics."""

    def __post_init__(self) -> None:
        convert_fields(self)
        for name in ("depth_scale", "pose_scale"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"{name} must be a positive number, got {value}", argument=name)
        if self.intrinsics_size is not None and min(self.intrinsics_size) < 1:
            raise InputError(
                f"intrinsics_size must be a width and a height of at least 1, got {self.intrinsics_size}",
                argument="intrinsics_size",
            )

    def metres(self, stored: Shaped[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Depths in metres; 0, unknown, where the largest number of 16 bits is stored."""
        integers = stored.dtype.kind in "ui"
        scale = self.depth_scale or (1000.0 if integers else 1.0)
        known = stored != np.iinfo(np.uint16).max if integers else True
        return np.where(known, stored / scale, 0)

    def intrinsics(self, stored: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """In pixels of frames of a width and height; in both, the centre of the upper left pixel is (0, 0)."""
        if self.intrinsics_size is None:
            return stored
        x, y = (now / then for now, then in zip(size, self.intrinsics_size, strict=True))
        corner = 0.0 if self.intrinsics_size == NORMALISED else 0.5
        resized = np.array([[x, 0, corner * x - 0.5], [0, y, corner * y - 0.5], [0, 0, 1]])
        return resized @ stored

    def world_to_camera(self, stored: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
        """In OpenCV's axes and metres."""
        rotation, translation = stored[:, :3], stored[:, 3:] / self.pose_scale
        if self.pose == "camera_to_world":
            rotation, translation = rotation.T, -rotation.T @ translation
        if self.axes == "opengl":
            rotation, translation = _TURNED @ rotation, _TURNED @ translation
        return np.concatenate([rotation, translation], axis=1)

    def differing(self, other: Conventions) -> dict[str, Any]:
        """The fields that are not the same, by name, with their values here."""
        return {name: value for name, value in vars(self).items() if value != getattr(other, name)}

    @property
    def unusual(self) -> dict[str, Any]:
        """The fields that are not at their defaults, by name."""
        return self.differing(Conventions())


def shown(fields: Mapping[str, Any]) -> str:
    """Fields of conventions, for people."""
    return ", ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else "the default" if value is None else str(value)
