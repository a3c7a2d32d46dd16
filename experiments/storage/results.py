"""Folders of results: named by what the results depend on, complete or absent, and never replaced by other results unasked.

Every folder says in ``results.json`` what it was made from, and the SHA-256 of its files, which tells these from others: those
are never replaced, whatever is asked for, and results that have changed since only if that is asked for. Beside the
folders of a command lie ``index.json``, a list of them with label, date and settings, and links to the newest one of all
(``latest``) and of each label (``LABEL-latest``).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from experiments.process.hosts import check_agreement, is_first, wait_for_all
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import locks, shared
from experiments.storage.files import everything_below, first_of, hashes, read_json, sha256_once, write_json
from experiments.storage.identity import digest, stage_folder
from experiments.storage.identity import identity as identity_of
from subspace.errors import InputError
from vggt_jax.atomic import check_writable, hidden_folder, new_path, remove_partial, sync
from vggt_jax.disk_space import DiskFullError, named_if_full

T = TypeVar("T")

RECORD = "results.json"
"""What a folder of results was made from and when, and the hashes of its files."""
INDEX = "index.json"
LATEST = "latest"
_VERSION = 1
_DEPTH = 3
"""Folders above a file in which results are looked for that may list it."""
_LONGEST = 60
"""Characters of a setting that a message shows."""
_LISTED = ("label", "date", "digest", "identity")


def results_folder(store: Path, command: str, label: str, identity: Any) -> Path:
    """Where a command's results lie if nothing else is asked for: ``store/command/label-1f2e3d4c5b6a``.

    Args:
        store: the folder that commands share.
        command: the command's name, such as ``extract``.
        label: a few readable words about the settings, which need not tell all settings apart.
        identity: everything that the results depend on, as :func:`experiments.storage.identity.identity` takes it.
    """
    return stage_folder(store, command, label, identity_of(identity))


class Placed(Protocol):
    """Settings of a pipeline that say where its results go."""

    @property
    def store(self) -> Path:
        """Folder that commands share."""
        ...

    @property
    def output(self) -> Path | None:
        """Folder of the results; None for the one that :func:`results_folder` names."""
        ...

    @property
    def overwrite(self) -> bool:
        """Replace results in ``output`` that were made from other settings."""
        ...


@dataclass(frozen=True)
class ResultsFolder:
    """Where results go, and what they are made from."""

    path: Path
    """The folder; where it is a symbolic link, the link stays."""
    label: str
    """A few readable words about the settings."""
    identity: Any
    """Everything that the results depend on, as JSON can hold it."""
    ours: Collection[str]
    """Names of the files and folders that may be among such results."""
    overwrite: bool = False
    """Replace what is there: results of another identity, which are refused otherwise, and complete ones of this identity,
    which stay otherwise."""

    @classmethod
    def of(cls, settings: Placed, command: str, label: str, identity: Any, ours: Collection[str]) -> Self:
        """The folder that settings ask for, or else the one that :func:`results_folder` names.

        Args:
            settings: of the pipeline.
            command: its name, such as ``extract``.
            label: a few readable words about the settings, which need not tell all settings apart.
            identity: everything that the results depend on, as :func:`experiments.storage.identity.identity` takes it.
            ours: names of the files and folders that may be among the results.
        """
        path = settings.output
        if path is None:
            path = results_folder(settings.store, command, label, identity)
        return cls(path, label, identity_of(identity), ours, settings.overwrite)

    @property
    def complete(self) -> bool:
        """Whether the folder holds results that were made from this identity, with all their files as they were written.

        Raises InputError for a ``results.json`` that is damaged, and OSError for one that cannot be read.
        """
        if not (self.path / RECORD).is_file() and not shared.fetch(self.path):
            return False
        record = _read_record(self.path)
        if record["digest"] != digest(self.identity):
            return False
        return all((self.path / name).is_file() for name in record.get("files", ())) and not _changed(self.path, record)

    @property
    def kept(self) -> bool:
        """Whether these results are there and stay: whoever only wants to have them need do nothing."""
        if self.overwrite:
            return False
        try:
            return self.complete
        except InputError:
            return False

    def check(self) -> None:
        """Raises what :meth:`new` would raise about what lies there; to be called before hours of work."""
        if not self.kept:
            _check(self.path, self.identity, self.ours, self.overwrite)

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A hidden folder to write results to, which becomes ``path`` at the end and is removed after an exception.

        Missing parents are made. Where results of this identity are :attr:`kept`, the folder is removed in any case. The
        list and the links beside ``path`` are brought up to date if it has the name that :func:`results_folder` gives it.

        Raises:
            InputError: what is at ``path`` may not be replaced, and why; it says so before anything is written, and again
                at the end.
            OSError: the folder cannot be written; :class:`~vggt_jax.disk_space.DiskFullError` if it is full.
        """
        if self.kept:
            with hidden_folder(self.path.resolve()) as folder:
                yield folder
            return

        def check(target: Path) -> None:
            _check(target, self.identity, self.ours, self.overwrite)

        with named_if_full(self.path), new_path(self.path, check=check) as folder:
            folder.mkdir()
            yield folder
            sync(folder)
            record = {
                "version": _VERSION,
                "label": self.label,
                "digest": digest(self.identity),
                "identity": self.identity,
                "date": datetime.now(UTC).isoformat(timespec="microseconds"),
                "files": hashes(folder),
            }
            write_json(folder / RECORD, record, durable=True)
        shared.publish(self.path, RECORD)
        if self._has_usual_name:
            _update_index(self.path)

    @property
    def _has_usual_name(self) -> bool:
        return self.path.name == f"{self.label}-{digest(self.identity)}"

    def settle(self) -> None:
        """Do what a process that was killed just after these results were complete has left undone, where that can be done."""
        if not is_first():
            return
        shared.settle(self.path, RECORD)
        with suppress(OSError):
            locks.sweep(self.path)
            if self._has_usual_name:
                remove_partial(self.path.parent)
                if not _is_listed(self.path):
                    _update_index(self.path)

    @contextmanager
    def alone(self, reporter: Reporter = SILENT) -> Iterator[None]:
        """Within it no other process makes these results: waits for one that does, and raises then as :meth:`check`.

        What killed processes left half-written beside them is deleted. Of a job of several processes the first one waits.
        """
        if not is_first():
            yield
            return
        with locks.alone(self.path, reporter):
            if self._has_usual_name:
                remove_partial(self.path.parent)
            self.check()
            yield


