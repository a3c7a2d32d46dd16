"""What a mesh file says about the colour of a part: what is rendered of it, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from experiments.scenes.pictures import eight_bits, has_alpha, tinted, with_alpha

WHITE = (1.0, 1.0, 1.0, 1.0)


class LeftOut(StrEnum):
    """What a file says about how a surface looks that is not rendered."""

    NORMAL_MAP = "normal maps"
    REFLECTION = "metalness, roughness and reflections"
    EMISSION = "emission"
    OCCLUSION = "occlusion maps"
    OPACITY = "opacity"
    VERTEX_COLORS = "colours of vertices beside a picture"
    FACTOR = "a colour beside a picture or colours of vertices"
    PLACEMENT = "how a picture is placed, clamped or mirrored"
    UNLIT = "that it is lit by nothing"
    EXTENSION = "extensions of materials"


@dataclass(frozen=True)
class Look:
    """The colour of a part: that of its picture times that of its vertices, or either."""

    uv: Float[np.ndarray, "n 2"] | Float[np.ndarray, "m 3 2"] | None = None
    """Of the vertices or of the triangles' corners; (0, 0) is the picture's lower left corner."""
    picture: Image.Image | None = None
    """RGBA where transparent places are no surface."""
    colors: Float[np.ndarray, "n 3"] | None = None
    """Linear RGB of the vertices."""
    left_out: frozenset[LeftOut] = frozenset()


@dataclass(frozen=True)
class Opacity:
    """What alpha means."""

    cutoff: float | None = None
    """Alpha from which there is a surface, and otherwise none; None if it is part of the colour."""


def dressed(
    count: int,
    uv: np.ndarray | None,
    picture: Image.Image | None,
    colors: np.ndarray | None,
    factor: Sequence[float] = WHITE,
    opacity: Opacity | None = None,
    left_out: frozenset[LeftOut] = frozenset(),
) -> Look | None:
    """A look, or None of a part of which nothing can be seen.

    Args:
        count: of the vertices.
        uv: of the vertices.
        picture: as it was read, if it lies on the surface.
        colors: linear RGB or RGBA of the vertices.
        factor: linear RGBA that all is multiplied by.
        opacity: what alpha means; None if it means nothing.
        left_out: what is known to be left out.
    """
    scale = np.clip(np.asarray(factor, np.float64), 0, 1)
    if colors is not None:
        if opacity is not None and (colors[:, 3:] < 1).any():
            left_out |= {LeftOut.OPACITY}
        colors = colors[:, :3]
    if picture is None and opacity is not None and scale[3] < 1:
        uv, picture = np.zeros((count, 2)), Image.new("RGBA", (1, 1), (255, 255, 255, 255))
    if picture is None:
        return Look(None, None, (np.ones((count, 3)) if colors is None else colors) * scale[:3], left_out)
    transparent = opacity is not None and (has_alpha(picture) or scale[3] < 1)
    made = with_alpha(picture) if transparent else eight_bits(picture)
    made = tinted(made, scale if transparent else scale[:3])
    if opacity is not None and transparent:
        made = _cut(made, opacity)
        lowest, highest = made.getchannel("A").getextrema()
        if highest == 0:
            return None
        made = made.convert("RGB") if lowest == 255 else made
    return Look(uv, made, None if colors is None or (colors == 1).all() else colors, left_out)


def palette(colors: UInt8[np.ndarray, "m 3"]) -> tuple[Image.Image, Float[np.ndarray, "m 2"]]:
    """A picture with a pixel for each colour that faces have, and the middle of each face's pixel."""
    found, places = np.unique(colors, axis=0, return_inverse=True)
    side = int(np.ceil(np.sqrt(len(found))))
    pixels = np.zeros((side * side, 3), np.uint8)
    pixels[: len(found)] = found
    row, column = np.divmod(places.reshape(-1), side)
    middles = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], axis=1)
    return Image.fromarray(pixels.reshape(side, side, 3)), middles


def _cut(picture: Image.Image, opacity: Opacity) -> Image.Image:
    """With alpha that is only 0 or 255, where there is a cut-off."""
    if opacity.cutoff is not None:
        least = opacity.cutoff * 255
        picture.putalpha(picture.getchannel("A").point([255 if value >= least else 0 for value in range(256)]))
    return picture
