"""From oblong pictures of any size to the square ones of a data set, and what that does to their cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from subspace.errors import InputError


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
        """Of the resized square; in both, the centre of the upper left pixel is (0, 0)."""
        scale = self.resolution / self.side
        to_square = np.array(
            [
                [scale, 0, scale * (0.5 - self.left) - 0.5],
                [0, scale, scale * (0.5 - self.top) - 0.5],
                [0, 0, 1],
            ]
        )
        return to_square @ intrinsics