@dataclass(frozen=True, eq=False)
class Ready(Generic[T]):
    """The work of a pipeline that can begin: its settings are usable, and it is known where its results go."""

    results: ResultsFolder
    """If they are :attr:`~ResultsFolder.kept`, the work need not be done."""
    work: Callable[[], T]
    """Does the work."""
    reporter: Reporter = SILENT
    """Is told for whom the work waits."""

    def run(self) -> T:
        """Do the work, or wait for another process that makes the same results before."""
        with self.results.alone(self.reporter):
            return self.work()

    def run_if_new(self) -> T | None:
        """Do the work; None where its results are there and stay, or are there once another process is done with them."""
        if self._is_done():  # which is also seen where nothing can be written
            self.results.settle()
            return None
        with self.results.alone(self.reporter):
            wait_for_all("the work of others")
            return None if self._is_done() else self.work()

    def _is_done(self) -> bool:
        kept = self.results.kept
        check_agreement("their files", f"{self.results.identity} {kept}")
        return kept


def check_output(settings: Placed, known: Mapping[str, Any], ours: Collection[str]) -> None:
    """Raises what :meth:`ResultsFolder.check` would raise, as far as that can be said before everything is known.

    Args:
        settings: of the pipeline.
        known: those entries of the results' identity that do not need the model, say.
        ours: names of the files and folders that may be among the results.
    """
    path, wanted = settings.output, identity_of(known)
    if path is None:
        return
    if not settings.overwrite and (path / RECORD).is_file() and not _difference(path, wanted, True):
        _check_unchanged(path)  # it may be what is wanted, beside which anything may lie
        return
    _check(path, wanted, ours, settings.overwrite, partly=True)


def name_in_results(path: Path) -> Path | None:
    """The path of a file in the folder of results, above it, that lists it; None if there is none."""
    path = path.absolute()
    for folder in list(path.parents)[:_DEPTH]:
        if (folder / RECORD).is_file():
            name = path.relative_to(folder)
            with suppress(InputError, OSError):  # damaged results are none
                if str(name) in _read_record(folder).get("files", ()):
                    return name
    return None


