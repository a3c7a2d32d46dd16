"""A coloured point cloud as a picture, by parallel projection."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

BACKGROUND = (255, 255, 255)


def paint(
    points: Float[np.ndarray, "n 3"],
    colours: UInt8[np.ndarray, "n 3"],
    low: Float[np.ndarray, "2"],
    cell: float,
    size: Int[np.ndarray, "2"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The nearest point of each cell on top; points are the larger, the fewer they are.

    Args:
        points: right, up and away.
        colours: of the points.
        low: the picture's lower left corner.
        cell: side of a cell, in the points' unit.
        size: width and height of the picture in cells. The picture's first row is the lowest.
    """
    picture = np.full((size[1], size[0], 3), BACKGROUND, dtype=np.uint8)
    place = np.floor((points[:, :2] - low) / cell).astype(int)
    shown = np.flatnonzero(((place >= 0) & (place < size)).all(axis=1))
    shown = shown[np.argsort(-points[shown, 2])]  # the nearest is painted last
    nearest = np.full(size[::-1], -1)
    nearest[place[shown, 1], place[shown, 0]] = np.arange(len(shown))
    shown = shown[np.sort(nearest[nearest >= 0])]
    radius = int(np.clip(0.5 * np.sqrt(picture.shape[0] * picture.shape[1] / max(len(shown), 1)), 1, 3))
    for row in range(-radius, radius + 1):
        for column in range(-radius, radius + 1):
            at = place[shown] + np.array([column, row])
            inside = ((at >= 0) & (at < size)).all(axis=1)
            picture[at[inside, 1], at[inside, 0]] = colours[shown[inside]]
    return picture
