"""Data sets in the making: one writer at a time, with the settings that a folder was begun with, going on where it stopped."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from experiments.data.contact_sheet import dataset_panel, draw_sheet
from experiments.data.dataset import PackedScene, StoredScene
from experiments.data.inputs import INPUTS, Sources
from experiments.data.manifest import (
    CONTACT_SHEET,
    MANIFEST,
    AnySettings,
    FailedScene,
    Manifest,
    RecordedSettings,
    read_manifest,
    scene_name,
    write_manifest,
)
from experiments.data.packed import SUFFIX
from experiments.data.scene_folder import SceneRecord, find_damage, read_record
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import begun, files
from experiments.storage.locks import alone
from experiments.storage.shared import publish
from subspace.errors import InputError

SETTINGS = "settings.json"
OURS = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(CONTACT_SHEET)}|{re.escape(INPUTS)}|\.scene_\d+\..*|"
    r"scene_\d+\.zip|scene_\d+/(record\.json|spec\.json|cameras\.json|images/\d{6}\.png|arrays/\d{6}\.npz)"
)
"""What a data set's folder holds."""
_SOURCE = "source_folder"
"""Of :data:`SETTINGS`: where the recordings lay that a data set was made from."""


@dataclass
class Production:
    """What there is of a data set."""

    folder: Path
    """Folder of the data set."""
    number: int
    """Number of the data set."""
    scenes: dict[int, SceneRecord] = field(default_factory=dict)
    """Records of the scenes that are finished, by number."""
    failed: dict[int, FailedScene] = field(default_factory=dict)
    """Scenes that are known to fail, by number."""
    changed: list[int] = field(default_factory=list)
    """Scenes that are there, but were made from other files of the user's than there are now."""
    damaged: list[int] = field(default_factory=list)
    """Scenes that are there, but are not what was written."""
    finished: bool = False
    """Whether the manifest holds for all of it."""
    packed: bool = False
    """Whether each scene is one file, to which nothing can be added."""

    def stored(self, scene: int, views: int) -> StoredScene:
        """A scene that is finished."""
        return (PackedScene if self.packed else StoredScene)(self.folder / scene_name(scene), views)

    def check_growing(self) -> None:
        """Raises InputError if something is missing and nothing can be added."""
        if self.packed and not self.finished:
            raise InputError(
                f"{self.folder} is packed and not what is asked for, so that nothing can be added; name another output"
            )

    def missing(self, wanted: int) -> list[int]:
        """Scenes from 0 to ``wanted`` - 1 that are neither there nor known to fail."""
        return [scene for scene in range(wanted) if scene not in self.scenes and scene not in self.failed]

    def begin(self) -> None:
        """Make the folder; take away what is damaged, and the manifest, as it no longer holds.

        Scenes whose sources have changed stay until others take their places. Raises OSError if the folder cannot be written.
        """
        self.folder.mkdir(exist_ok=True)
        if not self.finished:
            (self.folder / MANIFEST).unlink(missing_ok=True)
        for scene in self.damaged:
            files.remove(self.folder / scene_name(scene))
        self.damaged.clear()

    def finish(self, settings: AnySettings) -> None:
        """Write contact sheet and manifest.

        Raises OSError if they cannot be written.
        """
        records = {scene_name(scene): record for scene, record in sorted(self.scenes.items())}
        title = f"{settings.title}, data set {self.number}"
        sheet = io.BytesIO()
        draw_sheet([[dataset_panel(self.folder, list(records), settings.views, title)]]).save(sheet, "PNG")
        files.write_bytes(self.folder / CONTACT_SHEET, sheet.getvalue())
        failed = tuple(failure for _, failure in sorted(self.failed.items()))
        write_manifest(self.folder, settings, self.number, records, failed)
        publish(self.folder, MANIFEST)
        self.finished = True


def dataset_name(dataset: int) -> str:
    """The folder of a data set."""
    return f"dataset_{dataset:02d}"


def fetch_scenes(folder: Path) -> None:
    """Get the scenes of an unfinished data set that are in the store which machines share, if there is one."""
    for part in begun.parts(folder):
        if not (folder / part).exists():
            begun.fetch(folder, part, folder / part)


