"""Colours drawn in OKLCH, where equal steps look equal, and given as linear RGB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.scenes.schema import Color, ColorStop
from experiments.synthetic.draws import Range, chance, uniform

# Björn Ottosson, "A perceptual color space for image processing", 2020.
_LAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def oklch(lightness: float, chroma: float, hue: float) -> Color:
    """Linear RGB of a colour, with as much of its chroma as sRGB can show.

    Args:
        lightness: 0 (black) to 1 (white).
        chroma: 0 (grey) to about 0.33 (the most saturated that sRGB has).
        hue: degrees.
    """
    tried = (_to_linear(lightness, share * chroma, hue) for share in np.linspace(1, 0, 33))
    rgb = next((rgb for rgb in tried if rgb.min() >= -1e-4 and rgb.max() <= 1 + 1e-4), np.full(3, lightness**3))
    r, g, b = (float(v) for v in np.clip(rgb, 0, 1))
    return r, g, b


def _to_linear(lightness: float, chroma: float, hue: float) -> Float[np.ndarray, "3"]:
    angle = np.radians(hue)
    lab = np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])
    return _LMS_TO_RGB @ (_LAB_TO_LMS @ lab) ** 3


@dataclass(frozen=True)
class ColorRanges:
    lightness: Range
    chroma: Range
    vivid: float
    """Probability of a colour in the upper half of the chroma range."""
    contrast: Range
    """Difference of lightness between the two ends of a ramp."""


EXTREME = ColorRanges(lightness=(0.12, 0.97), chroma=(0.0, 0.32), vivid=0.7, contrast=(0.3, 0.8))
MODERATE = ColorRanges(lightness=(0.3, 0.88), chroma=(0.0, 0.22), vivid=0.65, contrast=(0.2, 0.5))


def color(rng: np.random.Generator, ranges: ColorRanges, lightness: float | None = None) -> Color:
    low, high = ranges.chroma
    middle = (low + high) / 2
    chroma = uniform(rng, (middle, high) if chance(rng, ranges.vivid) else (low, middle))
    return oklch(uniform(rng, ranges.lightness) if lightness is None else lightness, chroma, uniform(rng, (0, 360)))


def colors(rng: np.random.Generator, ranges: ColorRanges, number: int, hues: Range = (0, 360)) -> list[Color]:
    """From dark to light or back, in steps that can be told apart; hues at random within a range, or related."""
    contrast = min(uniform(rng, ranges.contrast), ranges.lightness[1] - ranges.lightness[0])
    lowest = uniform(rng, (ranges.lightness[0], ranges.lightness[1] - contrast))
    related, base = chance(rng, 0.5), uniform(rng, hues)
    chosen = []
    for lightness in np.linspace(lowest, lowest + contrast, number):
        hue = base + uniform(rng, (-25, 25)) if related else uniform(rng, hues)
        low, high = ranges.chroma
        chroma = uniform(rng, ((low + high) / 2, high) if chance(rng, ranges.vivid) else (low, high))
        chosen.append(oklch(float(lightness), chroma, hue))
    return chosen[::-1] if chance(rng, 0.5) else chosen


def ramp(stops: list[Color], low: float = 0.0, high: float = 1.0) -> tuple[ColorStop, ...]:
    """Evenly spaced between two positions."""
    positions = np.linspace(low, high, len(stops))
    return tuple(ColorStop(position=float(p), color=c) for p, c in zip(positions, stops, strict=True))
