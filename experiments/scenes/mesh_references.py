"""The files that a mesh file names: where they are looked for, what they are found as, and why they are not."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, UnidentifiedImageError
from trimesh.resolvers import FilePathResolver

from subspace.errors import InputError
from vggt_jax.pictures import check_pixels, unlimited

_OPTIONS = re.compile(r"(?:-[a-z]+(?:\s+(?:-?[\d.]+(?:e-?\d+)?|on|off))+\s+)+", re.IGNORECASE)
"""Of a picture in an MTL file (``-s 2 2 1 wood.png``)."""
_MATERIALS = (".mtl", ".bin")


@contextmanager
def lenient() -> Iterator[None]:
    """Keeps trimesh from printing tracebacks of pictures that it does not find, and lets Pillow open large ones."""
    logger = logging.getLogger("trimesh")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with unlimited():
            yield
    finally:
        logger.setLevel(level)


class References(FilePathResolver):
    """Finds files beside a mesh: by their names as they are, or as they were meant.

    Meant is what a path of Windows leads to, what is written in other cases, and what lies beside the mesh under the same name.
    Nothing outside of the mesh's folder is read.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._mesh = path
        self.looked_for: list[Path] = []
        """Places, those where nothing is included."""
        self.found: dict[str, Path | None] = {}
        """What was asked for, by its name; None if there is no such file."""
        self.placed = False
        """A picture's name has options that say how it lies on the surface."""

    def get(self, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError if there is none, ValueError if it lies outside."""
        folder, meant = Path(self.parent), name.strip()
        if options := _OPTIONS.match(meant):
            self.placed, meant = True, meant[options.end() :]
        meant = meant.strip("\"' ")
        slashed = unquote(meant).replace("\\", "/")
        named = dict.fromkeys([meant, slashed, slashed.lstrip("/"), Path(slashed).name])
        self.looked_for += dict.fromkeys(Path(os.path.normpath(folder / candidate)) for candidate in named)
        self.found[name] = None
        places = [place for candidate in named if candidate and (place := self._inside(candidate)) is not None]
        for place in [*places, *filter(None, map(self._in_another_case, places))]:
            if place.is_file():
                self.found[name] = place
                self.looked_for.append(place)
                return place.read_bytes()
        self.absolute(slashed)  # which says so if the name leads outside
        raise FileNotFoundError(name)

    def _inside(self, name: str) -> Path | None:
        try:
            self.absolute(name)
        except (ValueError, OSError):
            return None
        return Path(os.path.normpath(Path(self.parent) / name))

    def _in_another_case(self, path: Path) -> Path | None:
        place = Path(self.parent)
        for part in path.relative_to(place).parts:
            try:
                names = sorted(os.listdir(place))
            except OSError:
                return None
            same = [name for name in names if name.casefold() == part.casefold()]
            if not same:
                return None
            place /= part if part in same else same[0]
        return place

    def problem(self, name: str | None = None) -> str | None:
        """Why a picture, or the first of all of which that is so, cannot be used; None if there is no reason."""
        names = [name] if name is not None else [name for name in self.found if not name.lower().endswith(_MATERIALS)]
        return next((problem for name in names if (problem := self._problem(name))), None)

    def check_picture(self, picture: Image.Image) -> None:
        """Raises InputError for a picture of more pixels than the mesh's files hold."""
        files = {self._mesh, *(path for path in self.found.values() if path is not None)}
        try:
            check_pixels(*picture.size, sum(path.stat().st_size for path in files))
        except InputError as error:
            raise InputError(f"{self._mesh}: its picture: {error}") from None

    def missing(self) -> list[str]:
        """Names of files of materials that are not there."""
        return [name for name, path in self.found.items() if path is None and name.lower().endswith(_MATERIALS)]

    def _problem(self, name: str) -> str | None:
        path = self.found.get(name)
        if path is None:
            windows = ", a path of Windows," if "\\" in name or re.match(r"[a-zA-Z]:", name) else ""
            outside = "lies outside of its folder" if self._inside(name.replace("\\", "/")) is None else "is not there"
            return f"its picture {name}{windows} {outside}"
        try:
            with unlimited(), Image.open(path) as picture:
                check_pixels(*picture.size, path.stat().st_size)
                picture.load()
        except UnidentifiedImageError:
            return f"its picture {path} is no picture"
        except Exception as error:  # Pillow raises many kinds
            return f"its picture {path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        return None
