"""Files that are complete or absent, and hashes that show whether they still are what was written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from subspace.errors import InputError

_PARTIAL = ".partial"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside ``path``, renamed to it at the end and removed after an exception.

    Whatever was at ``path`` is replaced.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            remove(path)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Delete a folder so that an interruption leaves nothing at ``path`` that looks complete."""
    doomed = path.with_name(f".{path.name}.old{_PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_partial(folder: Path) -> None:
    """Delete what interrupted writers left in a folder."""
    for left in folder.glob(f".*{_PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it."""
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """:func:`write_bytes` of readable JSON."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote.

    Raises:
        ValueError: not JSON.
        OSError: not readable.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
