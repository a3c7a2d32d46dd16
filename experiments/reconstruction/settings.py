"""What a reconstruction is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.presets import SMALL_MODEL
from experiments.process.mesh_sizes import MeshSizes, check_one_adapter
from experiments.storage.arguments import convert_fields
from experiments.storage.identity import NO_EFFECT
from subspace.errors import InputError
from vggt_jax.config import DType

Mode = Literal["crop", "pad"]
"""How photos become pictures of one size: their top and bottom are cut off, or a white frame is added."""

CameraType = Literal["PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL"]
"""Types of COLMAP's cameras: with two focal lengths, with one, and with one and a distortion."""


@dataclass(frozen=True)
class Settings:
    """One reconstruction: photos of one scene, seen together by a model.

    Raises InputError for settings that contradict each other.
    """

    images: str
    """Folder of photos, or a glob pattern, see :func:`experiments.reconstruction.photos.find_photos`."""
    weights: str = SMALL_MODEL
    """The model, in a form that :func:`weights_convert.load_vggt` takes."""
    mode: Mode | None = None
    """How photos become pictures of one size, see :func:`vggt_jax.preprocessing.load_images`; None for ``"crop"`` if the
    model knows pictures of the height that this gives (:meth:`vggt_jax.VGGTConfig.knows`), and else ``"pad"``."""
    resolution: int | None = None
    """Side of the model's pictures in pixels, a multiple of its patches; None for what the model was made for."""
    dtype: DType | None = None
    """Type of the matrix products in encoder and aggregator; None for what the model says. Not every device has bfloat16."""
    confidence: float = 50.0
    """Percentile, from 0 to 100, of the confidences of all photos' pixels below which points are left out of the clouds."""
    colmap_points: int = 100_000
    """Largest number of points in the COLMAP model; more are thinned out at random, by a fixed seed."""
    colmap_camera: CameraType = "PINHOLE"
    """Type of the COLMAP model's cameras."""
    shared_camera: bool = False
    """One camera for all photos of the COLMAP model, which must be of one size."""
    colmap_text: bool = False
    """Write the COLMAP model as text, not in its binary format."""
    refine: bool = False
    """Solve the cameras again from matched tokens and depth, with a model that has a matcher."""
    mesh: MeshSizes | None = field(default=None, metadata=NO_EFFECT)
    """Devices by what they share, photos or the model's large matrices; None for one device."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder to make; None for one below ``store`` that is named by what the results depend on."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder that holds the results of all commands."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""

    def __post_init__(self) -> None:
        convert_fields(self)
        check_one_adapter(self.mesh)
        if not 0 <= self.confidence <= 100:
            raise InputError(
                f"confidence is a percentile from 0 to 100, got {self.confidence:g}", argument="confidence"
            )
        for name in ("resolution", "colmap_points"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"{name} must be at least 1, got {number}", argument=name)
