"""Picture files as 8-bit RGB: the same colours for the same picture, in whatever mode and depth it is stored."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from subspace.errors import InputError
from vggt_jax.reading.regular import check_regular

Path = str | os.PathLike[str]

WHITE = 255
MOST_PIXELS = 1_000_000_000
"""Pixels of a picture beyond which a file is not decoded; Pillow's own limit refuses the photos of today's phones."""
MOST_BYTES = 1 << 32
"""Of a picture's file."""
_MANY, _MOST_PER_BYTE = 250_000_000, 1_000
"""Pixels of a picture beyond which a byte of its file must not stand for more pixels than this."""
UPRIGHT = 1
"""The EXIF orientation of a photo that is stored as it should be seen."""
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})

_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the photo upright."""
_NO_PICTURES = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MCIDAS", "MPEG", "PDF", "SPIDER", "WMF"})
"""Formats that Pillow knows and that hold no photo, need another program or can only be written."""
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML or SVG file",
    b"<svg": "an SVG file, which has no pixels",
    b"%pdf": "a PDF file",
    b"%!ps": "a PostScript file",
    b"\x1a\x45\xdf\xa3": "a video",
    b"pk\x03\x04": "a zip archive",
}
"""How files begin that are often called photos and are none, in small letters."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    colours: Image.Image
    """RGB, transparent pixels composited on white."""
    opacity: Image.Image | None
    """8-bit greys, 0 where the picture is transparent; None where nothing is."""


def read_picture(path: Path, *, upright: bool = False) -> Picture:
    """Decode a file, of several frames the first.

    Args:
        path: anything that Pillow decodes, or HEIC where pillow-heif is installed.
        upright: turn the picture as its EXIF orientation says.

    Raises:
        InputError: a file that is missing, damaged, too large or no picture; its text names neither the path nor what
            to do with it.
    """
    with opened(path) as image, unlimited():
        with _decoding(path):
            image.load()
            turn = _TURNED.get(orientation(image)) if upright else None
            picture = to_rgb(image)
    if turn is None:
        return picture
    opacity = None if picture.opacity is None else picture.opacity.transpose(turn)
    return Picture(picture.colours.transpose(turn), opacity)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture of a file, of which only the beginning is read.

    Raises InputError as :func:`read_picture` does.
    """
    with _decoding(path), unlimited():
        image = _open(path)
    with image:
        check_pixels(image.width, image.height, os.stat(path).st_size)
        yield image


def check_pixels(width: int, height: int, size: int) -> None:
    """Raises InputError for a picture of too many pixels: in all, or for a file of ``size`` bytes, which is a bomb then."""
    if (pixels := width * height) > MOST_PIXELS:
        raise InputError(f"{width}x{height} are {pixels:,} pixels, more than {MOST_PIXELS:,}")
    if pixels > _MANY and pixels > _MOST_PER_BYTE * size:
        raise InputError(f"{width}x{height} are {pixels:,} pixels, which a file of {size:,} bytes does not hold")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises about a file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"it has more than {MOST_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise InputError("its pixels do not fit into memory") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        struct.error,
    ) as error:
        # a damaged file may bring Pillow to any of these
        raise InputError(_reason(path, error)) from error


def _open(path: Path) -> Image.Image:
    check_regular(path)
    try:
        return Image.open(path, formats=_formats())
    except Image.UnidentifiedImageError:
        if not _is_heif(_beginning(path)):
            raise
        _register_heif()
        return Image.open(path)


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _NO_PICTURES]


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of files that hold pictures, HEIC's among them, in small letters."""
    Image.init()
    readable = {suffix for suffix, name in Image.registered_extensions().items() if name in {*Image.OPEN, "MPO"}}
    foreign = {suffix for suffix, name in Image.registered_extensions().items() if name in _NO_PICTURES}
    return frozenset(readable - foreign | HEIF_SUFFIXES)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, from 1 to 8; :data:`UPRIGHT` where there is none or none that makes sense."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # damaged EXIF raises anything, and the picture is whole without it
        return UPRIGHT
    return found if found in _TURNED else UPRIGHT


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in pixels of a picture that is not decoded yet, once it is turned as its EXIF orientation says."""
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer versions of Pillow have turned this size already
        width, height = (image.tag_v2[tag] for tag in (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH))
    return (height, width) if orientation(image) >= 5 else (width, height)  # these four turn it by a quarter


def to_rgb(image: Image.Image) -> Picture:
    """A picture of any mode as 8-bit RGB on white, with its opacity.

    Modes of more than 8 bits do not say which number is white: it is 1 for floats up to 1, 255 for other numbers up to
    255, and else 65535, of which the upper byte is kept, as Pillow does it with 16-bit colours.

    Raises InputError for numbers below 0, above 65535 or that are none.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_to_rgb(image)
    if image.mode in _WITH_ALPHA or image.has_transparency_data:
        with_alpha = _to_rgba(image)
        opacity = with_alpha.getchannel("A")
        if opacity.getextrema() == (255, 255):
            return Picture(with_alpha.convert("RGB"), None)
        white = Image.new("RGBA", image.size, (WHITE, WHITE, WHITE, WHITE))
        return Picture(Image.alpha_composite(white, with_alpha).convert("RGB"), opacity)
    return Picture(image if image.mode == "RGB" else image.convert("RGB"), None)


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        return image
    if image.mode == "La":  # of which Pillow knows one way out
        image = image.convert("LA")
    return image.convert("RGBA")