def examine(
    folder: Path,
    number: int,
    scenes: int,
    *,
    verify: bool = False,
    overwrite: bool = False,
    sources: Sources | None = None,
    reporter: Reporter = SILENT,
) -> Production:
    """What is there already, without what is damaged and without what was made from files that have changed since.

    Nothing is changed but for what interrupted runs left half-written, which is deleted.

    Args:
        folder: of the data set.
        number: of the data set.
        scenes: how many it is to have.
        verify: hash all files of a finished data set, not only those that were changed since they were written.
        overwrite: a finished data set may become one of fewer scenes.
        sources: the user's files that the scenes are made from, if they are.
        reporter: is told what is damaged or has changed.

    Raises:
        InputError: it has more scenes already, and ``overwrite`` is not set; or something of the user's lies where a scene is
            to be made again.
        OSError: it cannot be read.
    """
    dataset = Production(folder, number)
    examination = _Examination(dataset, scenes, verify, overwrite, sources, reporter)
    if (folder / MANIFEST).exists():
        examination.read_finished()
    dataset.check_growing()
    if not dataset.finished and not dataset.changed:
        dataset.scenes.clear()
        dataset.failed.clear()
        files.remove_partial(folder)
        examination.read_scenes()
    if dataset.changed or dataset.damaged:
        files.check_all_ours(folder, OURS)
    return dataset


@dataclass
class _Examination:
    """Fills in what there is of a data set."""

    dataset: Production
    scenes: int
    verify: bool
    overwrite: bool
    sources: Sources | None
    reporter: Reporter

    def read_finished(self) -> None:
        """What the manifest says; the data set is finished if all of that is whole and current and nothing is missing."""
        dataset = self.dataset
        try:
            manifest = read_manifest(dataset.folder)
        except InputError as error:
            self.reporter.warning(str(error))
            return
        if manifest.requested_scenes > self.scenes and not self.overwrite:
            raise InputError(
                f"{dataset.folder} holds {manifest.requested_scenes} scenes, scenes={self.scenes} is fewer; "
                "name another output, or overwrite it"
            )
        dataset.packed = manifest.packing is not None
        sheet = dataset.folder / CONTACT_SHEET
        whole = sheet.is_file() and files.sha256(sheet) == manifest.files.get(CONTACT_SHEET)
        whole &= manifest.requested_scenes <= self.scenes
        for name, record in manifest.scenes.items():
            scene = int(name.rsplit("_", 1)[1])
            if scene < self.scenes:
                whole &= self._is_whole(name, manifest)
                self._take(scene, record)
        for failure in manifest.failed:
            if failure.scene >= self.scenes:
                continue
            if self._is_current(failure.scene, failure):
                dataset.failed[failure.scene] = failure
            else:
                dataset.changed.append(failure.scene)
        dataset.finished = whole and not dataset.missing(self.scenes)
        if not whole:
            dataset.changed.clear()  # everything is looked at again

    def _is_whole(self, name: str, manifest: Manifest) -> bool:
        if manifest.packing is None:
            return _whole_record(self.dataset.folder / name, self.verify) == manifest.scenes[name]
        path, file = self.dataset.folder / f"{name}{SUFFIX}", manifest.packing.files[name]
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        return not self.verify or files.sha256(path) == file.sha256

    def read_scenes(self) -> None:
        """What lies in the folder, all of it hashed."""
        for scene in range(self.scenes):
            if (path := self.dataset.folder / scene_name(scene)).exists():
                found = _whole_record(path, everything=True)
                if isinstance(found, SceneRecord):
                    self._take(scene, found)
                else:
                    self.reporter.warning(f"{found}; the scene is made again")
                    self.dataset.damaged.append(scene)

    def _take(self, scene: int, record: SceneRecord) -> None:
        if self._is_current(scene, record):
            self.dataset.scenes[scene] = record
        else:
            self.reporter.info(
                f"{self.dataset.folder / scene_name(scene)}: its source is not on record as it is now; the scene is made again"
            )
            self.dataset.changed.append(scene)

    def _is_current(self, scene: int, made: SceneRecord | FailedScene) -> bool:
        return self.sources is None or self.sources.is_current(scene, made.inputs)


