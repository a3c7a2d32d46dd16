"""Who works at what in a store that machines share, and what went wrong there.

A lease is an object that its owner writes anew every half minute. Whoever wants to work at the same folder waits as long as
that goes on; one that nobody renewed for two minutes (by the clock of the one that waits) was left by a machine that is gone.
Work is the same on every machine, so that two that do the same after all only lose time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import msgspec

from experiments.process.reporting import SILENT, Reporter
from experiments.storage import shared
from experiments.storage.objects import Objects
from subspace.errors import InputError
from vggt_jax.reading import typed

RENEW_S, OVER_S = 30.0, 120.0
"""Seconds from one renewal to the next, and after which a lease is over."""
_LOOK_EVERY_S = 5.0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """``running/STAGE/LABEL-HASH.json``."""

    host: str
    """Of the owner."""
    pid: int
    """Of the owner."""
    since: str
    """When its work began."""
    renewed: str
    """When it was last heard of, in ISO 8601."""

    @property
    def is_lost(self) -> bool:
        """Whether nothing was heard of the owner for so long that others take its place, by the clocks of both machines."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.renewed)).total_seconds() > OVER_S

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """``failed/STAGE/LABEL-HASH.json``."""

    host: str
    """Where it failed."""
    date: str
    """When, in ISO 8601."""
    reason: str
    """In one line."""
    attempts: int
    """That failed so far."""


@contextmanager
def leased(folder: Path, owner: dict[str, str | int], reporter: Reporter = SILENT) -> Iterator[None]:
    """Within it no other machine works at a folder of a shared store, and what others have published of it is there.

    What fails within is on record in the store, until it succeeds. Nothing happens for other folders.

    Args:
        folder: that is worked at.
        owner: ``pid``, ``host`` and ``since`` of this process.
        reporter: is told for whom this process waits.

    Raises OSError if the store does not answer.
    """
    place = shared.place_of(folder)
    if place is None:
        yield
        return
    objects, name = place
    own = typed.convert({**owner, "renewed": _now()}, Lease)
    _take(objects, name, own, reporter)
    ended = Event()
    renewal = Thread(target=_renew, args=(objects, name, own, ended), daemon=True)
    renewal.start()
    try:
        shared.fetch(folder)
        yield
        objects.delete(_failed(name))
    except (InputError, OSError, MemoryError) as error:
        with suppress(OSError, InputError):
            _record(objects, name, own.host, error)
        raise
    finally:
        ended.set()
        renewal.join()
        with suppress(OSError):
            if (left := _read(objects, name)) is not None and (left.host, left.pid) == (own.host, own.pid):
                objects.delete(_running(name))


def running(objects: Objects) -> dict[str, Lease]:
    """Folder → who works at it."""
    names = [_name(path) for path in objects.names("running")]
    return {name: lease for name in names if (lease := _read(objects, name)) is not None}


def failed(objects: Objects) -> dict[str, Failure]:
    """Folder → what went wrong the last time."""
    contents = {_name(path): objects.read(path) for path in objects.names("failed")}
    return {name: typed.decode(content, Failure) for name, content in contents.items() if content}


def _take(objects: Objects, name: str, own: Lease, reporter: Reporter) -> None:
    told, seen, since = None, None, 0.0
    while not objects.create(_running(name), msgspec.json.encode(own)):
        content, now = objects.read(_running(name)), time.monotonic()
        if content is None:  # it has just ended
            continue
        other = _decoded(content)
        if other == own:  # it was made, and the answer was lost
            return
        who = str(other or "a process that has not said who it is")
        if who != told and (other or content == seen):
            told = who
            reporter.info(f"{objects.address}/{name}: {told} works there; waiting until that has ended")
        if content != seen:
            seen, since = content, now
        elif now - since > OVER_S:
            reporter.info(f"{objects.address}/{name}: nothing was heard of {who}; going on without it")
            objects.delete(_running(name))
            continue
        time.sleep(min(_LOOK_EVERY_S, OVER_S / 4))


def _renew(objects: Objects, name: str, own: Lease, ended: Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(OSError, InputError):  # the next time, perhaps
            objects.put(_running(name), msgspec.json.encode(msgspec.structs.replace(own, renewed=_now())))


def _record(objects: Objects, name: str, host: str, error: Exception) -> None:
    earlier = failed_of(objects, name)
    reason = " ".join(str(error).split()) or type(error).__name__
    attempts = 1 + (0 if earlier is None else earlier.attempts)
    failure = Failure(host=host, date=_now(), reason=reason, attempts=attempts)
    objects.put(_failed(name), msgspec.json.encode(failure))


def failed_of(objects: Objects, name: str) -> Failure | None:
    """What went wrong with a folder the last time; None if nothing did."""
    content = objects.read(_failed(name))
    return None if content is None else typed.decode(content, Failure)


def _read(objects: Objects, name: str) -> Lease | None:
    content = objects.read(_running(name))
    return None if content is None else _decoded(content)


def _decoded(content: bytes) -> Lease | None:
    """None for what was not written whole: in a folder it may be seen meanwhile, and what wrote it may be gone."""
    try:
        return typed.decode(content, Lease)
    except msgspec.DecodeError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _running(name: str) -> str:
    return f"running/{name}.json"


def _failed(name: str) -> str:
    return f"failed/{name}.json"


def _name(path: str) -> str:
    return path.partition("/")[2].removesuffix(".json")
