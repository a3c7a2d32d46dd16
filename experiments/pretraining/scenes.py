"""All scenes in memory: 1,000 scenes of 8 views of 96×96 pixels take 0.5 GB."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.manifest import AttributeSettings, RecordedSettings
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Setting
from subspace.errors import InputError

_THREADS = 4
"""PNG and zip decoders release the interpreter's lock."""


@dataclass(frozen=True)
class LoadedScene:
    """All V views of one scene."""

    name: str
    """Folder of the scene."""
    images: UInt8[np.ndarray, "v h w 3"]
    """sRGB."""
    depths: Float32[np.ndarray, "v h w"]
    """z in the camera; 0 where not valid."""
    valid: Bool[np.ndarray, "v h w"]
    """Where there is a surface."""
    intrinsics: Float32[np.ndarray, "v 3 3"]
    """In pixels."""
    extrinsics: Float32[np.ndarray, "v 3 4"]
    """World to camera, OpenCV."""

    @property
    def num_views(self) -> int:
        return len(self.images)

    @property
    def turns(self) -> Float[np.ndarray, "v v"]:
        """Angle of the rotation between any two views, degrees."""
        return relative_angles(self.extrinsics[..., :3])


def relative_angles(rotations: Float[np.ndarray, "v 3 3"]) -> Float[np.ndarray, "v v"]:
    """Angle of R_i R_jᵀ for any two rotations, degrees."""
    rotations = rotations.astype(np.float64)
    traces = np.einsum("aij,bij->ab", rotations, rotations)
    return np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))


@dataclass(frozen=True)
class Source:
    """The scenes of one data set, and what tells its bytes from any other's."""

    name: str
    """What :func:`source_name` calls it."""
    scenes: Sequence[LoadedScene]
    """All scenes, in the data set's order."""
    sha256: str
    """Hash of the data set's files."""
    renderer: str
    """Name and version of what made the pictures."""
    setting: Setting | None = None
    """Where its cameras stand; None for the data of a task."""


def open_source(folder: Path, resolution: int) -> Dataset:
    """A data set that ``experiments.generate`` wrote, with pictures of ``resolution`` pixels; no scene is read.

    Raises:
        InputError: no finished data set, one without scenes or without poses, or with pictures of another width and height.
        OSError: files that cannot be read.
    """
    dataset = Dataset(folder)
    stored = dataset.manifest.settings
    if stored.resolution != resolution:
        raise InputError(f"{folder}: has pictures of {stored.resolution} pixels, the model needs {resolution}")
    if not dataset.manifest.has_poses:
        raise InputError(f"{folder}: it is not known where its cameras stood, so that no model can learn from it")
    if not len(dataset):
        raise InputError(f"{folder}: has no scenes")
    return dataset


def source_name(dataset: Dataset) -> str:
    """Attribute, setting, number, and the seed where it is not 0."""
    stored = dataset.manifest.settings
    seed = 0 if isinstance(stored, RecordedSettings) else stored.seed
    return f"{stored.title} {dataset.manifest.dataset}" + (f", seed {seed}" if seed else "")


def setting_of(dataset: Dataset) -> Setting | None:
    """Where its cameras stand; None for the data of a task."""
    stored = dataset.manifest.settings
    return stored.setting if isinstance(stored, AttributeSettings) else None


def read_source(folder: Path, resolution: int, reporter: Reporter = SILENT) -> Source:
    """:func:`open_source`, read whole.

    Raises:
        InputError: as :func:`open_source`, and for damaged files.
        OSError: files that cannot be read.
    """
    dataset, scenes = open_source(folder, resolution), []
    name = source_name(dataset)
    with ThreadPoolExecutor(_THREADS) as pool, reporter.progress(len(dataset), "scene", f"reading {name}") as bar:
        for scene in pool.map(_read, dataset):
            scenes.append(scene)
            bar.update()
    return Source(name, scenes, dataset.manifest.sha256, dataset.manifest.versions["renderer"], setting_of(dataset))


def split(scenes: Sequence[LoadedScene], held_out: int) -> tuple[list[LoadedScene], list[LoadedScene]]:
    """(training, held-out) scenes; the last ``held_out`` are held out.

    Raises:
        InputError: nothing would be left to train on.
    """
    if not 0 < held_out < len(scenes):
        raise InputError(f"cannot hold out {held_out} of {len(scenes)} scenes")
    return list(scenes[:-held_out]), list(scenes[-held_out:])


def _read(scene: StoredScene) -> LoadedScene:
    views = scene.load()
    return LoadedScene(str(scene.folder), views.images, views.depths, views.valid, views.intrinsics, views.extrinsics)
