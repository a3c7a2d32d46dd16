"""Linear light to the pictures that people and models see: one exposure per scene, then sRGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear RGB with sRGB's primaries (ITU-R BT.709)."""


def luminance(color: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Brightness of linear RGB."""
    return color @ _LUMINANCE


def white_level(brightness: Sequence[Float[np.ndarray, "h w"]], percentile: float) -> float:
    """The brightness that is to be shown as white: a percentile (0 to 100) over all views of a scene.

    Raises:
        ValueError: the scene is black, or not all of it is finite.
    """
    level = float(np.percentile(np.concatenate([view.ravel() for view in brightness]), percentile))
    if not np.isfinite(level) or not all(np.isfinite(view).all() for view in brightness):
        raise ValueError("the rendered colours are not finite")
    if level <= 0:
        raise ValueError(
            f"the rendered views are black: the {percentile:g}th percentile of their brightness is {level:g}"
        )
    return level


def to_srgb(color: Float[np.ndarray, "h w 3"], white: float) -> UInt8[np.ndarray, "h w 3"]:
    """Linear RGB to 8-bit sRGB (IEC 61966-2-1); brightness ``white`` and above saturates."""
    linear = np.clip(color / np.float32(white), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
