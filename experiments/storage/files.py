"""Files that are complete or absent, and hashes that show whether they still are what was written.

How they become complete or absent stands in :mod:`vggt_jax.atomic`, which the lower packages share.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from subspace.errors import InputError
from vggt_jax.atomic import new_folder, remove, remove_partial, write_bytes

__all__ = [
    "hashes",
    "new_folder",
    "read_json",
    "remove",
    "remove_partial",
    "sha256",
    "write_bytes",
    "write_json",
]


def write_json(path: Path, content: Any) -> None:
    """:func:`write_bytes` of readable JSON."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote.

    Raises:
        InputError: not JSON.
        OSError: not readable.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
