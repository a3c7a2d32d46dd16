"""A folder of results that appears only when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subspace.errors import InputError


@contextmanager
def new_folder(path: Path, overwrite: bool, ours: frozenset[str]) -> Iterator[Path]:
    """A hidden folder beside ``path``, renamed to it on success and removed after an exception.

    Args:
        path: the folder to make; missing parents are made too.
        overwrite: replace an existing folder, once the new one is complete.
        ours: the names that this command writes. A folder with anything else in it is never replaced.

    Raises:
        ValueError: something is there already that may not be replaced.
        OSError: the folder cannot be made.
    """
    check_free(path, overwrite, ours)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    except OSError as error:
        raise OSError(f"cannot make a folder in {path.parent}: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())  # mkdtemp's are private
        if path.exists():
            check_free(path, overwrite, ours)  # it may have changed while the model ran
            _replace(path, partial)
        else:
            partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _replace(path: Path, new: Path) -> None:
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old)


def check_free(path: Path, overwrite: bool, ours: frozenset[str]) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"--output={path} is a file")
    entries = sorted(entry.name for entry in path.iterdir())
    if entries and not overwrite:
        raise InputError(f"--output={path} exists and is not empty; name another folder or add --overwrite")
    foreign = [entry for entry in entries if entry not in ours]
    if foreign:
        raise InputError(f"--output={path} holds {foreign[0]!r}, which is no reconstruction's; it is left alone")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
