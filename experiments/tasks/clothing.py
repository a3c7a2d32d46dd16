"""What a body wears, painted into its texture: skin, hair, a face, shirt, trousers and shoes with patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from experiments.data.tone_mapping import to_srgb
from experiments.scenes.schema import Color
from experiments.synthetic.draws import chance, pick, uniform
from experiments.synthetic.palettes import MODERATE, colors, oklch
from experiments.tasks.unwrapped import Unwrapped

PARTS = ("head", "eye", "torso", "upper arm", "lower arm", "hand", "hips", "thigh", "shin", "foot")
"""The order of the weights."""
HEAD, EYE, TORSO, UPPER_ARM, LOWER_ARM, HAND, HIPS, THIGH, SHIN, FOOT = range(len(PARTS))
IRIS, PUPIL = 0.0062, 0.0026
"""Radii, metres."""


@dataclass(frozen=True)
class Landmarks:
    """Of the body in rest, metres; it looks along -y and z points up."""

    eyes: Float[np.ndarray, "2 3"]
    """Middles of the eyeballs, the left one first."""
    mouth: Float[np.ndarray, "3"]
    """Middle of the mouth."""
    face: float
    """The smallest y of the head, the tip of the nose."""


def paint(
    rng: np.random.Generator, body: Unwrapped, marks: Landmarks, elderly: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """An sRGB texture."""
    part = body.weights.argmax(axis=-1)
    skin = oklch(uniform(rng, (0.45, 0.8)), uniform(rng, (0.045, 0.08)), uniform(rng, (48, 65)))
    picture = np.ones((*part.shape, 3)) * skin * (1 + 0.06 * _noise(rng, body.places, 30.0))[..., None]
    covered = [np.isin(part, (TORSO,))]
    if chance(rng, 0.8):
        covered.append(part == UPPER_ARM)
        if chance(rng, 0.5):
            covered.append(part == LOWER_ARM)
    _dress(rng, picture, body.places, np.any(covered, axis=0))
    legs = [HIPS, THIGH] if chance(rng, 0.25) else [HIPS, THIGH, SHIN]
    _dress(rng, picture, body.places, np.isin(part, legs))
    _dress(rng, picture, body.places, part == FOOT)
    head = part == HEAD
    hair = oklch(uniform(rng, (0.75, 0.92)), 0.01, 80) if elderly else _hair_color(rng)
    _face(rng, picture, body.places, head, marks, skin, hair)
    _eyes(rng, picture, body.places, part == EYE, marks)
    return to_srgb(picture, 1.0)


def _dress(rng: np.random.Generator, picture: np.ndarray, places: np.ndarray, where: Bool[np.ndarray, "h w"]) -> None:
    picture[where] = _fabric(rng, places[where])


def _put(picture: np.ndarray, where: Bool[np.ndarray, "h w"], content: np.ndarray) -> None:
    picture[where] = content[where]


def _hair_color(rng: np.random.Generator) -> Color:
    lightness, chroma, hue = pick(
        rng, [(0.2, 0.02, 60), (0.3, 0.04, 50), (0.45, 0.07, 60), (0.7, 0.08, 80), (0.45, 0.11, 40)]
    )
    return oklch(lightness * uniform(rng, (0.9, 1.1)), chroma, hue)


def _face(
    rng: np.random.Generator,
    picture: np.ndarray,
    places: np.ndarray,
    head: np.ndarray,
    marks: Landmarks,
    skin: Color,
    hair: Color,
) -> None:
    eye = marks.eyes.mean(axis=0)
    x, y, z = np.moveaxis(places - (0.0, marks.face, eye[2]), -1, 0)
    front = head & (y < 0.075)
    # The hairline sinks from the forehead over the ears to the neck.
    line = uniform(rng, (0.06, 0.075)) - uniform(rng, (0.62, 0.85)) * np.clip(y - 0.03, 0, 0.14)
    hairy = head & (z > line)
    streaks = 1 + 0.35 * _noise(rng, places[hairy] * (1.0, 1.0, 0.15), 260.0)
    picture[hairy] = np.asarray(hair) * streaks[..., None]
    brow = np.abs(np.abs(x) - abs(marks.eyes[0, 0])) < 0.02
    arch = 0.022 - 8.0 * (np.abs(x) - abs(marks.eyes[0, 0])) ** 2
    _put(
        picture, front & brow & (np.abs(z - arch) < uniform(rng, (0.0025, 0.0045))), np.ones_like(picture) * hair * 0.7
    )
    across, up = x - marks.mouth[0], z - (marks.mouth[2] - eye[2])
    lips = (across / uniform(rng, (0.024, 0.03))) ** 2 + (up / uniform(rng, (0.008, 0.012))) ** 2 < 1
    red = np.asarray(skin) * (0.85, 0.5, 0.5)
    _put(picture, front & lips, np.ones_like(picture) * red)
    blush = 0.25 * np.exp(-(((np.abs(x) - 0.04) / 0.018) ** 2) - ((z + 0.04) / 0.018) ** 2)
    picture[front] *= 1 - blush[front, None] * (0.0, 0.4, 0.4)


def _eyes(rng: np.random.Generator, picture: np.ndarray, places: np.ndarray, eye: np.ndarray, marks: Landmarks) -> None:
    iris = oklch(uniform(rng, (0.35, 0.6)), uniform(rng, (0.03, 0.09)), uniform(rng, (40, 260)))
    _put(picture, eye, np.full_like(picture, 0.8))
    for middle in marks.eyes:
        offset = places - middle
        radius = np.hypot(offset[..., 0], offset[..., 2])
        ahead = eye & (offset[..., 1] < 0)
        _put(picture, ahead & (radius < IRIS), np.ones_like(picture) * iris)
        _put(picture, ahead & (radius < PUPIL), np.full_like(picture, 0.01))


def _fabric(rng: np.random.Generator, places: np.ndarray) -> np.ndarray:
    """Plain, striped, checked, dotted or blotched, with a weave."""
    kind = pick(rng, ["plain", "hoops", "stripes", "checks", "dots", "blotches"], [3, 2, 1.5, 2, 1, 1.5])
    first, second, third = (np.asarray(color) for color in colors(rng, MODERATE, 3))
    x, y, z = np.moveaxis(places, -1, 0)
    repeats = uniform(rng, (7, 22))
    around = np.where(np.abs(y) > np.abs(x), x, y)  # across the side that a place is on
    if kind == "hoops":
        share = z * repeats % 1 < uniform(rng, (0.3, 0.7))
    elif kind == "stripes":
        share = around * repeats % 1 < uniform(rng, (0.2, 0.6))
    elif kind == "checks":
        share = (z * repeats % 1 < 0.5) * 0.5 + (around * repeats % 1 < 0.5) * 0.5
    elif kind == "dots":
        share = np.hypot(z * repeats % 1 - 0.5, around * repeats % 1 - 0.5) < 0.3
    elif kind == "blotches":
        share = _noise(rng, places, 14.0) > 0.0
    else:
        share = np.zeros(x.shape)
    share = np.asarray(share, np.float64)[..., None]
    cloth = first * (1 - share) + second * share
    if chance(rng, 0.3):
        cloth = np.where((_noise(rng, places, 9.0) > 0.45)[..., None], third, cloth)
    return cloth * (1 + 0.15 * _noise(rng, places, 120.0))[..., None]


def _noise(rng: np.random.Generator, places: np.ndarray, frequency: float) -> np.ndarray:
    """A sum of plane waves in random directions, about -1…1; ``frequency`` in radians per metre · 2π / 6."""
    waves = rng.normal(size=(6, 3)) * frequency
    return np.sin(places @ waves.T + rng.uniform(0, 2 * np.pi, 6)).sum(axis=-1) / 2.5
