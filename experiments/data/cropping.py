"""From oblong pictures of any size to the square ones of a data set, and what that does to their cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from subspace.errors import InputError
from vggt_jax.pixels import cut_and_scaled


@dataclass(frozen=True)
class CentredSquare:
    """The largest square in the middle of a picture, resized."""

    width: int
    """Width of the picture in pixels."""
    height: int
    """Height of the picture in pixels."""
    resolution: int
    """Width and height of the square after resizing, in pixels."""

    @property
    def side(self) -> int:
        """Of the square, in pixels of the picture."""
        return min(self.width, self.height)

    @property
    def left(self) -> int:
        return (self.width - self.side) // 2

    @property
    def top(self) -> int:
        return (self.height - self.side) // 2

    def picture(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r r 3"]:
        """Lanczos, which averages where it shrinks."""
        box = (self.left, self.top, self.left + self.side, self.top + self.side)
        resized = Image.fromarray(image).resize((self.resolution, self.resolution), Image.Resampling.LANCZOS, box)
        return np.asarray(resized)

    def nearest(self, values: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "r r"]:
        """A map of the whole picture, of which no values must be blended.

        It may have fewer pixels than the picture: each covers its share of it.

        Raises:
            InputError: it has another shape than the picture.
        """
        height, width = values.shape
        if abs(width * self.height - height * self.width) > max(self.width, self.height):
            raise InputError(
                f"{width} × {height} pixels are of another shape than the picture's {self.width} × {self.height}"
            )
        middle = (np.arange(self.resolution) + 0.5) * self.side / self.resolution
        rows = ((self.top + middle) * height / self.height).astype(int)
        columns = ((self.left + middle) * width / self.width).astype(int)
        return values[rows[:, None], columns]

    def intrinsics(self, intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """Of the resized square; pixels are those of :mod:`vggt_jax.pixels`."""
        scale = self.resolution / self.side
        return cut_and_scaled((scale, scale), (self.left, self.top)) @ intrinsics