def _deep_to_rgb(image: Image.Image) -> Picture:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("has pixels that are no numbers")
    if low < 0 or high > 65535:
        raise InputError(
            f"has values from {low:g} to {high:g}, and nothing says which of them is white; store 8 or 16 bits"
        )
    if image.mode == "F" and high <= 1:
        eight_bits = np.rint(values * 255)
    elif high <= 255:
        eight_bits = np.rint(values) if image.mode == "F" else values
    else:
        eight_bits = values // 256
    colours = Image.fromarray(eight_bits.astype(np.uint8)).convert("RGB")
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int) or not (hidden := values == transparent).any():
        return Picture(colours, None)
    opacity = Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))
    colours.paste((WHITE, WHITE, WHITE), mask=Image.fromarray(np.where(hidden, 255, 0).astype(np.uint8)))
    return Picture(colours, opacity)


@cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ModuleNotFoundError:
        raise InputError(
            "it is HEIC, which needs pillow-heif, which is not installed: pip install 'attribute-subspaces[heic]', or "
            "store the photo as JPEG"
        ) from None
    pillow_heif.register_heif_opener()


def _reason(path: Path, error: Exception) -> str:
    """What is wrong with a file that Pillow did not decode."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if isinstance(error, Image.UnidentifiedImageError):
        return what_it_is(path) or "not a picture, or of a format that Pillow does not know"
    return " ".join(str(error).split()) or type(error).__name__


def what_it_is(path: Path) -> str | None:
    """What a file that is no picture is, as far as its beginning shows."""
    beginning = _beginning(path).lower()
    if not beginning:
        return "an empty file"
    if beginning[4:8] == b"ftyp" or (beginning[:4] == b"riff" and beginning[8:12] == b"avi "):
        return "a video"
    if beginning[:4] == b"\x00\x05\x16\x07":
        return "what macOS stores beside a file, not the file itself"
    return next((kind for start, kind in _BEGINNINGS.items() if beginning.lstrip().startswith(start)), None)


def _beginning(path: Path) -> bytes:
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return file.read(64)
    except (OSError, InputError):
        return b""


def _is_heif(beginning: bytes) -> bool:
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIF_BRANDS


_lock = threading.Lock()
_depth = 0
_usual_limit = Image.MAX_IMAGE_PIXELS


@contextmanager
def unlimited() -> Iterator[None]:
    """Lifts Pillow's own limit on pixels to :data:`MOST_PIXELS`; for the whole process meanwhile, as that is where it lies."""
    global _depth, _usual_limit
    with _lock:
        if _depth == 0:
            _usual_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2  # refused is twice as much
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                Image.MAX_IMAGE_PIXELS = _usual_limit
