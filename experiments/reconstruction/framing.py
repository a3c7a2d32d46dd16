"""Where a photo's pixels lie in the picture that the model sees, and back; coordinates as in :mod:`vggt_jax.pixels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from experiments.reconstruction.settings import Mode
from vggt_jax import VGGTConfig
from vggt_jax.pixels import cut_and_scaled


@dataclass(frozen=True)
class PhotoFraming:
    """A photo, resized and then cut or framed; all in pixels."""

    photo_width: int
    """Width of the photo."""
    photo_height: int
    """Height of the photo."""
    resized_width: int
    """Width of the photo after resizing."""
    resized_height: int
    """Height of the photo after resizing."""
    left: int
    """Where the resized photo begins in the model's picture; negative if its left side is cut off."""
    top: int
    """Where the resized photo begins in the model's picture; negative if its upper side is cut off."""
    width: int
    """Width of the model's picture."""
    height: int
    """Height of the model's picture."""

    @property
    def to_photo(self) -> Float[np.ndarray, "3 3"]:
        """The affine map, float64, from homogeneous pixels of the model's picture to those of the photo."""
        scale = self.photo_width / self.resized_width, self.photo_height / self.resized_height
        return cut_and_scaled(scale, (self.left, self.top))

    @property
    def covered(self) -> Bool[np.ndarray, "height width"]:
        """True where the model's picture shows the photo, False in the frame around it."""
        mask = np.zeros((self.height, self.width), dtype=bool)
        top, left = max(self.top, 0), max(self.left, 0)
        mask[top : self.top + self.resized_height, left : self.left + self.resized_width] = True
        return mask


def fitting_mode(photo_sizes: Sequence[tuple[int, int]], config: VGGTConfig, size: int) -> Mode:
    """``"crop"``, unless that gives pictures of a shape that the model was not trained on; arguments as below."""
    framing = frame_photos(photo_sizes, "crop", size, config.patch_size)[0]
    return "crop" if config.knows(framing.height, framing.width) else "pad"


def frame_photos(photo_sizes: Sequence[tuple[int, int]], mode: str, size: int, patch_size: int) -> list[PhotoFraming]:
    """What :func:`vggt_jax.preprocessing.load_images` does with photos of the given (width, height).

    Args:
        photo_sizes: one (width, height) in pixels for each photo that is loaded together.
        mode: ``"crop"`` or ``"pad"``.
        size: target side in pixels.
        patch_size: side of a patch in pixels.

    Returns:
        One framing each, all of the same ``width`` and ``height``.
    """
    single = [_frame_one(width, height, mode, size, patch_size) for width, height in photo_sizes]
    common_width, common_height = max(p.width for p in single), max(p.height for p in single)
    return [
        replace(
            p,
            left=p.left + (common_width - p.width) // 2,
            top=p.top + (common_height - p.height) // 2,
            width=common_width,
            height=common_height,
        )
        for p in single
    ]


def _frame_one(width: int, height: int, mode: str, size: int, patch_size: int) -> PhotoFraming:
    def in_patches(length: int, reference: int) -> int:
        # the order of the operations decides the ties, as in the loader
        return round(length * (size / reference) / patch_size) * patch_size

    if mode == "pad" and height > width:
        resized_width, resized_height = in_patches(width, height), size
    else:
        resized_width, resized_height = size, in_patches(height, width)
    if mode == "pad":
        left, top = (size - resized_width) // 2, (size - resized_height) // 2
        return PhotoFraming(width, height, resized_width, resized_height, left, top, size, size)
    top = -(max(resized_height - size, 0) // 2)
    return PhotoFraming(width, height, resized_width, resized_height, 0, top, size, min(resized_height, size))
