"""The pixels of textures: checked as they are, or as 8-bit pictures that Blender reads as everybody does."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.data.tone_mapping import to_srgb
from experiments.scenes.pictures import eight_bits
from subspace.errors import InputError
from vggt_jax.pictures import check_pixels, opened, unlimited

_BLENDER_READS = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"})
_SAMPLE = 64
"""Pixels of a side at which a picture is looked at."""
_NORMAL_LENGTH = (0.8, 1.1)
"""Lengths of a normal map's vectors, which averaging shortens."""


def read_map(path: Path, content: bytes, limit: int, *, color: bool, as_it_is: bool) -> Image.Image | None:
    """Decode a map.

    Args:
        path: of the file.
        content: its bytes.
        limit: most pixels of the longer side.
        color: it is a colour (sRGB), not numbers.
        as_it_is: the file may be used as it is.

    Returns:
        8 bits, grey or RGB; None if the file may be used as it is, and needs no change.

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        if path.suffix.lower() == ".exr":
            return _scaled(_read_exr(content, color), limit)
        with unlimited(), Image.open(io.BytesIO(content)) as picture:
            check_pixels(*picture.size, len(content))
            if as_it_is and picture.mode in _BLENDER_READS and max(picture.size) <= limit:
                picture.load()
                return None
            picture.draft(picture.mode, (limit, limit))  # which spares JPEG most of the work
            picture.load()
            return _scaled(eight_bits(picture), limit)
    except UnidentifiedImageError:
        raise InputError(f"{path} cannot be decoded: it is no picture") from None
    except Exception as error:  # Pillow raises many kinds, struct.error and SyntaxError among them
        raise InputError(f"{path} cannot be decoded: {' '.join(str(error).split())}") from None


def is_normal_map(path: Path) -> bool:
    """Whether a picture shows tangent-space normals: nearly all its colours are unit vectors that point upwards."""
    if path.suffix.lower() == ".exr":
        return False
    try:
        with opened(path) as picture, unlimited():
            if picture.mode not in ("RGB", "RGBA"):
                return False
            picture.draft("RGB", (4 * _SAMPLE, 4 * _SAMPLE))
            sample = picture.convert("RGB").resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST)
    except Exception:  # it is decoded again by what names it
        return False
    vectors = np.asarray(sample, np.float64) / 127.5 - 1
    length = np.linalg.norm(vectors, axis=-1)
    like = (length > _NORMAL_LENGTH[0]) & (length < _NORMAL_LENGTH[1]) & (vectors[..., 2] > 0.3)
    middle = np.abs(vectors[..., :2].mean(axis=(0, 1))).max()
    return bool(like.mean() > 0.95 and middle < 0.15)


def _scaled(picture: Image.Image, limit: int) -> Image.Image:
    if max(picture.size) > limit:
        picture.thumbnail((limit, limit), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def _read_exr(content: bytes, color: bool) -> Image.Image:
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:  # OpenEXR reads no bytes
        file.write(content)
        file.flush()
        with OpenEXR.File(file.name, header_only=True) as described:
            for part in described.parts:
                low, high = np.asarray(part.header["dataWindow"], np.int64)
                if (high < low).any():
                    raise InputError(f"its data window from {low} to {high} holds nothing")
                width, height = (high - low + 1).tolist()
                check_pixels(width, height, len(content))
        with OpenEXR.File(file.name) as stored:
            channels = {name: channel.pixels for name, channel in stored.channels().items()}
    if (values := channels.get("RGB", channels.get("RGBA"))) is None:
        values = next(iter(channels.values()))
    values = np.nan_to_num(np.asarray(values, np.float32))
    values = values[..., :3] if values.ndim == 3 else values
    return Image.fromarray(to_srgb(values, 1.0) if color else np.clip(values * 255, 0, 255).round().astype(np.uint8))
