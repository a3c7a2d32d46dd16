"""The photos of a reconstruction: which files, in which order, and that each of them can be used."""

from __future__ import annotations

import enum
import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.manifest import CONTACT_SHEET, MANIFEST
from experiments.reconstruction.records import DEPTH_UNIT
from experiments.storage.files import natural
from experiments.storage.results import name_in_results
from subspace.errors import InputError
from vggt_jax import pictures
from vggt_jax.missing import nearest_path

_VIDEOS = frozenset(
    {".3gp", ".avi", ".flv", ".insv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"}
)
_RAW = frozenset(
    {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw", ".x3f"}
)
_STILL = frozenset({"HEIF", "ICO", "MPO"})
"""Formats whose further pictures are previews or other views, not what follows."""
_INNER = "images"
"""The folder of photos in a scene as COLMAP, nerfstudio and 3DGS lay it out."""
_LONGEST_NAME = 240
"""Bytes of a name to which outputs can add a suffix."""


@dataclass(frozen=True)
class Photo:
    """A readable photo."""

    path: Path
    """The photo's file."""
    name: str
    """Path below the folder that all photos share, with ``/`` between folders. Bytes that are no UTF-8 are written as
    ``%FF``."""
    width: int
    """Width in pixels when held upright: after the rotation that the EXIF orientation asks for."""
    height: int
    """Size in pixels when held upright: after the rotation that the EXIF orientation asks for."""
    orientation: int
    """EXIF orientation; 1 is upright as stored."""
    animated: bool = False
    """Whether the file has more frames than the first, which is the photo."""

    @property
    def stem(self) -> str:
        """``name`` without its suffix."""
        return os.path.splitext(self.name)[0]


class Kind(enum.Enum):
    """What a file is that is no photo of the reconstruction; the value says it of several files."""

    FOREIGN = "file(s) that are no images"
    VIDEO = "video(s), of which frames would have to be taken first"
    RAW = "raw photo(s), which would have to be developed first"
    BROKEN_LINK = "broken link(s)"
    SPECIAL = "pipe(s), socket(s) or device(s)"
    FOLDER = "folder(s) with images of their own"
    RESULT = "picture(s) that this program made and that are no photos"
    REPEATED = "further name(s) of files that are photos already"


@dataclass(frozen=True)
class Found:
    """What is at a place that should hold photos."""

    photos: Sequence[Photo]
    """In the natural order of their names."""
    folder: Path
    """The folder that all of them share."""
    passed_over: Sequence[tuple[Kind, Path]]
    """What else is there and was not hidden."""

    def remarks(self) -> list[str]:
        """What the user should know of what was passed over, one line for each kind."""
        return [f"passed over {line}" for line in _listed_by_kind(self.passed_over)]


def find_photos(images: str) -> Found:
    """Find photos, and read the beginning of each.

    Args:
        images: a folder, of which every file with the suffix of an image format is taken (not those of subfolders,
            and no hidden files; if it has none, those of its subfolder ``images``), the file of one photo, or a glob
            pattern (``**`` for any depth), of which every file that is not hidden must be an image.

    Raises:
        InputError: no photos, or a file that is none or needs a library that is missing.
    """
    files, passed_over = _files(images)
    if not files:
        seen = "; ".join(_listed_by_kind(passed_over))
        below = any(kind is Kind.FOLDER for kind, _ in passed_over)
        deeper = f"; the pattern '{os.path.join(images, '**', '*')}' takes those" if below else ""
        raise InputError(f"no images at {images}{f': found only {seen}' if seen else ''}{deeper}", argument="images")
    folder = Path(os.path.commonpath([path.parent for path in files]))
    photos = [_inspected(path, path.relative_to(folder)) for path in files]
    return Found(photos, folder, passed_over)


def share_names(photos: Sequence[Photo]) -> bool:
    """Whether the names of two photos differ in the suffix, in capitals or in the kind of white space only."""
    return len({re.sub(r"\s", "_", photo.stem.casefold()) for photo in photos}) < len(photos)


def _files(images: str) -> tuple[list[Path], list[tuple[Kind, Path]]]:
    """The files that should be photos, and the rest."""
    if os.path.isdir(images):
        files, others = _split(Path(images), sorted(Path(images).iterdir(), key=natural))
        if not files and os.path.isdir(inner := os.path.join(images, _INNER)):
            files, others = _split(Path(inner), sorted(Path(inner).iterdir(), key=natural))
    elif os.path.lexists(images):  # also a name that happens to be a pattern
        files, others = _split(None, [Path(images)])
    elif not glob.has_magic(images):
        raise InputError(f"there is no file or folder {images}{nearest_path(images)}", argument="images")
    else:
        matches = [Path(match) for match in _matches("", images) if not os.path.isdir(match)]
        # All that lies below a folder is taken as a folder is: what is no photo is passed over.
        folder = Path(images.partition("**")[0]) if "**" in images and images.endswith("*") else None
        files, others = _split(folder, sorted(matches, key=natural))
    return _once(files, others)


def _matches(folder: str, pattern: str) -> Iterator[str]:
    """What :func:`glob.glob` finds below ``folder``, except that ``**`` enters no folder by two of its names."""
    before, deep, after = (f"{pattern}/*" if pattern.endswith("**") else pattern).partition("**/")
    if not deep:
        yield from glob.glob(os.path.join(glob.escape(folder), pattern))
        return
    for start in glob.glob(os.path.join(glob.escape(folder), before)) if before else [folder]:
        seen: set[str] = set()
        level = [start]
        while level:  # the nearest names first, links last, so that files keep their own
            below: list[str] = []
            for place in sorted(level, key=os.path.islink):
                if (real := os.path.realpath(place)) not in seen:
                    seen.add(real)
                    yield from _matches(place, after)
                    below += filter(os.path.isdir, glob.glob(os.path.join(glob.escape(place), "*")))
            level = below


def _split(folder: Path | None, paths: Iterable[Path]) -> tuple[list[Path], list[tuple[Kind, Path]]]:
    """Files that should be photos, and the rest by kind; without a ``folder``, every file was asked for by name."""
    files: list[Path] = []
    others: list[tuple[Kind, Path]] = []
    for path in paths:
        if folder is not None and path.name.startswith("."):
            continue
        kind = _kind(path, asked_for=folder is None)
        if kind is None:
            files.append(path)
        elif kind is not Kind.FOLDER or _has_images(path):
            others.append((kind, path))
    return files, others


def _kind(path: Path, *, asked_for: bool) -> Kind | None:
    """What ``path`` is if it should be no photo."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return Kind.FOLDER
    if not path.is_file():
        return Kind.BROKEN_LINK if path.is_symlink() else Kind.SPECIAL
    if suffix in _VIDEOS:
        return Kind.VIDEO
    if suffix in _RAW:
        return Kind.RAW
    if suffix not in pictures.suffixes():
        return None if asked_for else Kind.FOREIGN
    return Kind.RESULT if _is_result(path) else None


def _is_result(path: Path) -> bool:
    """Whether a folder of results or a data set, in which the file lies, has it and does not call it a photo."""
    if path.name == CONTACT_SHEET and (path.parent / MANIFEST).is_file():
        return True
    name = name_in_results(path)
    return name is not None and name.parts[0] != _INNER


def _has_images(folder: Path) -> bool:
    try:
        return any(
            os.path.splitext(name)[1].lower() in pictures.suffixes() and not name.startswith(".")
            for name in os.listdir(folder)
        )
    except OSError:
        return False


def _once(files: Sequence[Path], others: list[tuple[Kind, Path]]) -> tuple[list[Path], list[tuple[Kind, Path]]]:
    """Each file under one of its names; links that lead round in circles give a file many."""
    places = {path: os.path.realpath(path) for path in files}
    taken: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (len(path.parts), path.is_symlink())):
        taken.setdefault(places[path], path)
    kept = [path for path in files if taken[places[path]] is path]
    return kept, others + [(Kind.REPEATED, path) for path in files if taken[places[path]] is not path]


def _inspected(path: Path, below: Path) -> Photo:
    """What the beginning of the file says; its pixels are decoded when they are loaded."""
    try:
        with pictures.opened(path) as image:
            orientation = pictures.orientation(image)
            width, height = pictures.upright_size(image)
            if DEPTH_UNIT in image.info:
                raise InputError("a depth map that reconstruct wrote; the photos lie in images beside its folder")
            animated = image.format not in _STILL and getattr(image, "is_animated", False)
    except InputError as error:
        raise InputError(f"cannot read image {path}: {error}") from error
    return Photo(path, _writable_name(below), width, height, orientation, animated)


def _writable_name(path: Path) -> str:
    """The path as text that every file format can hold, short enough for outputs to add a suffix."""
    valid = re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", path.as_posix())
    return "/".join(_shortened(part) for part in valid.split("/"))


def _shortened(name: str) -> str:
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, suffix = os.path.splitext(name)
    end = f"~{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return stem.encode()[: _LONGEST_NAME - len(end.encode())].decode(errors="ignore") + end


def _listed_by_kind(files: Iterable[tuple[Kind, Path]]) -> list[str]:
    files = list(files)
    counts = Counter(kind for kind, _ in files)
    return [
        f"{count} {kind.value}: {_listed([path for other, path in files if other is kind])}"
        for kind, count in counts.items()
    ]


def _listed(paths: Sequence[Path], most: int = 5) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
