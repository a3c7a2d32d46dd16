"""What there is of work that is not finished, in a store that machines share, so that another machine goes on with it.

A part is one object, and so there whole or not at all: ``begun/STAGE/LABEL-HASH/PART.zip``, for instance a scene of a data set
or the newest state of a training. Parts go when their folder is published. In folders that are no copies of a store, nothing
happens.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from experiments.storage import files, shared
from subspace.errors import InputError

_SUFFIX = ".zip"


def publish(folder: Path, part: str, paths: Iterable[str], *, whole: Path | None = None) -> None:
    """Put files into the store as a part of a folder, in place of an earlier one of that name.

    Args:
        folder: that the part belongs to.
        part: its name.
        paths: of the files.
        whole: the folder that the paths begin in, ``folder`` by default.

    Raises OSError for what cannot be read or written.
    """
    place = shared.place_of(folder)
    if place is None:
        return
    objects, name = place
    with files.hidden_folder(folder / part) as hidden:
        archive = hidden / "part"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for path in paths:
                packed.write((whole or folder) / path, path)
        objects.put_file(_object(name, part), archive)
        archive.unlink()


def parts(folder: Path) -> list[str]:
    """Names of what the store has of a folder."""
    place = shared.place_of(folder)
    return [] if place is None else shared.parts_of(*place)


def fetch(folder: Path, part: str, target: Path) -> list[str]:
    """Unpack a part into a folder; the names of its files, none where there is no part, or none that is whole.

    What lies in the target stays, but for files of the same names. A folder that it does not have yet appears there whole, and
    only when all files beside it are there.
    """
    place = shared.place_of(folder)
    if place is None:
        return []
    objects, name = place
    with files.hidden_folder(target) as hidden:
        archive, new = hidden / "part", hidden / "new"
        try:
            objects.read_file(_object(name, part), archive)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(new)
                names = packed.namelist()
        except (FileNotFoundError, zipfile.BadZipFile):  # its sums are compared
            return []
        finally:
            archive.unlink(missing_ok=True)
        files.sync(new)
        _move(new, target)
    return names


def drop(folder: Path, gone: Iterable[str]) -> None:
    """Delete parts of a folder from the store."""
    place = shared.place_of(folder)
    if place is not None:
        for part in gone:
            place[0].delete(_object(place[1], part))


def _move(new: Path, target: Path) -> None:
    if not target.exists():
        os.replace(new, target)
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file, not a folder")
    for path in sorted(new.iterdir(), key=lambda path: path.is_dir()):
        if path.is_dir():
            _move(path, target / path.name)
        else:
            os.replace(path, target / path.name)


def _object(name: str, part: str) -> str:
    return f"{shared.BEGUN}/{name}/{part}{_SUFFIX}"