def may_continue(output: Path, settings: AnySettings, overwrite: bool = False) -> bool:
    """Whether a folder is empty or was begun with the same settings. False if what is there is to be replaced.

    What was recorded decides about ``scenes`` and ``poses`` of :class:`RecordedSettings`, and may change.

    Raises:
        InputError: it holds something else, or scenes of other settings and ``overwrite`` is not set; or something of the
            user's lies in what is to be replaced.
        OSError: it cannot be read.
    """
    if not (output / SETTINGS).exists():
        others = sorted(entry.name for entry in output.iterdir() if not entry.name.startswith("."))
        if others:
            raise InputError(f"{output} holds {others[0]!r}, but no {SETTINGS}; name another folder", argument="output")
        return True
    made = files.read_json(output / SETTINGS, dict)
    asked = msgspec.json.decode(msgspec.json.encode(settings))
    differing = [name for name in {**asked, **made} if name not in _FROM_SOURCE and made.get(name) != asked.get(name)]
    if not differing:
        return True
    # What a run left that failed refuses no other: no scene, or some of a recording that was never converted to its end.
    kept = MANIFEST if isinstance(settings, RecordedSettings) else "scene_*"
    if overwrite or not any(output.glob(f"dataset_*/{kept}")):
        for folder in _datasets(output):
            files.check_all_ours(folder, OURS)
        return False
    name = differing[0]
    raise InputError(
        f"{output} was made with {name}={_shown(name, made)}, not {_shown(name, asked)}; "
        "name another folder, or overwrite it"
    )


_FROM_SOURCE = ("scenes", "poses", _SOURCE)
_WHERE_UNSET = {"up": "y", "pose": "camera_to_world", "axes": "opencv", "pose_scale": 1}


def _shown(name: str, settings: Mapping[str, object]) -> object:
    value = settings.get(name)
    return _WHERE_UNSET.get(name, "none") if value is None else value


def source_folder(output: Path) -> Path | None:
    """Where the recordings lay that the data set in a folder was made from, if it was."""
    if not (output / SETTINGS).exists():
        return None
    stored = files.read_json(output / SETTINGS, dict).get(_SOURCE)
    return None if stored is None else Path(stored)


def begin(output: Path, settings: AnySettings, datasets: list[Production], source: Path | None = None) -> None:
    """Make the folders of data sets, and take away what they cannot keep.

    Args:
        output: their folder.
        settings: of all of them.
        datasets: what there is of each.
        source: where the recordings lie that they are made from.

    Raises OSError if the folder cannot be written.
    """
    write_settings(output, settings, source)
    for dataset in datasets:
        dataset.begin()


def write_settings(output: Path, settings: AnySettings, source: Path | None = None) -> None:
    """Write what data sets are made with; raises OSError if that cannot be written."""
    content = msgspec.to_builtins(settings)
    files.write_json(output / SETTINGS, content if source is None else {**content, _SOURCE: str(source)})
    publish(output, SETTINGS, [SETTINGS])


def remove_datasets(output: Path) -> None:
    """Delete all data sets of a folder, and the settings that they were made with.

    Raises OSError if they cannot be deleted.
    """
    for folder in _datasets(output):
        files.remove(folder)
    (output / SETTINGS).unlink(missing_ok=True)


def _datasets(output: Path) -> list[Path]:
    return [folder for folder in sorted(output.glob("dataset_*")) if re.fullmatch(r"dataset_\d+", folder.name)]


def abandon(output: Path, datasets: list[Production]) -> None:
    """Delete the folders of data sets that have nothing in them, and what says how they were made if there are no others."""
    for dataset in datasets:
        with suppress(OSError):  # it is not empty, or was never made
            dataset.folder.rmdir()
    if not _datasets(output):
        (output / SETTINGS).unlink(missing_ok=True)


@contextmanager
def locked(output: Path, reporter: Reporter = SILENT) -> Iterator[None]:
    """Make the folder and keep other runs out of it, which wait.

    What killed processes left in it is deleted. Raises InputError if it holds other things and no data sets, and OSError if
    it cannot be made.
    """
    files.check_ours(output, ("dataset_*", SETTINGS))
    with alone(output, reporter, inside=True):
        output.mkdir(parents=True, exist_ok=True)
        files.remove_partial(output)
        yield


def _whole_record(folder: Path, everything: bool) -> SceneRecord | str:
    """The record of a scene whose files are what was written, or what is wrong; see :func:`find_damage`."""
    try:
        record = read_record(folder)
        return find_damage(folder, record, everything) or record
    except (OSError, InputError) as error:
        return str(error)
