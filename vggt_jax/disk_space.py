"""A disk that takes no more, told in one line that says where and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from subspace.errors import InputError

_GOES_ON = "and run this again, it goes on where it stopped"
ADVICE: Mapping[int, str] = {
    errno.ENOSPC: f"make room {_GOES_ON}",
    errno.EDQUOT: f"delete something of yours there, or ask for more, {_GOES_ON}",
    errno.EFBIG: f"raise the shell's limit (ulimit -f) or take another disk, {_GOES_ON}",
    errno.EROFS: "take a folder on another disk, or have this one made writable",
    errno.EIO: f"the disk may be failing: look at the system's log, {_GOES_ON}",
}
"""Numbers of errors that are the disk's → what to do."""
TAKE_ANOTHER = "name a folder in which you may write"
"""What to do where the system says that something may not be written."""
_WORDS = {os.strerror(number): number for number in ADVICE}
"""In errors of libraries that keep no number."""
_HIDDEN = re.compile(r"(?<![^/])\.([^/]+)\.[a-z0-9_]{8}\.partial(?:/\1(?=/|$))?")


class DiskFullError(OSError):
    """Something could not be written: no space, a quota, a limit of files' sizes, a disk that is read-only or broken."""

    def __init__(self, path: Path | str, number: int = errno.ENOSPC, words: str = ""):
        """``path``, or an address, is named as it will be when complete; ``words`` say more than ``number``."""
        super().__init__(number, in_words(number, words), to_be(str(path)))
        self._words = words

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"

    def __reduce__(self) -> tuple[type[DiskFullError], tuple[str, int, str]]:
        return type(self), (self.filename, self.errno or errno.ENOSPC, self._words)


def in_words(number: int, words: str = "") -> str:
    """An error of the system, in its own words if there are no better ones, with what to do where that is known."""
    words = words or os.strerror(number)
    return "; ".join([words[0].lower() + words[1:], *([ADVICE[number]] if number in ADVICE else [])])


@contextmanager
def named_if_full(path: Path) -> Iterator[None]:
    """What fails within because a disk takes no more raises :class:`DiskFullError` naming ``path``, or the file if it is known.

    Everything else is raised as it is, an inner :class:`DiskFullError` and what is said of a user's file too.
    """
    try:
        yield
    except (DiskFullError, InputError):
        raise
    except Exception as error:  # libraries raise whatever the store below them does
        if (number := _number(error)) is not None:
            if isinstance(error, OSError) and error.filename is not None and error.filename2 is None:
                path = Path(os.fsdecode(error.filename))
            raise DiskFullError(path, number) from error
        raise


def to_be(path: str) -> str:
    """The path that a file would have got when it was complete (:mod:`vggt_jax.atomic`)."""
    return _HIDDEN.sub(r"\1", path)


def tells_of_full_disk(message: str) -> bool:
    """Whether a library's message is about a disk that takes no more."""
    return any(words in message for words in _WORDS)


def _number(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno in ADVICE:
            return error.errno
        for words, number in _WORDS.items():
            if words in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None
