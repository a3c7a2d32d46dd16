"""What somebody may have meant who named something that is not there."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """``; did you mean TEXTURE?`` if one of ``names`` is close to ``name`` or the only one that begins so, or else nothing.

    One that is the same but for capitals comes first.
    """
    names = list(names)
    same = [each for each in names if each.lower() == name.lower()]
    longer = [each for each in names if len(name) > 2 and each.startswith(name)]
    close = same or (longer if len(longer) == 1 else difflib.get_close_matches(name, names, 1))
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def nearest_path(path: str | os.PathLike[str]) -> str:
    """What :func:`nearest` says of the names that lie where a missing file or folder should; hidden ones for a hidden one."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return ""
    return nearest(name, (each for each in os.listdir(folder) if name.startswith(".") or not each.startswith(".")))


def no_folder(path: str | os.PathLike[str]) -> str:
    """Why ``path`` cannot be used, which is no folder."""
    if os.path.exists(path):
        return f"{path} is a file, not a folder"
    return f"there is no folder {path}{nearest_path(path)}"
