"""What this machine has of a shared store: folders as they were published, and which of them go when there is no more room."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Annotated

import msgspec

from experiments.storage import files
from subspace.errors import InputError

OBJECTS = "objects"
"""Folder of the store with the content of all files."""
_RECORDS = ".published"
"""Folder of the records in the folder of the copies."""
_LOCKED = ".in_use"
"""A file beside the records: each copy has a byte of it, which the processes that use the copy lock as long as they live."""
_DESCRIPTORS: dict[Path, int] = {}
"""That file → this process's only descriptor of it, which is never closed, as all of its locks would be gone."""
_IN_USE: set[Path] = set()
"""Records of the copies that this process uses, whose locks do not count for itself."""
_NOT_OURS = frozenset({errno.EAGAIN, errno.EACCES, errno.EPERM, errno.EROFS, errno.EBADF})
"""Errors where another process has locked a byte, or where the file is somebody else's, so that it is open for reading."""
_MARKING = Lock()
"""Keeps threads from using what another one deletes."""


class PublishedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a folder."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    """Number of bytes."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of its bytes, in hexadecimal; names the object in the store."""

    @property
    def object(self) -> str:
        """Name of the object."""
        return f"{OBJECTS}/{self.sha256[:2]}/{self.sha256}"


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the store says of a finished folder, under ``published/``; written when all objects are there."""

    format: int = 1
    """Version of the store's format."""
    last: str
    """The file that says that the folder is complete."""
    files: dict[str, PublishedFile]
    """By their paths in the folder."""
    host: str
    """Where it was made."""
    date: str
    """When it was published, in ISO 8601."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def is_same(self, other: Published | None) -> bool:
        """Whether the files are the same."""
        return other is not None and self.files == other.files


class Copies:
    """Copies of published folders, in a folder with everything that is in the making.

    Args:
        folder: of all of them.
        most_bytes: that copies may take together before those that were used longest ago are deleted; what a process uses
            stays, and so does what was never published.
    """

    def __init__(self, folder: Path, most_bytes: int):
        self.folder, self.most_bytes = folder, most_bytes

    def read(self, name: str) -> Published | None:
        """As what a folder was published or fetched; None if it was neither."""
        try:
            return files.read_json(self._record(name), Published)
        except (FileNotFoundError, InputError):
            return None

    def keep(self, name: str, published: Published) -> None:
        """Put on record that a folder is as it was published, and that this process uses it."""
        files.write_json(self._record(name), msgspec.to_builtins(published))
        self._use(name)

    def use(self, name: str, published: Published) -> bool:
        """Whether the copy is what was published. If so, this process uses it from now on, and it was used just now."""
        if not published.is_same(self.read(name)):
            return False
        self._use(name)
        return all((self.folder / name / path).is_file() for path in published.files)

    def make_room(self, bytes: int) -> list[str]:
        """Delete what was used longest ago until so much more fits; names of what was deleted."""
        kept = sorted(self._kept(), key=lambda entry: entry[0])
        total = sum(published.size for _, _, published in kept) + bytes
        gone = []
        for _, name, published in kept:
            if total <= self.most_bytes:
                break
            if self._delete(name, published):
                total -= published.size
                gone.append(name)
        return gone

    def _kept(self) -> Iterator[tuple[int, str, Published]]:
        """Time of the last use, name and content of the copies."""
        records = self.folder / _RECORDS
        for path in sorted(records.rglob("*.json")) if records.is_dir() else []:
            name = path.relative_to(records).as_posix().removesuffix(".json")
            with suppress(OSError):
                if (published := self.read(name)) is not None:
                    yield path.stat().st_mtime_ns, name, published

    def _record(self, name: str) -> Path:
        return self.folder / _RECORDS / f"{name}.json"

    def _use(self, name: str) -> None:
        record = self._record(name)
        with suppress(OSError):
            os.utime(record)
        with _MARKING:
            if record not in _IN_USE:
                with suppress(OSError):  # a disk that knows no locks
                    self._lock(name, fcntl.LOCK_SH)
                _IN_USE.add(record)

    def _delete(self, name: str, published: Published) -> bool:
        """Delete a copy that nobody uses: what says that it is complete first, and what was not published stays."""
        record = self._record(name)
        with _MARKING:
            if record in _IN_USE:
                return False
            try:
                self._lock(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NOT_OURS:
                    return False  # and otherwise the disk knows no locks
            try:
                if not record.is_file():
                    return False
                self._remove(self.folder / name, published.last, published.files)
                record.unlink(missing_ok=True)
            finally:
                with suppress(OSError):
                    self._lock(name, fcntl.LOCK_UN)
        return True

    def _lock(self, name: str, how: int) -> None:
        file = self.folder / _RECORDS / _LOCKED
        if file not in _DESCRIPTORS:
            try:
                _DESCRIPTORS[file] = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
            except PermissionError:  # somebody else's, whose copies can be used and not deleted
                _DESCRIPTORS[file] = os.open(file, os.O_RDONLY)
        byte = int.from_bytes(sha256(name.encode()).digest()[:8]) >> 2
        fcntl.lockf(_DESCRIPTORS[file], how, 1, byte)

    @staticmethod
    def _remove(folder: Path, last: str, listed: Mapping[str, PublishedFile]) -> None:
        if set(files.everything_below(folder)) <= listed.keys():
            if folder.is_dir():
                files.remove(folder)
            return
        for path in [last, *listed]:
            (folder / path).unlink(missing_ok=True)
        for path in sorted({(folder / path).parent for path in listed}, reverse=True):
            with suppress(OSError):  # it holds something else
                path.rmdir()
