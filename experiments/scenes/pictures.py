"""Pictures of the user's in the modes that surfaces are made of."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vggt_jax.pictures import to_rgb

_DEEP = ("I", "F")
"""How the names of Pillow's modes of more than 8 bits begin."""


def eight_bits(picture: Image.Image) -> Image.Image:
    """Grey or RGB of 8 bits, from any mode. Alpha is left out, not laid on anything."""
    if picture.mode in ("L", "RGB"):
        return picture
    if picture.mode.startswith(_DEEP):
        return to_rgb(picture).colours
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("LA" if picture.mode == "La" else picture.mode).convert("L")
    return with_alpha(picture).convert("RGB") if has_alpha(picture) else picture.convert("RGB")


def has_alpha(picture: Image.Image) -> bool:
    """Whether a picture has alpha, or a colour that stands for nothing."""
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def with_alpha(picture: Image.Image) -> Image.Image:
    """RGBA of 8 bits."""
    if picture.mode.startswith(_DEEP):
        return eight_bits(picture).convert("RGBA")
    return (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in 0…1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def tinted(picture: Image.Image, factor: np.ndarray) -> Image.Image:
    """An 8-bit picture whose light is multiplied, each channel by its own factor in 0…1; alpha by the fourth."""
    if (factor == 1).all():
        return picture
    bands = list(picture.split())
    if len(bands) == 1:
        bands = bands * 3
    linear = to_linear(np.arange(256) / 255)
    for place, scale in enumerate(factor[: len(bands)]):
        if scale == 1:
            continue
        table = np.arange(256) * scale
        if place < 3:
            light = linear * scale
            table = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        bands[place] = bands[place].point(np.clip(table, 0, 255).round().astype(int).tolist())
    return Image.merge("RGBA" if len(bands) == 4 else "RGB", bands)
