"""Paths in copies of a shared store, which lie elsewhere on every machine, on their way to a node and back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from experiments.storage import shared
from subspace.errors import InputError


@dataclass(frozen=True)
class Stores:
    """Folders of copies of the process that begins tasks, by the addresses of their stores."""

    folders: Mapping[str, Path]
    """Address → folder."""

    @classmethod
    def of(cls, *values: object) -> Stores:
        """Those that paths in some values lie in."""
        found: dict[str, Path] = {}

        def note(path: Path) -> Path:
            if (place := shared.copies_of(path)) is not None:
                found[place[1]] = place[0]
            return path

        for value in values:
            _changed(value, note)
        return cls(found)

    def here(self, value: Any) -> Any:
        """To be called on a node: a value with this machine's paths in place of the beginner's; what is published is fetched.

        Raises InputError for a store that this machine cannot use, and OSError for one that does not answer.
        """

        def change(path: Path) -> Path:
            own = self.place(path)
            return path if own is None else _fetched(own)

        return _changed(value, change)

    def place(self, path: Path) -> Path | None:
        """To be called on a node: where a path of the beginner's is here, if it lies in a store; nothing is fetched."""
        for address, folder in self.folders.items():
            if path.is_relative_to(folder):
                return _opened(address) / path.relative_to(folder)
        return None

    def there(self, value: Any) -> Any:
        """To be called on a node: the other way round."""

        def change(path: Path) -> Path:
            for address, folder in self.folders.items():
                own = _opened(address)
                if path.is_relative_to(own):
                    return folder / path.relative_to(own)
            return path

        return _changed(value, change)

    def arrived(self, value: Any) -> Any:
        """To be called by the beginner: a value that a node made, once what is published of its paths is here."""

        def change(path: Path) -> Path:
            for folder in self.folders.values():
                if path.is_relative_to(folder):
                    return _fetched(path)
            return path

        return _changed(value, change)


def _fetched(path: Path) -> Path:
    """A path in copies of a store, fetched with what was published together with it, if anything was."""
    for published in (path, *path.parents):
        if shared.is_shared(published) or shared.fetch(published):
            break
    return path


@cache
def _opened(address: str) -> Path:
    try:
        return shared.opened(address)
    except InputError as error:  # such as a package that is missing there
        raise InputError(f"{socket.gethostname()}: {error}", argument="store") from None


def _changed(value: Any, change: Callable[[Path], Path]) -> Any:
    """A value with other paths; what holds none stays what it is."""
    if isinstance(value, Path):
        path = Path(os.path.realpath(value))
        new = change(path)
        return value if new == path else new
    if is_dataclass(value) and not isinstance(value, type):
        old = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        new = {name: _changed(part, change) for name, part in old.items()}
        return value if all(new[name] is old[name] for name in old) else replace(value, **new)
    if isinstance(value, Mapping):
        new = {key: _changed(part, change) for key, part in value.items()}
        return value if all(new[key] is value[key] for key in new) else new
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        parts = [_changed(part, change) for part in value]
        same: Sequence[Any] = value
        return value if all(a is b for a, b in zip(parts, same, strict=True)) else type(value)(parts)
    return value
