"""Data sets of few large files: each scene is one, and its views are still read alone (:mod:`experiments.data.packed`)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from experiments.data.dataset import Dataset, PackedScene, StoredScene
from experiments.data.inputs import INPUTS
from experiments.data.manifest import (
    CONTACT_SHEET,
    MANIFEST,
    PACKED_VERSION,
    Manifest,
    PackedFile,
    Packing,
    read_manifest,
)
from experiments.data.packed import (
    DEPTH,
    LOG_DEPTH,
    SUFFIX,
    VALID,
    DepthKind,
    comment_of,
    log_of,
    new_array,
    write_archive,
)
from experiments.data.production import OURS
from experiments.data.scene_folder import RECORD, find_damage, view_files
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import files, locks, shared
from experiments.storage.arguments import StrPath, check_choice, path_of
from experiments.storage.locks import alone
from subspace.errors import InputError

_TEXTS = ("spec.json", "cameras.json", RECORD)


@dataclass(frozen=True)
class Packed:
    """A packed data set."""

    folder: Path
    """Where it lies."""
    views: int
    """Number of views in it."""
    bytes_before: int
    """Of the scenes as they were."""
    bytes: int
    """Of the scenes now."""
    written: int
    """Scenes that were packed now; 0 if there was nothing to do."""


def pack(source: StrPath, output: StrPath, depth: DepthKind = "exact", reporter: Reporter = SILENT) -> Packed:
    """Pack a finished data set into another folder; what is interrupted goes on where it stopped.

    Pictures, cameras, labels and normals are the very same; so is depth, unless it is rounded (by 0.00095 at most, relatively).
    With exact depth it is the same data set, whose adapters are found again; with rounded depth it is another one.

    Args:
        source: the data set.
        output: the folder of the packed one.
        depth: exact, or rounded to take a fifth of the bytes.
        reporter: is told of progress.

    Raises:
        InputError: no such ``depth``, no finished data set, a damaged file, or at ``output`` a folder of something else or with
            scenes that the data set does not have.
        OSError: something cannot be read or written.
    """
    source, output = path_of(source, "source"), path_of(output, "output")
    check_choice(depth, get_args(DepthKind), "depth")
    dataset = Dataset(source)
    manifest = dataset.manifest
    if manifest.packing is not None and manifest.packing.depth == "rounded":
        raise InputError(f"{source} is packed already, with rounded depths")
    if output.resolve() == source.resolve():
        raise InputError(f"{output} is the data set itself; name another folder", argument="output")
    with alone(output, reporter):
        files.check_ours(output, (f"scene_*{SUFFIX}", MANIFEST))
        comments = {scene.folder.name: _comment(manifest.scenes[scene.folder.name].files, depth) for scene in dataset}
        paths = {scene.folder.name: output / f"{scene.folder.name}{SUFFIX}" for scene in dataset}
        missing = [scene for scene in dataset if not _is_packed(scene, output, comments[scene.folder.name])]
        before = sum(_size(scene) for scene in dataset)
        if missing or not _is_finished(dataset, output, depth):
            _check_output(output, set(comments.values()))
            with reporter.progress(len(missing) * manifest.settings.views, " views") as bar:
                for scene in missing:
                    name = scene.folder.name
                    if not isinstance(scene, PackedScene):
                        if damage := find_damage(scene.folder, manifest.scenes[name], everything=True):
                            raise InputError(damage)
                    if paths[name].exists():
                        (output / MANIFEST).unlink(missing_ok=True)  # it no longer holds
                    pack_scene(scene, paths[name], depth, comments[name])
                    bar.update(manifest.settings.views)
            described = {name: PackedFile(path.stat().st_size, files.sha256(path)) for name, path in paths.items()}
            for name, content in _of_all_scenes(dataset).items():
                files.write_bytes(output / name, content)
            new = _as_packed(manifest, Packing(depth=depth, files=described))
            files.sync(output)
            files.write_json(output / MANIFEST, msgspec.to_builtins(new), durable=True)
            shared.publish(output, MANIFEST)
        return Packed(
            folder=output,
            views=len(dataset) * manifest.settings.views,
            bytes_before=before,
            bytes=sum(path.stat().st_size for path in paths.values()),
            written=len(missing),
        )


def replace(source: StrPath, reporter: Reporter = SILENT) -> Packed:
    """Put a packed data set in the place of the one that it is made from; arguments and errors are those of :func:`pack`.

    Raises InputError too if the folder holds what this program did not write.
    """
    source = Path(os.path.abspath(path_of(source, "source")))
    if (done := _packing(source)) is not None:
        bytes, views = sum(file.size for file in done.files.values()), read_manifest(source).counts["images"]
        return Packed(source, views, bytes, bytes, 0)
    beside = source.with_name(f"{source.name}_packed")
    with alone(source, reporter):
        files.check_all_ours(source, re.compile(rf"{OURS.pattern}|{re.escape(locks.NAME)}"), "data")
        made = pack(source, beside, "exact", reporter)
        Dataset(beside).verify()
        with files.new_path(source) as new:
            beside.rename(new)
        shared.publish(source, MANIFEST)
    return dataclasses.replace(made, folder=source)


def pack_scene(scene: StoredScene, path: Path, depth: DepthKind, comment: str = "") -> None:
    """Write one scene into one file, in place of an older one.

    Raises InputError for a damaged scene and OSError for what cannot be read or written.
    """
    texts = {name: content for name in _TEXTS if (content := scene.read_file(name)) is not None}
    arrays: dict[str, Any] = {}
    for view in range(scene.num_views):
        picture, _ = view_files(view)
        content = scene.read_file(picture)
        if content is None:
            raise InputError(f"{scene.folder / picture} is missing")
        texts[picture] = content
        with files.reading(scene.path, f"is damaged in view {view}"):
            maps = scene.read_stored(view)
            for name, values in maps.items():
                if name not in arrays:
                    arrays[name] = new_array(scene.num_views, values)
                arrays[name][view].write(values).result()
            if depth == "rounded":
                steps = log_of(maps[DEPTH])
                arrays.setdefault(LOG_DEPTH, new_array(scene.num_views, steps))[view].write(steps).result()
    if _says_nothing(arrays):
        del arrays[VALID]
    if depth == "rounded":
        del arrays[DEPTH]
    write_archive(path, texts, arrays, comment)


def _says_nothing(arrays: Mapping[str, Any]) -> bool:
    """Whether those pixels are valid that have a depth."""
    views = range(arrays[DEPTH].shape[0])
    return all(
        np.array_equal(arrays[DEPTH][view].read().result() > 0, arrays[VALID][view].read().result()) for view in views
    )


def _comment(hashes: Mapping[str, str], depth: DepthKind) -> str:
    """What tells a scene's file from those of others."""
    return hashlib.sha256(json.dumps([sorted(hashes.items()), depth]).encode()).hexdigest()


