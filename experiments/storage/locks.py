"""One at a time: who wants to work where another process works waits for it, and says for whom.

A lock is a hidden file that its owner holds by ``flock``, which NFS passes on to its server; the system takes it back when the
owner ends, whatever ends it, so that a file that is left over locks nothing. It says who the owner is. On disks that know no
``flock`` the file is a lease of the library ``filelock``: its owner renews it, and what has not been renewed is over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

import filelock

from experiments.process.hosts import is_first, wait_for_all
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.leases import leased

NAME = ".lock"
"""Of the file in a folder that is worked in; beside one that will be replaced lies ``.FOLDER.lock``."""
_LOOK_EVERY_S = 0.2
_TRIES = 1000
"""To make a file in a folder that others remove; in ``/proc`` none can be made, which looks the same."""
_LEASE_S = 60.0
_UNKNOWN = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""Errors of disks without ``flock``."""
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

_Release = Callable[[], None]


@contextmanager
def alone(place: Path, reporter: Reporter = SILENT, *, inside: bool = False) -> Iterator[None]:
    """Within it no other process works at ``place``; waits until that is so.

    Where nothing can be written there is nothing to lock. What is made for the lock is gone afterwards. In copies of a shared
    store, the same holds for other machines, and what they have published of ``place`` is there
    (:mod:`experiments.storage.leases`).

    Args:
        place: a folder that is worked at, which need not exist; links to it are the same place.
        reporter: is told for whom this process waits.
        inside: the folder is worked in, so that the lock lies in it; otherwise the lock lies beside it, as it will be replaced.

    Raises OSError if the lock cannot be made.
    """
    folder = Path(os.path.realpath(place))
    file = folder / NAME if inside else folder.with_name(f".{folder.name}{NAME}")
    missing = [parent for parent in file.parents if not parent.exists()]
    told = None
    while (release := _take(file)) is None:
        if (owner := _owner(file)) != told:
            told = owner
            reporter.info(f"{place}: {owner} works there; waiting until that has ended")
        time.sleep(_LOOK_EVERY_S)
    try:
        with leased(folder, _own(), reporter):
            yield
    finally:
        release()
        for parent in missing:
            with suppress(OSError):  # it is not empty, as it should be
                parent.rmdir()


@contextmanager
def after_first_alone(folder: Path, reporter: Reporter = SILENT) -> Iterator[None]:
    """:func:`alone` in a folder for all processes of a job, of which the first waits, and the others for that one."""
    with alone(folder, reporter, inside=True) if is_first() else nullcontext():
        wait_for_all(f"the lock of {folder.name}")
        yield


def sweep(place: Path) -> None:
    """Delete the file of a lock beside ``place`` whose owner is dead. Raises OSError if that cannot be done."""
    folder = Path(os.path.realpath(place))
    file = folder.with_name(f".{folder.name}{NAME}")
    if file.exists() and (release := _take(file)) is not None:
        release()


def owner_of(place: Path) -> str | None:
    """Who works at a folder, in words; None if nobody does. Nothing is waited for, and nothing changed."""
    folder = Path(os.path.realpath(place))
    for file in (folder / NAME, folder.with_name(f".{folder.name}{NAME}")):
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # somebody has it, or the disk knows no flock
            return _owner(file)
        finally:
            os.close(descriptor)
    return None


def _take(file: Path) -> _Release | None:
    """What gives the lock back, once this process has it; None while another one has it."""
    while True:
        try:
            descriptor = _open(file)
        except OSError as error:
            if error.errno in _READ_ONLY:
                return _nothing
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            if error.errno in _UNKNOWN:
                return _lease(file)
            raise OSError(error.errno, error.strerror, str(file)) from error
        if _is_at(descriptor, file):
            with suppress(OSError):  # a full disk, or a file of somebody else's
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(_own()).encode())
            return lambda: _give_back(file, descriptor)
        os.close(descriptor)  # its owner has just deleted it


def _open(file: Path) -> int:
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # whoever made the folder has just removed it
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            except PermissionError:
                if not file.exists():
                    raise
                return os.open(file, os.O_RDONLY)  # somebody else's
    raise FileNotFoundError(errno.ENOENT, "nothing can be made there; choose another folder", str(file.parent))


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _give_back(file: Path, descriptor: int) -> None:
    with suppress(OSError):
        file.unlink()  # before it is free, as whoever has it next must find it
    os.close(descriptor)


def _lease(file: Path) -> _Release | None:
    lease = filelock.SoftFileLease(f"{file}.lease", lease_duration=_LEASE_S)
    try:
        lease.acquire(timeout=0)
    except filelock.Timeout:
        return None
    with suppress(OSError):
        file.write_text(json.dumps(_own()))

    def release() -> None:
        with suppress(OSError):
            file.unlink()
        lease.release()

    return release


def _nothing() -> None:
    pass


def _own() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }


def _owner(file: Path) -> str:
    """Who holds the lock, in words."""
    try:
        said = json.loads(file.read_bytes())
        return f"process {said['pid']} on {said['host']} (since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # just begun, or just over
        return "another process"
