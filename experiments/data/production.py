"""Data sets in the making: one writer at a time, with the settings that a folder was begun with, going on where it stopped."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from experiments.data.contact_sheet import dataset_panel, draw_sheet
from experiments.data.manifest import (
    CONTACT_SHEET,
    MANIFEST,
    AnySettings,
    FailedScene,
    read_manifest,
    scene_name,
    write_manifest,
)
from experiments.data.scene_folder import SceneRecord, find_damage, read_record
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import files
from subspace.errors import InputError

SETTINGS = "settings.json"


@dataclass
class Production:
    """What there is of a data set."""

    folder: Path
    number: int
    scenes: dict[int, SceneRecord] = field(default_factory=dict)
    failed: dict[int, tuple[str, ...]] = field(default_factory=dict)
    finished: bool = False

    def missing(self, wanted: int) -> list[int]:
        """Scenes from 0 to ``wanted`` - 1 that are neither there nor known to fail."""
        return [scene for scene in range(wanted) if scene not in self.scenes and scene not in self.failed]

    def finish(self, settings: AnySettings) -> None:
        """Write contact sheet and manifest.

        Raises OSError if they cannot be written.
        """
        records = {scene_name(scene): record for scene, record in sorted(self.scenes.items())}
        title = f"{settings.title}, data set {self.number}"
        sheet = io.BytesIO()
        draw_sheet([[dataset_panel(self.folder, list(records), settings.views, title)]]).save(sheet, "PNG")
        files.write_bytes(self.folder / CONTACT_SHEET, sheet.getvalue())
        failed = tuple(FailedScene(scene=scene, errors=errors) for scene, errors in sorted(self.failed.items()))
        write_manifest(self.folder, settings, self.number, records, failed)
        self.finished = True


def dataset_name(dataset: int) -> str:
    """The folder of a data set."""
    return f"dataset_{dataset:02d}"


def examine(folder: Path, number: int, scenes: int, verify: bool, reporter: Reporter = SILENT) -> Production:
    """What is there already, without what is damaged, which is deleted.

    Args:
        folder: of the data set.
        number: of the data set.
        scenes: how many it is to have.
        verify: hash all files of a finished data set, not only those that were changed since they were written.
        reporter: is told what is damaged.

    Raises:
        InputError: it has more scenes already.
        OSError: it cannot be read, or what is damaged not deleted.
    """
    dataset = Production(folder, number)
    if (folder / MANIFEST).exists():
        _read_finished(dataset, scenes, verify, reporter)
        if dataset.finished:
            return dataset
        (folder / MANIFEST).unlink()
        dataset.scenes.clear()
        dataset.failed.clear()
    files.remove_partial(folder)
    for scene in range(scenes):
        if (path := folder / scene_name(scene)).exists():
            found = _whole_record(path, everything=True)
            if isinstance(found, SceneRecord):
                dataset.scenes[scene] = found
            else:
                reporter.warning(f"{found}; the scene is made again")
                files.remove(path)
    return dataset


def check_settings(output: Path, settings: AnySettings) -> None:
    """A folder that is not empty must have been made with the same settings.

    Raises:
        ValueError: it was not.
        OSError: it cannot be read.
    """
    if not (output / SETTINGS).exists():
        others = sorted(entry.name for entry in output.iterdir() if not entry.name.startswith("."))
        if others:
            raise InputError(f"{output} holds {others[0]!r}, but no {SETTINGS}; name another folder", argument="output")
        return
    made = files.read_json(output / SETTINGS, dict)
    for name, value in msgspec.json.decode(msgspec.json.encode(settings)).items():
        if made.get(name) != value:
            raise InputError(
                f"{output} was made with {name}={made.get(name)}, not {value}; name another folder", argument="output"
            )


def begin(output: Path, settings: AnySettings, datasets: list[Production]) -> None:
    """Make the folders of data sets.

    Raises OSError if they cannot be made.
    """
    files.write_json(output / SETTINGS, msgspec.to_builtins(settings))
    for dataset in datasets:
        dataset.folder.mkdir(exist_ok=True)


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Make the folder and keep other runs out of it; the lock ends with the process.

    Raises OSError if it cannot be made, or another run is writing to it.
    """
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    folder = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another run is writing there", str(output)) from None
    finally:
        os.close(folder)
        if is_new:
            with suppress(OSError):  # it is not empty, as it should be
                output.rmdir()


def _read_finished(dataset: Production, scenes: int, verify: bool, reporter: Reporter) -> None:
    """Fill in a data set from its manifest, and call it finished if it is whole and nothing is missing."""
    try:
        manifest = read_manifest(dataset.folder)
    except InputError as error:
        reporter.warning(str(error))
        return
    if manifest.requested_scenes > scenes:
        raise InputError(
            f"{dataset.folder} holds {manifest.requested_scenes} scenes, scenes={scenes} is fewer", argument="scenes"
        )
    sheet = dataset.folder / CONTACT_SHEET
    whole = sheet.is_file() and files.sha256(sheet) == manifest.files.get(CONTACT_SHEET)
    for name, record in manifest.scenes.items():
        dataset.scenes[int(name.rsplit("_", 1)[1])] = record
        whole &= _whole_record(dataset.folder / name, verify) == record
    dataset.failed.update((failed.scene, failed.errors) for failed in manifest.failed)
    dataset.finished = whole and not dataset.missing(scenes)


def _whole_record(folder: Path, everything: bool) -> SceneRecord | str:
    """The record of a scene whose files are what was written, or what is wrong; see :func:`find_damage`."""
    try:
        record = read_record(folder)
        return find_damage(folder, record, everything) or record
    except (OSError, InputError) as error:
        return str(error)
