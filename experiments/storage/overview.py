"""What there is in a store, a folder or one that machines share: done, running, not finished or failed, and why."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from experiments.storage import files, leases, shared
from experiments.storage.locks import owner_of
from experiments.storage.results import INDEX

State = Literal["done", "running", "lost", "failed", "unfinished"]
"""``lost``: whoever works at it was not heard of for minutes. ``unfinished``: nobody works at what was begun."""
_AT_ONCE = 16
_CACHES = frozenset({"tokens"})
"""Folders of what is made again at any time, which is never finished."""


@dataclass(frozen=True)
class Entry:
    """A folder of a store."""

    name: str
    """Stage and folder, such as ``extract/LABEL-HASH``."""
    state: State
    """How far it is."""
    bytes: int | None = None
    """Of what is done."""
    by: str = ""
    """Who made it, or works at it."""
    since: str = ""
    """When that was, or began."""
    reason: str = ""
    """What went wrong."""


def overview(store: Path, completed_by: Collection[str]) -> list[Entry]:
    """Everything in a store, by name.

    Args:
        store: a folder that commands share, or the folder of copies of what machines share.
        completed_by: names of the files that say that a folder is complete.

    Raises:
        InputError: an object of the store is damaged.
        OSError: it cannot be read.
    """
    found = _of_machines(shared.store_at(store)) if shared.is_shared(store) else _of_folder(store, completed_by)
    return sorted(found, key=lambda entry: entry.name)


def _of_machines(store: shared.SharedStore) -> Iterator[Entry]:
    failed, running = leases.failed(store.objects), leases.running(store.objects)
    names = store.names()
    around = {name.rpartition("/")[0] for name in names}  # of data sets, each of which counts
    names = [name for name in names if name not in around]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, published in zip(names, pool.map(store.published, names), strict=True):
            if published is not None and name not in running and name not in failed:
                yield Entry(name, "done", published.size, published.host, published.date)
    for name in {path.partition("/")[2].rpartition("/")[0] for path in store.objects.names(shared.BEGUN)}:
        if name not in running and name not in failed:
            yield Entry(name, "unfinished")
    for name, lease in running.items():
        by = f"process {lease.pid} on {lease.host}"
        yield Entry(name, "lost" if lease.is_lost else "running", by=by, since=lease.since)
    for name, failure in failed.items():
        if name not in running:
            tried = "" if failure.attempts == 1 else f" ({failure.attempts} attempts)"
            yield Entry(name, "failed", by=failure.host, since=failure.date, reason=f"{failure.reason}{tried}")


def _of_folder(store: Path, completed_by: Collection[str]) -> Iterator[Entry]:
    for stage in sorted(
        path for path in store.iterdir() if path.is_dir() and path.name not in _CACHES and path.name[0] != "."
    ):
        if any((stage / mark).is_file() for mark in completed_by):  # results that somebody gave a name of their own
            yield from _below(stage, stage.name, completed_by)
            continue
        for folder in sorted(path for path in stage.iterdir() if path.is_dir() and not path.is_symlink()):
            if not folder.name.startswith("."):
                yield from _below(folder, f"{stage.name}/{folder.name}", completed_by)
        for lock in sorted(stage.glob(".*.lock")):  # of what has only been begun
            folder = stage / lock.name.removeprefix(".").removesuffix(".lock")
            if not folder.exists() and (owner := owner_of(folder)) is not None:
                yield Entry(f"{stage.name}/{folder.name}", "running", by=owner)


def _below(folder: Path, name: str, completed_by: Collection[str]) -> Iterator[Entry]:
    """A folder, or those in it where it holds several that are complete by themselves."""
    marks = [folder / mark for mark in completed_by if (folder / mark).is_file()]
    inner = [path for path in sorted(folder.glob("dataset_*")) if path.is_dir()]
    if not marks and not inner:  # a task's splits
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and any(path.glob("dataset_*"))]
    owner = owner_of(folder)
    if marks:
        size = sum((folder / path).lstat().st_size for path in files.everything_below(folder))
        when = datetime.fromtimestamp(marks[0].stat().st_mtime).astimezone().isoformat(timespec="seconds")
        yield Entry(name, "done", size, since=when)
    elif owner is None and not inner and os.listdir(folder) not in ([], [INDEX]):
        yield Entry(name, "unfinished")
    if owner is not None:
        yield Entry(name, "running", by=owner)
    for path in inner:
        yield from _below(path, f"{name}/{path.name}", completed_by)
