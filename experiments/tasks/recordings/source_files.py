"""Pictures of foreign data sets, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from subspace.errors import InputError
from vggt_jax.pictures import opened, to_rgb, unlimited

_Frame = TypeVar("_Frame")
_Found = TypeVar("_Found")


def read_color(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels as they are stored, in 8-bit RGB whatever their mode.

    An orientation in the file's metadata is left alone, as depth maps do not have one.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read(path, lambda picture: np.asarray(to_rgb(picture).colours))


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of what :func:`read_color` would read, without reading it.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read(path, lambda picture: picture.size)


def read_map(path: Path, sixteen_bits: bool = False) -> Integer[np.ndarray, "h w"]:
    """A picture of one channel; of one with a palette, the numbers of its colours.

    Args:
        path: of the picture.
        sixteen_bits: refuse one of 8 bits.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """

    def decode(picture: Image.Image) -> np.ndarray:
        if len(picture.getbands()) != 1:
            raise InputError(f"it has the channels {', '.join(picture.getbands())}, one is expected")
        if sixteen_bits and not picture.mode.startswith("I"):
            raise InputError("it has 8 bits, depth needs 16")
        return np.asarray(picture).astype(np.int32)

    return _read(path, decode)


def evenly(frames: Sequence[_Frame], count: int, where: Path) -> list[_Frame]:
    """``count`` of a video's frames, the first and the last among them.

    Raises:
        InputError: there are fewer.
    """
    if len(frames) < count:
        raise InputError(f"{where} has {len(frames)} frames, {count} views were asked for")
    return [frames[place] for place in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def _read(path: Path, decode: Callable[[Image.Image], _Found]) -> _Found:
    if not path.is_file():
        raise InputError(f"{path} is missing")
    try:
        with opened(path) as picture, unlimited():
            return decode(picture)
    except Exception as error:  # Pillow raises many kinds
        raise InputError(f"{path} cannot be used: {' '.join(str(error).split())}") from None
