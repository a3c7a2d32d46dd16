"""Output that appears under its name only once it is complete."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pending_output(target: Path, size: int) -> Iterator[Path]:
    """Gives a path to write a file or folder to, on the disk of ``target``; afterwards it becomes ``target``.

    It lies in a folder ``.NAME.partial`` beside the target, which an error removes. What a killed run left there is
    removed by the next one. Folders above the target are made.

    Args:
        target: the file or folder to be; an empty folder may be there already.
        size: bytes that will be written.

    Raises:
        FileExistsError: the target exists, or another process is writing it.
        OSError: the disk has less than ``size`` bytes left, or cannot be written.
    """
    target = Path(os.path.abspath(target))
    check_absent(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _own_folder(target.parent / f".{target.name}.partial", target) as folder:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OSError(f"{target}: needs {size / 2**20:,.0f} MiB, the disk has {free / 2**20:,.0f} MiB left")
        yield folder / target.name
        check_absent(target)
        os.rename(folder / target.name, target)


def check_absent(target: Path) -> None:
    """Raises FileExistsError where something other than an empty folder is in the way."""
    if target.is_symlink() or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(f"{target}: exists already; remove it or choose another name")


@contextmanager
def _own_folder(folder: Path, target: Path) -> Iterator[Path]:
    """An empty folder that no other process gets; the lock on it ends with this process, however it ends."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held the lock just before may have removed the folder since it was opened here.
            if not os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            raise FileExistsError(f"{target}: another process is writing it") from None
        try:
            _clear(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
