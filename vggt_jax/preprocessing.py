"""Image files to model input, byte for byte as the official VGGT loader does it (Pillow, bicubic on uint8).

Everything here runs on the host in NumPy. The pixels are compared exactly with the official loader's
outputs in ``tests/fixtures/preprocess``.
"""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from subspace.errors import InputError

Path = str | PathLike[str]

WHITE = 255

_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
)


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
    shape. RGBA is composited on white, every other mode converted to RGB as Pillow does it; EXIF orientation is
    not applied, as upstream.

    Args:
        paths: image files, one per frame.
        mode: ``"crop"`` or ``"pad"``.
        size: target side in pixels, a multiple of ``patch_size``; upstream always uses 518.
        patch_size: side of a patch in pixels.

    Returns:
        float32 in [0, 1], every value a multiple of 1/255.

    Raises:
        ValueError: no paths; an unknown mode; a size that is no positive multiple of the patch; a file that is
            missing, unreadable, deeper than 8 bits a channel, or so narrow that it would round to no patch.
    """
    if mode not in ("crop", "pad"):
        raise InputError(f"mode must be 'crop' or 'pad', got {mode!r}")
    _check_size(size, patch_size)

    def prepare(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
        resized = _resize_to_patches(image, size, patch_size, by_longer_side=mode == "pad")
        if mode == "pad":
            return _pad_centred(resized, size, size)
        return _crop_height(resized, size)

    frames = _load_each(paths, prepare)
    height = max(frame.shape[0] for frame in frames)
    width = max(frame.shape[1] for frame in frames)
    return _to_unit_range([_pad_centred(frame, height, width) for frame in frames])


def _check_size(size: int, patch_size: int) -> None:
    if patch_size < 1 or size < 1 or size % patch_size:
        raise InputError(f"size must be a positive multiple of patch_size, got size {size}, patch_size {patch_size}")


def _load_each(
    paths: Iterable[Path], prepare: Callable[[Image.Image], UInt8[np.ndarray, "height width 3"]]
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Open, decode and prepare every file; whatever goes wrong is a ValueError that names the file."""
    if isinstance(paths, str | PathLike):
        raise InputError(f"paths must be a list of files, got the single path {paths!r}")
    frames = []
    for path in paths:
        try:
            frames.append(prepare(_open_rgb(path)))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # Pillow reports damaged files as any of these, and its messages often leave out the name.
            raise InputError(f"cannot load image {path}: {error}") from error
    if not frames:
        raise InputError("no images: paths is empty")
    return frames


def _open_rgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        if image.mode not in _EIGHT_BIT_MODES:
            # Pillow would clip, not scale, the deeper values, and the picture would come out white.
            raise InputError(f"pixel mode {image.mode} is not supported; convert it to 8 bits a channel")
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, (WHITE, WHITE, WHITE, WHITE))
            return Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")


def _resize_to_patches(
    image: Image.Image, size: int, patch_size: int, *, by_longer_side: bool
) -> UInt8[np.ndarray, "height width 3"]:
    width, height = image.size

    def in_patches(length: int, reference: int) -> int:
        # The order of the operations and Python's half-to-even round decide the ties (20.5 patches -> 20).
        return round(length * (size / reference) / patch_size) * patch_size

    if by_longer_side and height > width:
        target = in_patches(width, height), size
    else:
        target = size, in_patches(height, width)
    if 0 in target:
        raise InputError(f"{width}x{height} pixels become {target[0]}x{target[1]}: narrower than half a patch")
    return np.asarray(image.resize(target, Image.Resampling.BICUBIC))


def _crop_height(frame: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "cropped width 3"]:
    top = max(frame.shape[0] - size, 0) // 2
    return frame[top : top + size]


def _pad_centred(
    frame: UInt8[np.ndarray, "height width 3"], height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Fill up to the given shape with white; of an odd difference, top and left get the smaller half."""
    rows, columns = height - frame.shape[0], width - frame.shape[1]
    margins = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(frame, margins, constant_values=WHITE)


def _to_unit_range(frames: Sequence[UInt8[np.ndarray, "height width 3"]]) -> Float[np.ndarray, "_ height width 3"]:
    return np.stack(frames).astype(np.float32) / np.float32(255)
