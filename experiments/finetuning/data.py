"""What is fine-tuned on, and the scenes that are kept to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.observations import LoadableScene
from subspace.errors import InputError


@dataclass(frozen=True, eq=False)
class TuningData:
    """Scenes of one or more data sets, all with pictures of one size."""

    training: Sequence[LoadableScene]
    """Scenes to train on."""
    validation: Sequence[LoadableScene]
    """Scenes to validate on, which are not trained on."""
    validation_names: Sequence[str]
    """Names of the validation scenes, data set and scene."""
    resolution: int
    """Width and height of the pictures in pixels."""
    sha256: dict[str, str]
    """Folder of a data set to train on → SHA-256 of all its scenes' files."""
    validation_sha256: dict[str, str] = field(default_factory=dict)
    """The same of data sets that are only validated on."""


def read_data(folders: Sequence[Path], held_out: int, validation_folders: Sequence[Path] = ()) -> TuningData:
    """Finished data sets; nothing but their manifests is read.

    Args:
        folders: one for each data set.
        held_out: number of scenes at the end of each data set that are for validation only.
        validation_folders: data sets that are validated on in their place; the held-out scenes are not trained on either.

    Raises:
        InputError: no finished data set, one that is given twice or empty or has nothing left to train on or no poses,
            pictures of several sizes.
        OSError: a manifest that cannot be read.
    """
    training: list[StoredScene] = []
    validation: list[StoredScene] = []
    hashes: dict[str, str] = {}
    resolutions: dict[int, Path] = {}
    for folder in folders:
        dataset = Dataset(folder)
        if len(dataset) <= held_out:
            raise InputError(
                f"{folder}: has {len(dataset)} scenes, nothing to train on beside {held_out} held-out ones"
            )
        if not dataset.manifest.has_poses:
            raise InputError(
                f"{folder}: it is not known where its cameras stood, so that it can be evaluated, not trained on"
            )
        digest = dataset.manifest.sha256
        if digest in hashes.values():
            raise InputError(f"data: {folder} is there twice")
        hashes[str(folder)] = digest
        resolutions[dataset.manifest.settings.resolution] = folder
        training += dataset.scenes[: len(dataset) - held_out]
        validation += dataset.scenes[len(dataset) - held_out :]
    others: dict[str, str] = {}
    if validation_folders:
        validation = []
    for folder in validation_folders:
        dataset = Dataset(folder)
        digest = dataset.manifest.sha256
        if digest in (*hashes.values(), *others.values()):
            raise InputError(f"validation: {folder} is trained on, or there twice", argument="validation")
        if not dataset.manifest.has_poses:
            raise InputError(f"validation: it is not known where the cameras of {folder} stood", argument="validation")
        others[str(folder)] = digest
        resolutions[dataset.manifest.settings.resolution] = folder
        validation += dataset.scenes
    if len(resolutions) > 1:
        named = ", ".join(f"{folder} has {size} pixels" for size, folder in resolutions.items())
        raise InputError(f"data: pictures must be of one size, {named}")
    (resolution,) = resolutions
    names = [f"{scene.folder.parent.name}/{scene.folder.name}" for scene in validation]
    return TuningData(training, validation, names, resolution, hashes, others)
