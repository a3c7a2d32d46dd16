"""The files below a folder that a user names, each of them once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection
from pathlib import Path

_RESOURCE_FORKS = "__MACOSX"
"""The folder that macOS puts into its archives, of files that only look like the others."""


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files whose names end in one of ``suffixes`` (lower case), at any depth, in the order of their paths.

    Hidden files and folders are left out, and so are the resource forks that macOS packs. Links are followed, but what they
    lead to is listed once, at its own place if that is below the folder: links in circles end nothing.

    Raises:
        OSError: a folder cannot be read.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        status = current.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(current) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.name.startswith(".") or entry.name == _RESOURCE_FORKS:
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif path.suffix.lower() in suffixes:
                    found.append(path)
    return sorted(found)
