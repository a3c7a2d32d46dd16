"""A folder of results that appears only when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subspace.errors import InputError
from vggt_jax.atomic import new_path


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

    def check(target: Path) -> None:
        check_free(target, overwrite, ours)

    with new_path(path, check=check) as folder:
        folder.mkdir()
        yield folder


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
