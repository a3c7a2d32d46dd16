"""A training that another machine goes on with: its newest state is in the store that machines share, if there is one."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import jax

from experiments.storage import begun, files
from experiments.storage.files import everything_below

CHECKPOINTS = "checkpoints"
"""Folder of a run, with one for each step that is kept."""
_EVERY_S = 600.0
"""Seconds from one publication to the next: a state may have gigabytes."""
_RECORD = ".state.json"
"""In the folder: the state that this machine had last, its own or one from the store."""


class Continuation:
    """What there is of a folder of runs, in the store. In folders that are no copies of one, nothing happens.

    Args:
        folder: with everything that going on takes; nobody else works in it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._next = time.monotonic() + _EVERY_S
        self._alone = jax.process_count() == 1  # the processes of a job share their file system

    def fetch(self) -> None:
        """Get the newest state, unless this machine has it. Raises OSError for a store that does not answer."""
        newest = self._newest() if self._alone else 0
        if newest <= self._known():
            return
        if fetched := begun.fetch(self._folder, _name(newest), self._folder):
            self._drop_later(fetched)
            self._note(newest)

    def saved(self) -> None:
        """There is a new checkpoint: publish it, some minutes after the last one. Raises OSError if that fails."""
        if not self._alone or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        parts = begun.parts(self._folder)
        number = self._newest(parts) + 1
        begun.publish(self._folder, _name(number), self._newest_files())
        self._note(number)
        begun.drop(self._folder, [part for part in parts if _number(part)])

    def _newest(self, parts: list[str] | None = None) -> int:
        return max((_number(part) for part in (begun.parts(self._folder) if parts is None else parts)), default=0)

    def _known(self) -> int:
        record = self._folder / _RECORD
        return int(files.read_json(record, dict)["number"]) if record.is_file() else 0

    def _note(self, number: int) -> None:
        files.write_json(self._folder / _RECORD, {"number": number})

    def _drop_later(self, fetched: Collection[str]) -> None:
        """Delete this machine's checkpoints of steps that the state from the store has not come to, as its metrics have not."""
        for name in fetched:
            if (where := _checkpoint(name)) is not None:
                for path in (self._folder / where[0]).iterdir():
                    if path.name.isdecimal() and int(path.name) > where[1]:
                        files.remove(path)

    def _newest_files(self) -> list[str]:
        """All files but hidden ones and those of older checkpoints."""
        steps: dict[Path, int] = {}
        found = []
        for name in everything_below(self._folder):
            if (where := _checkpoint(name)) is not None:
                steps[where[0]] = max(where[1], steps.get(where[0], 0))
            elif any(part.startswith(".") for part in Path(name).parts):
                continue
            found.append(name)
        return [name for name in found if (where := _checkpoint(name)) is None or steps[where[0]] == where[1]]


def _checkpoint(name: str) -> tuple[Path, int] | None:
    """Folder and step of the checkpoint that a file belongs to."""
    parts = Path(name).parts
    if CHECKPOINTS in parts[:-2]:
        place = parts.index(CHECKPOINTS)
        if parts[place + 1].isdecimal():
            return Path(*parts[: place + 1]), int(parts[place + 1])
    return None


def _name(number: int) -> str:
    return f"state_{number:06d}"


def _number(part: str) -> int:
    """0 for a part that is no state."""
    return int(part.removeprefix("state_")) if part.startswith("state_") else 0
