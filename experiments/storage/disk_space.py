"""A full disk, told in one line that says where."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = tuple(os.strerror(number) for number in _FULL)
"""In errors of libraries that keep no number."""


class DiskFullError(OSError):
    """Something could not be written for want of space."""

    def __init__(self, path: Path):
        advice = "no space left on device; make some and run this again, it goes on where it stopped"
        super().__init__(errno.ENOSPC, advice, str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"

    def __reduce__(self) -> tuple[type[DiskFullError], tuple[Path]]:
        return type(self), (Path(self.filename),)


@contextmanager
def named_if_full(path: Path) -> Iterator[None]:
    """What fails within because a disk or a quota is full raises :class:`DiskFullError` naming ``path``.

    Everything else is raised as it is, an inner :class:`DiskFullError` too.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:  # libraries raise whatever the store below them does
        if _is_full(error):
            raise DiskFullError(path) from error
        raise


def tells_of_full_disk(message: str) -> bool:
    """Whether a library's message is about a full disk or quota."""
    return any(words in message for words in _WORDS)


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or tells_of_full_disk(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
