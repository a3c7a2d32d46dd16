"""The photos of a reconstruction: which files, in which order, and that each of them can be used."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from subspace.errors import InputError

UPRIGHT = 1
"""The EXIF orientation of a photo that is stored as it should be seen."""


@dataclass(frozen=True)
class Photo:
    """A readable photo."""

    path: Path
    """The photo's file."""
    name: str
    """Path below the folder that all photos share, with ``/`` between folders. No other photo's differs from it in the
    suffix, in capitals or in the kind of white space only."""
    width: int
    """Width in pixels when held upright: after the rotation that the EXIF orientation asks for."""
    height: int
    """Size in pixels when held upright: after the rotation that the EXIF orientation asks for."""
    orientation: int
    """EXIF orientation; 1 is upright as stored."""

    @property
    def stem(self) -> str:
        """``name`` without its suffix."""
        return os.path.splitext(self.name)[0]


def find_photos(images: str) -> tuple[list[Photo], list[Path]]:
    """Find and read photos, in the natural order of their names (2 before 10).

    Args:
        images: a folder, of which every file with the suffix of an image format is taken (not those of subfolders,
            and no hidden files), or a glob pattern (``**`` for any depth), of which every match must be an image.

    Returns:
        The photos; and the files of the folder that are no images, which were passed over.

    Raises:
        InputError: no photos, a file that cannot be decoded, or two whose outputs would get the same name.
    """
    paths, others = _files(images)
    if not paths:
        seen = f"; found only {_listed(others)}" if others else ""
        raise InputError(f"no images at {images}{seen}")
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    photos = [_read(path, path.relative_to(shared).as_posix()) for path in paths]
    stems: dict[str, Photo] = {}
    for photo in photos:
        twin = stems.setdefault(re.sub(r"\s", "_", photo.stem.casefold()), photo)
        if twin is not photo:
            raise InputError(f"{twin.path} and {photo.path} would get outputs of the same name; rename one of them")
    return photos, others


def _files(images: str) -> tuple[list[Path], list[Path]]:
    if not os.path.isdir(images):
        matches = [Path(match) for match in glob.glob(images, recursive=True)]
        return sorted((match for match in matches if match.is_file()), key=_natural), []
    files = sorted((path for path in Path(images).iterdir() if path.is_file()), key=_natural)
    visible = [path for path in files if not path.name.startswith(".")]
    suffixes = Image.registered_extensions()
    paths = [path for path in visible if path.suffix.lower() in suffixes]
    return paths, [path for path in visible if path not in paths]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: the digits in a path count as numbers, the rest without regard to case."""
    parts = re.split(r"(\d+)", str(path))
    # text sits at even places and numbers at odd ones; the last part breaks ties such as 1.png and 01.png
    key = [(int(part), "") if i % 2 else (0, part.casefold()) for i, part in enumerate(parts)]
    return [*key, (0, str(path))]


def _read(path: Path, name: str) -> Photo:
    """Decode once, so that a damaged file is found before the model is loaded."""
    try:
        with Image.open(path) as image:
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
            if orientation not in range(1, 9):
                orientation = UPRIGHT
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow reports damaged files as any of these, and its messages often leave out the name
        raise InputError(f"cannot read image {path}: {' '.join(str(error).split())}") from error
    if orientation >= 5:  # these four turn it by a quarter
        width, height = height, width
    return Photo(path, name, width, height, orientation)


def _listed(paths: Iterable[Path], most: int = 3) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
