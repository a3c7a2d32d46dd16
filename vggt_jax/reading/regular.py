"""What is opened is a file: a pipe or a socket would be waited for, a device never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from subspace.errors import InputError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: str | os.PathLike[str]) -> int:
    """The size of a file in bytes.

    Raises:
        InputError: it is a pipe, a socket or a device.
        OSError: it is missing, or a folder.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    for is_one, what in _KINDS:
        if is_one(found.st_mode):
            raise InputError(f"{os.fspath(path)} is {what}, not a file")
    return found.st_size


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file.

    Raises:
        InputError: it is a pipe, a socket or a device, or has more than ``most`` bytes.
        OSError: it cannot be read.
    """
    if (size := check_regular(path)) > most:
        raise InputError(f"{path} has {size:,} bytes, more than the {most:,} that such a file can have")
    return path.read_bytes()
