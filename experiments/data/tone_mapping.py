"""Linear light to the pictures that people and models see: one exposure per scene, then sRGB.

The sky has no say in the exposure: under a bright one, what stands before it would be dark.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from subspace.errors import InputError

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear RGB with sRGB's primaries (ITU-R BT.709)."""


def luminance(color: Float[np.ndarray, "*pixels 3"]) -> Float[np.ndarray, "*pixels"]:
    """Brightness of linear RGB."""
    return color @ _LUMINANCE


def white_level(brightness: Sequence[Float[np.ndarray, " pixels"]], percentile: float) -> float:
    """The brightness that is to be shown as white: a percentile (0 to 100) over the surfaces in all views of a scene.

    Raises:
        InputError: there are no surfaces, they are black, or not all of them are finite.
    """
    surfaces = np.concatenate(brightness)
    if not surfaces.size:
        raise InputError("there are no surfaces in the rendered views")
    if not np.isfinite(surfaces).all():
        raise InputError("the rendered colours are not finite")
    level = float(np.percentile(surfaces, percentile))
    if level <= 0:
        raise InputError(
            f"the rendered views are black: the {percentile:g}th percentile of their brightness is {level:g}"
        )
    return level


def to_srgb(color: Float[np.ndarray, "h w 3"], white: float) -> UInt8[np.ndarray, "h w 3"]:
    """Linear RGB to 8-bit sRGB (IEC 61966-2-1); brightness ``white`` and above saturates."""
    linear = np.clip(color / np.float32(white), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