def _check_output(output: Path, ours: set[str]) -> None:
    others = [path for path in sorted(output.glob(f"scene_*{SUFFIX}")) if comment_of(path) not in ours]
    folders = [path for path in sorted(output.glob("scene_*")) if path.is_dir()]
    if others or folders:
        raise InputError(f"{output} holds {[*others, *folders][0].name!r} of another data set; name another folder")


def _is_packed(scene: StoredScene, output: Path, comment: str) -> bool:
    """Whether the scene's file is there, with the record of the same rendering."""
    packed = PackedScene(output / scene.folder.name, scene.num_views)
    return comment_of(packed.path) == comment and packed.read_file(RECORD) == scene.read_file(RECORD)


def _is_finished(dataset: Dataset, output: Path, depth: DepthKind) -> bool:
    """Whether what describes the packed scenes, which are all there, says what the data set says."""
    try:
        there = read_manifest(output)
    except InputError:
        return False
    packed = Packing(depth=depth, files={}) if there.packing is None else there.packing
    sizes = {name: (output / f"{name}{SUFFIX}").stat().st_size for name in dataset.manifest.scenes}
    return (
        packed.depth == depth
        and {name: file.size for name, file in packed.files.items()} == sizes
        and _as_packed(dataset.manifest, packed) == there
        and all(_read(output / name) == content for name, content in _of_all_scenes(dataset).items())
    )


def _as_packed(manifest: Manifest, packed: Packing) -> Manifest:
    return msgspec.structs.replace(manifest, format=PACKED_VERSION, packed=packed)


def _of_all_scenes(dataset: Dataset) -> dict[str, bytes]:
    """Files that belong to no scene, and are the same where scenes are packed."""
    paths = [dataset.folder / name for name in (CONTACT_SHEET, INPUTS)]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _packing(output: Path) -> Packing | None:
    try:
        return read_manifest(output).packing
    except InputError:
        return None


def _size(scene: StoredScene) -> int:
    if isinstance(scene, PackedScene):
        return scene.path.stat().st_size
    return sum(path.stat().st_size for path in scene.folder.rglob("*") if path.is_file())
