"""Files that are complete or absent, and hashes that show whether they still are what was written.

How they become complete or absent stands in :mod:`vggt_jax.atomic`, which the lower packages share.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from subspace.errors import InputError
from vggt_jax.atomic import hidden_folder, new_folder, new_path, remove, remove_partial, sync, write_bytes
from vggt_jax.reading import json_text, typed
from vggt_jax.reading.regular import check_regular

__all__ = [
    "OF_DESKTOPS",
    "check_all_ours",
    "check_as_written",
    "check_named_once",
    "check_ours",
    "everything_below",
    "first_of",
    "hashes",
    "hashes_of",
    "hidden_folder",
    "natural",
    "new_folder",
    "new_path",
    "read_json",
    "reading",
    "remove",
    "remove_partial",
    "sha256",
    "sha256_once",
    "sync",
    "write_bytes",
    "write_json",
]

OF_DESKTOPS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that file managers leave in folders that somebody looks at."""


def write_json(path: Path, content: Any, *, durable: bool = False) -> None:
    """:func:`write_bytes` of readable JSON."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), durable=durable)


def _message(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def reading(path: Path, problem: str = "is damaged", words: Callable[[Exception], str] = _message) -> Iterator[None]:
    """Turns what a reader of a file format raises about the content of ``path`` into an InputError that names it.

    Readers raise whatever they like, so only calls of them belong in here. Errors of the system that name their file pass, and
    so do InputErrors.

    Args:
        path: the file.
        problem: what the error says of it.
        words: what the error says of the reason; by default what the reader says.
    """
    try:
        if not path.is_dir():
            check_regular(path)
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise InputError(f"{path} {problem}: {words(error)}") from error


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: the digits in a path count as numbers, the rest without regard to case."""
    parts = re.split(r"(\d+)", str(path))
    # text sits at even places and numbers at odd ones; the last part breaks ties such as 1.png and 01.png
    key = [(int(part), "") if i % 2 else (0, part.casefold()) for i, part in enumerate(parts)]
    return [*key, (0, str(path))]


def check_ours(folder: Path, ours: Collection[str], argument: str = "output") -> None:
    """Raises InputError unless ``folder`` is absent or empty, or holds something that one of the patterns ``ours`` fits.

    Hidden files and those that file managers leave do not count.
    """
    if not folder.is_dir():
        if folder.exists():
            raise InputError(f"{folder} is a file, not a folder", argument=argument)
        return
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    others = [name for name in names if name not in OF_DESKTOPS]
    if others and not any(fnmatch(name, pattern) for name in others for pattern in ours):
        raise InputError(
            f"{folder} holds {first_of(others)}, and nothing that this would complete; name another folder",
            argument=argument,
        )


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some files of a folder, and of all files below some folders in it, by their paths in the folder."""
    found: dict[str, str] = {}
    for name in names:
        below = hashes(folder / name) if (folder / name).is_dir() else {"": sha256(folder / name)}
        found |= {f"{name}/{inner}".rstrip("/"): value for inner, value in below.items()}
    return found


def check_as_written(folder: Path, written: Mapping[str, str]) -> None:
    """Raises InputError unless the files of finished work still are what :func:`hashes_of` said when it ended."""
    for name, expected in written.items():
        if not (folder / name).is_file() or sha256_once(folder / name) != expected:
            raise InputError(
                f"{folder / name} is not as it was written: edited, or damaged; delete {folder} to make it again"
            )


def everything_below(folder: Path) -> list[str]:
    """Paths in a folder of everything in it, at any depth, but for folders that hold nothing and what file managers leave."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [
            os.path.relpath(os.path.join(place, name), folder) for name in [*names, *links] if name not in OF_DESKTOPS
        ]
    return sorted(found)


def check_all_ours(folder: Path, ours: re.Pattern[str], argument: str = "output") -> None:
    """Raises InputError if a folder that is to be replaced holds, at any depth, something whose path does not fit ``ours``."""
    if foreign := [name for name in everything_below(folder) if not ours.fullmatch(name)]:
        raise InputError(
            f"{folder} would be replaced, and holds {first_of(foreign)}, which this program did not write; nothing was "
            "changed: move that elsewhere, or name another folder",
            argument=argument,
        )


def first_of(names: Sequence[str]) -> str:
    """The first of some names in quotation marks, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_named_once(paths: Sequence[Path], argument: str) -> None:
    """Raises InputError for a file or folder that is among ``paths`` twice."""
    names: dict[Path, Path] = {}
    for path in paths:
        same = names.setdefault(path.resolve(), path)
        if same is not path:
            again = "" if same == path else f", the second time as {path}"
            raise InputError(f"{argument}: {same} is named twice{again}", argument=argument)


def read_json(path: Path, kind: type[Any] = object) -> Any:
    """What :func:`write_json` wrote.

    Args:
        path: the file.
        kind: the type of what it must hold: ``dict``, or anything else that msgspec converts JSON to.

    Raises:
        InputError: it is no JSON, or holds something else.
        OSError: it cannot be read.
    """
    with reading(path):
        content = json_text.read_json(path)
        return content if kind is object else typed.convert(content, kind)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """:func:`sha256`, which reads a file again only if its time or size has changed since this process read it."""
    status = path.stat()
    return _sha256_of(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=10_000)
def _sha256_of(path: Path, version: tuple[int, ...]) -> str:
    return sha256(path)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
