"""Image files to model input, byte for byte as the official VGGT loader does it (Pillow, bicubic on uint8).

Everything here runs on the host in NumPy. The pixels are compared exactly with the official loader's
outputs in ``tests/fixtures/preprocess``.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image

from subspace.errors import InputError
from vggt_jax.pictures import WHITE, read_picture

R = TypeVar("R")
Path = str | PathLike[str]

_OPAQUE = 128
"""Opacity from which on a resized pixel counts as one of the picture."""
_AT_ONCE = 2
"""Files that are decoded at the same time: more would need much memory."""


def load_images(
    paths: Iterable[Path],
    mode: str = "crop",
    size: int = 518,
    patch_size: int = 14,
) -> Float[np.ndarray, "frames height width 3"]:
    """Load image files at the model's resolution, aspect ratio kept to the nearest patch.

    ``crop``: the width becomes ``size``, the height follows and is cut at the centre if it exceeds ``size``.
    ``pad``: the longer side becomes ``size`` and the shorter one is filled with white on both sides, so every
    image is ``size`` × ``size``. Images of different shapes in one call are filled with white to a common
    shape. Transparent pixels become white, and every colour mode RGB, see :func:`vggt_jax.pictures.to_rgb`; EXIF
    orientation is not applied, as upstream.

    Args:
        paths: image files, one per frame.
        mode: ``"crop"`` or ``"pad"``.
        size: target side in pixels, a multiple of ``patch_size``; upstream always uses 518.
        patch_size: side of a patch in pixels.

    Returns:
        float32 in [0, 1], every value a multiple of 1/255.

    Raises:
        InputError: no paths; an unknown mode; a size that is no positive multiple of the patch; a file that is
            missing, unreadable, or so narrow that it would round to no patch.
    """
    return load_images_and_masks(paths, mode, size, patch_size)[0]


def load_images_and_masks(
    paths: Iterable[Path],
    mode: str = "crop",
    size: int = 518,
    patch_size: int = 14,
    *,
    upright: bool = False,
) -> tuple[Float[np.ndarray, "frames height width 3"], Bool[np.ndarray, "frames height width"]]:
    """:func:`load_images`, and where each of them shows an opaque pixel of its file: neither filling nor transparent.

    Args:
        paths: image files, one per frame.
        mode: ``"crop"`` or ``"pad"``.
        size: target side in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        upright: turn the images as their EXIF orientation says.

    Raises InputError as :func:`load_images` does.
    """
    if mode not in ("crop", "pad"):
        raise InputError(f"mode must be 'crop' or 'pad', got {mode!r}")
    _check_size(size, patch_size)

    def fit(resized: UInt8[np.ndarray, "height width *channels"], fill: int) -> UInt8[np.ndarray, "_ _ *channels"]:
        return _pad_centred(resized, size, size, fill) if mode == "pad" else _crop_height(resized, size)

    def frame_and_mask(path: Path) -> tuple[UInt8[np.ndarray, "_ _ 3"], Bool[np.ndarray, "_ _"]]:
        with _named(path):
            picture = read_picture(path, upright=upright)
            target = _size_in_patches(picture.colours.size, size, patch_size, by_longer_side=mode == "pad")
        opacity = np.full(target[::-1], 255, np.uint8) if picture.opacity is None else _resized(picture.opacity, target)
        return fit(_resized(picture.colours, target), WHITE), fit(opacity, 0) >= _OPAQUE

    frames, masks = zip(*_side_by_side(frame_and_mask, _listed(paths)), strict=True)
    height = max(frame.shape[0] for frame in frames)
    width = max(frame.shape[1] for frame in frames)
    images = _to_unit_range([_pad_centred(frame, height, width, WHITE) for frame in frames])
    return images, np.stack([_pad_centred(mask, height, width, False) for mask in masks])


def _check_size(size: int, patch_size: int) -> None:
    if patch_size < 1 or size < 1 or size % patch_size:
        raise InputError(f"size must be a positive multiple of patch_size, got size {size}, patch_size {patch_size}")


def _listed(paths: Iterable[Path]) -> list[Path]:
    if isinstance(paths, str | PathLike):
        raise InputError(f"paths must be a list of files, got the single path {paths!r}")
    if not (listed := list(paths)):
        raise InputError("no images: paths is empty")
    return listed


def _side_by_side(function: Callable[[Path], R], paths: Sequence[Path]) -> list[R]:
    """Of every file, in their order; what one raises ends it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return list(pool.map(function, paths))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"cannot load image {os.fspath(path)}: {error}") from error


def _size_in_patches(picture: tuple[int, int], size: int, patch_size: int, *, by_longer_side: bool) -> tuple[int, int]:
    """(width, height) to which a picture of the given (width, height) is resized."""
    width, height = picture

    def in_patches(length: int, reference: int) -> int:
        # The order of the operations and Python's half-to-even round decide the ties (20.5 patches -> 20).
        return round(length * (size / reference) / patch_size) * patch_size

    if by_longer_side and height > width:
        target = in_patches(width, height), size
    else:
        target = size, in_patches(height, width)
    if 0 in target:
        raise InputError(f"{width}x{height} pixels become {target[0]}x{target[1]}: narrower than half a patch")
    return target


def _resized(image: Image.Image, target: tuple[int, int]) -> UInt8[np.ndarray, "height width *channels"]:
    return np.asarray(image.resize(target, Image.Resampling.BICUBIC))


def _crop_height(
    frame: UInt8[np.ndarray, "height width *channels"], size: int
) -> UInt8[np.ndarray, "cropped width *channels"]:
    top = max(frame.shape[0] - size, 0) // 2
    return frame[top : top + size]


def _pad_centred(
    frame: Shaped[np.ndarray, "height width *channels"], height: int, width: int, value: int
) -> Shaped[np.ndarray, "{height} {width} *channels"]:
    """Fill up to the given shape; of an odd difference, top and left get the smaller half."""
    rows, columns = height - frame.shape[0], width - frame.shape[1]
    margins = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(frame, margins[: frame.ndim], constant_values=value)


def _to_unit_range(frames: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Float[np.ndarray, "_ height width 3"]:
    images = np.stack(frames).astype(np.float32)
    images /= np.float32(255)
    return images