def _check(path: Path, identity: Any, ours: Collection[str], overwrite: bool, *, partly: bool = False) -> None:
    is_there = os.path.lexists(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, not a folder for results")
    if is_there and (foreign := _foreign(path, ours)):
        raise InputError(
            f"{path} holds {first_of(foreign)}, which is not among the results that would be written there; nothing in it "
            "was changed: move that elsewhere, or name another folder"
        )
    if not is_there or overwrite or not everything_below(path):
        check_writable(path)
        return
    if difference := _difference(path, identity, partly):
        raise InputError(
            f"{path} holds results {difference}; name another folder, or ask to overwrite them", argument="overwrite"
        )
    _check_unchanged(path)


def _check_unchanged(path: Path) -> None:
    if changed := _changed(path, _read_record(path)):
        raise InputError(
            f"{path} holds {first_of(changed)}, which is not as it was written there: somebody edited it, or it is damaged; "
            "name another folder, or ask to overwrite it",
            argument="overwrite",
        )


def _changed(path: Path, record: Mapping[str, Any]) -> list[str]:
    """Files that are there and are not what the record says; one of before this was on record says nothing."""
    written = record.get("files")
    if not isinstance(written, dict):
        return []
    return [name for name, sha256 in written.items() if (path / name).is_file() and sha256_once(path / name) != sha256]


def _foreign(path: Path, ours: Collection[str]) -> list[str]:
    """What lies in a folder and is not known to be a result: other names than ``ours``, and what the record does not list."""
    found = everything_below(path)
    others = [name for name in found if Path(name).parts[0] not in {RECORD, *ours}]
    try:
        listed = _read_record(path).get("files") if (path / RECORD).is_file() else None
    except InputError:
        listed = None
    if listed is None:  # then only what is ours by its name can be told from what is not
        return others or [name for name in found if len(Path(name).parts) > 1]
    return others or [name for name in found if name not in {RECORD, *listed}]


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path / RECORD, dict)
    if not {"version", "label", "digest", "identity", "date"} <= record.keys():
        raise InputError(f"{path / RECORD} is damaged: it does not say what the results were made from")
    return record


def _difference(path: Path, wanted: Any, partly: bool) -> str | None:
    """How the results at ``path`` differ from those that are to be made of ``wanted``; None where they do not.

    With ``partly``, ``wanted`` need not have all entries, and the others count as equal.
    """
    if not (path / RECORD).is_file():
        return "that do not say what they were made from"
    try:
        record = _read_record(path)
    except InputError:
        return f"whose {RECORD} is damaged"
    made_from = record["identity"]
    if partly:
        made_from = {name: value for name, value in made_from.items() if name in wanted}
    if made_from == wanted:
        return None
    changes = _changes(made_from, wanted)
    return f"of other settings ({'; '.join(changes[:3])}{'; …' if len(changes) > 3 else ''})"


def _changes(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs between two identities, setting by setting."""
    if isinstance(old, dict) and isinstance(new, dict):
        inner = f"{name}." if name else ""
        return [
            line
            for key in sorted({*old, *new})
            for line in _changes(old.get(key), new.get(key), f"{inner}{key}")
            if old.get(key) != new.get(key)
        ]
    is_long = max(len(str(old)), len(str(new))) > _LONGEST  # lists of hashes, say
    return [f"{name or 'settings'}: {'not the same' if is_long else f'{old} there, {new} now'}"]


def _update_index(new: Path) -> None:
    """Link to ``new``, where the disk takes links, and then list what lies beside it: what is listed was linked."""
    store, label = new.parent, new.name.rpartition("-")[0]
    with _one_at_a_time(store):
        for link in (store / LATEST, store / f"{label}-{LATEST}"):
            _point(link, new.name)
        records = []
        for folder in store.iterdir():
            if not folder.is_symlink() and (folder / RECORD).is_file():
                with suppress(InputError, OSError):  # it may be damaged, or deleted meanwhile
                    record = _read_record(folder)
                    records.append({"folder": folder.name, **{key: record[key] for key in _LISTED}})
        write_json(store / INDEX, sorted(records, key=lambda record: record["date"], reverse=True))


def _is_listed(folder: Path) -> bool:
    try:
        return any(entry["folder"] == folder.name for entry in read_json(folder.parent / INDEX, list[dict[str, Any]]))
    except (InputError, FileNotFoundError, KeyError):
        return False


def _point(link: Path, name: str) -> None:
    """Make ``link`` a relative symbolic link, in place of an older one; anything else of that name is left alone."""
    if os.path.lexists(link) and not link.is_symlink():
        return
    try:
        with new_path(link, follow=False) as new:
            new.symlink_to(name)
    except OSError as error:
        if isinstance(error, DiskFullError):  # others are of disks without links
            raise


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here for the same folder, where the disk knows locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
