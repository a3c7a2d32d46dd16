"""A store that machines share: what one has finished, the others find.

``--store=s3://BUCKET/FOLDER`` gives commands a folder of copies on this machine, in which they work as in any other. Where work
begins, what others have published of it is fetched (:func:`fetch`); where it ends, it is published (:func:`publish`): every
file becomes an object that its SHA-256 names, and then one object lists them. So a folder is there whole or not at all, nothing
is stored twice, and a machine that stops in between leaves nothing that anybody reads. Names of folders say what they depend on
(:mod:`experiments.storage.identity`), which is the same on every machine. In folders that are no such copies, nothing happens.

In the store::

    published/STAGE/LABEL-HASH.json     files of a folder with sizes and hashes, and which machine made it
    objects/1f/1f2e3d…                  the files
    begun/STAGE/LABEL-HASH/PART.zip     what there is of a folder that is not finished (:mod:`experiments.storage.begun`)
    running/…, failed/…                 who works at what, and what went wrong (:mod:`experiments.storage.leases`)
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from experiments.process.reporting import SILENT
from experiments.storage import files
from experiments.storage.copies import Copies, Published, PublishedFile
from experiments.storage.objects import Objects, is_address
from subspace.errors import InputError
from vggt_jax.reading import typed

T = TypeVar("T")
U = TypeVar("U")

ORIGIN = ".shared.json"
"""In a folder of copies: the address of the store."""
BEGUN = "begun"
"""Folder of the store with parts of what is not finished."""
_AT_ONCE = 16
"""Objects that are on their way together."""
_CACHE = "ATTRIBUTE_SUBSPACES_CACHE"
"""Variable of the environment: the folder that copies of stores lie in."""
_CACHE_GB = "ATTRIBUTE_SUBSPACES_CACHE_GB"
"""Variable of the environment: gigabytes that the copies of a store may take."""
_MOST_GB = 100.0
"""By default."""


class _Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    address: str


@dataclass(frozen=True)
class SharedStore:
    """A store, and the folder of this machine that has copies of it."""

    objects: Objects
    """The store."""
    copies: Copies
    """On this machine."""

    def published(self, name: str) -> Published | None:
        """What the store says of a folder; None where nothing of that name is finished.

        Raises InputError for what is damaged, and OSError for a store that does not answer.
        """
        content = self.objects.read(_manifest(name))
        if content is None:
            return None
        try:
            return typed.decode(content, Published)
        except msgspec.DecodeError as error:
            raise InputError(f"{self.objects.address}/{_manifest(name)} is damaged: {error}") from None

    def names(self, below: str = "") -> list[str]:
        """Of everything that is published in a folder of the store."""
        found = self.objects.names(f"published/{below}".rstrip("/"))
        return [name.removeprefix("published/").removesuffix(".json") for name in found if name.endswith(".json")]

    def fetch(self, name: str) -> bool:
        """Make the copy what the store has; False where nothing of that name is finished.

        What else lies in the folder stays. Raises InputError for what is damaged in the store, and OSError for what cannot be
        read or written.
        """
        published = self.published(name)
        if published is None:
            return False
        if not self.copies.use(name, published):
            self.copies.make_room(published.size)
            self._download(self.copies.folder / name, published)
            self.copies.keep(name, published)
            SILENT.info(f"fetched {self.objects.address}/{name}")
        return True

    def publish(self, name: str, last: str, paths: Iterable[str] | None = None) -> None:
        """Put a finished folder into the store, in place of what was published before under its name.

        Args:
            name: of the folder, below the folder of the copies.
            last: the file in it that says that it is complete.
            paths: files in it; by default all but hidden ones.

        Raises OSError for what cannot be read or written; then what was published before is still there.
        """
        folder = self.copies.folder / name
        chosen = _visible(folder) if paths is None else sorted(paths)
        described = dict(zip(chosen, _together(lambda path: _describe(folder / path), chosen), strict=True))
        new = Published(
            last=last, files=described, host=socket.gethostname(), date=datetime.now(UTC).isoformat(timespec="seconds")
        )
        before = self.published(name)
        if not new.is_same(before):
            known = set() if before is None else {file.sha256 for file in before.files.values()}
            missing = {file.sha256: path for path, file in described.items() if file.sha256 not in known}
            _together(lambda path: self._upload(folder / path, described[path]), list(missing.values()))
            self.objects.put(_manifest(name), msgspec.json.format(msgspec.json.encode(new), indent=1))
            SILENT.info(f"published {self.objects.address}/{name}")
        self.copies.keep(name, new if before is None or not new.is_same(before) else before)
        for part in parts_of(self.objects, name):
            self.objects.delete(f"{BEGUN}/{name}/{part}.zip")

    def _upload(self, path: Path, file: PublishedFile) -> None:
        if self.objects.size(file.object) != file.size:
            self.objects.put_file(file.object, path)

    def _download(self, folder: Path, published: Published) -> None:
        if not folder.exists():
            with files.new_folder(folder) as new:
                self._read(published, published.files, new)
                files.sync(new)
            return
        missing = {
            path: file
            for path, file in published.files.items()
            if not (folder / path).is_file() or _describe(folder / path) != file
        }
        with files.hidden_folder(folder) as hidden:
            self._read(published, missing, hidden)
            for path in sorted(missing, key=lambda path: path == published.last):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(hidden / path, folder / path)

    def _read(self, published: Published, paths: Iterable[str], folder: Path) -> None:
        def read(path: str) -> None:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.objects.read_file(published.files[path].object, target)
            if _describe(target) != published.files[path]:
                place = f"{self.objects.address}/{published.files[path].object}"
                raise InputError(f"{place} is not what was published as {path} of {folder.name}: damaged, or edited")

        for path in paths:
            if path.startswith("/") or ".." in path.split("/"):
                raise InputError(f"{self.objects.address} lists a file {path!r}, which lies nowhere in its folder")
        _together(read, list(paths))


def opened(place: str | Path) -> Path:
    """The folder that commands work in for ``--store``: a path itself, or for an address the folder of its copies.

    Copies lie in ``~/.cache/attribute-subspaces/stores``, or where ``ATTRIBUTE_SUBSPACES_CACHE`` of the environment says, and
    take 100 GB at most, or what ``ATTRIBUTE_SUBSPACES_CACHE_GB`` says.

    Args:
        place: a path, or ``s3://…``, ``gs://…``, ``file://…``.

    Raises:
        InputError: no such scheme, package or bucket.
        OSError: the store does not answer, or refuses.
    """
    if not is_address(str(place)):
        return Path(place)
    objects = Objects(str(place))
    objects.check()
    _most_bytes()
    folder = _cache() / hashlib.sha256(objects.address.encode()).hexdigest()[:12]
    origin = folder / ORIGIN
    if not origin.is_file():
        files.write_json(origin, msgspec.to_builtins(_Origin(address=objects.address)))
    return folder


def found(place: str | Path) -> Path:
    """A file or folder of a store by its address, fetched; a path is itself.

    Raises:
        InputError: nothing of that name is published.
        OSError: the store does not answer, or something cannot be written.
    """
    text = str(place).rstrip("/")
    if not is_address(text):
        return Path(place)
    parts = text.split("/")
    shortest = 4 if text.startswith("file:") else 3  # a bucket may be a store itself
    for end in range(len(parts) - 1, shortest - 1, -1):  # from the longest store to the shortest
        objects = Objects("/".join(parts[:end]))
        for last in range(len(parts), end, -1):
            name = "/".join(parts[end:last])
            if objects.size(_manifest(name)) is not None:
                store = store_at(opened(objects.address))
                store.fetch(name)
                path = store.copies.folder.joinpath(*parts[end:])
                if path.exists():
                    return path
    raise InputError(f"{text} is not published there (what is can be seen with `attribute-subspaces status`)")


def parts_of(objects: Objects, name: str) -> list[str]:
    """Names of the parts that a store has of a folder, see :mod:`experiments.storage.begun`."""
    found = [path.removeprefix(f"{BEGUN}/{name}/") for path in objects.names(f"{BEGUN}/{name}")]
    return [path.removesuffix(".zip") for path in found if "/" not in path]


def address_of(folder: Path) -> str | None:
    """The address of the store that a folder, or one above it, has copies of; None where it has none."""
    place = _place(folder)
    return None if place is None else place[0].objects.address


def fetch(folder: Path) -> bool:
    """Make a folder what was published of it, if it lies in one of copies; whether anything was."""
    place = _place(folder)
    return place is not None and place[0].fetch(place[1])


def publish(folder: Path, last: str, paths: Iterable[str] | None = None) -> None:
    """Publish a finished folder, if it lies in a folder of copies; see :meth:`SharedStore.publish`."""
    place = _place(folder)
    if place is not None:
        place[0].publish(place[1], last, paths)


def settle(folder: Path, last: str, paths: Iterable[str] | None = None) -> None:
    """:func:`publish` for a folder that never changes, unless this machine did so before or has fetched it."""
    place = _place(folder)
    if place is not None and place[0].copies.read(place[1]) is None:
        place[0].publish(place[1], last, paths)


def place_of(folder: Path) -> tuple[Objects, str] | None:
    """The store that a folder is published in, and its name there; None where it is in none."""
    place = _place(folder)
    return None if place is None else (place[0].objects, place[1])


def copies_of(folder: Path) -> tuple[Path, str] | None:
    """The folder of copies that a path lies in, or that it is, and the address of its store; None for other paths."""
    folder = Path(os.path.realpath(folder))
    for parent in (folder, *folder.parents):
        if is_shared(parent):
            return parent, store_at(parent).objects.address
    return None


def is_shared(folder: Path) -> bool:
    """Whether a folder is one of copies, which :func:`opened` gave for an address."""
    return (folder / ORIGIN).is_file()


def _place(folder: Path) -> tuple[SharedStore, str] | None:
    folder = Path(os.path.realpath(folder))
    for parent in folder.parents:
        if is_shared(parent):
            return store_at(parent), folder.relative_to(parent).as_posix()
    return None


@cache
def store_at(folder: Path) -> SharedStore:
    """The store of a folder of copies. Raises OSError for a folder that is none."""
    origin: _Origin = files.read_json(folder / ORIGIN, _Origin)
    return SharedStore(Objects(origin.address), Copies(folder, _most_bytes()))


def _cache() -> Path:
    if given := os.environ.get(_CACHE):
        return Path(given)
    kept = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(kept) / "attribute-subspaces" / "stores"


def _most_bytes() -> int:
    given = os.environ.get(_CACHE_GB, str(_MOST_GB))
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise InputError(f"{_CACHE_GB}={given} is no number of gigabytes")
    return int(gigabytes * 1e9)


def _manifest(name: str) -> str:
    return f"published/{name}.json"


def _describe(path: Path) -> PublishedFile:
    return PublishedFile(path.stat().st_size, files.sha256(path))


def _visible(folder: Path) -> list[str]:
    return [
        path for path in files.everything_below(folder) if not any(part.startswith(".") for part in path.split("/"))
    ]


def _together(work: Callable[[T], U], items: list[T]) -> list[U]:
    """The work on all items by a few threads; the first error ends it."""
    with ThreadPoolExecutor(_AT_ONCE, "store") as pool:
        running = [pool.submit(work, item) for item in items]
        try:
            return [each.result() for each in running]
        except BaseException:
            for each in running:
                each.cancel()
            raise
