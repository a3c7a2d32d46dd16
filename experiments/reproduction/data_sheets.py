"""What a data set shows, so that records of one folder are of the same scenes, whichever machine rendered them.

Processors round differently, and scenes' descriptions name folders: the same scenes rendered twice seldom have the same
bytes. ``records/data_TASK_SPLIT.json`` therefore says what is seen in them, and which hashes are theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from experiments.data.dataset import Dataset, StoredScene
from experiments.data.manifest import Task
from experiments.reproduction.records import SHEETS
from subspace.errors import InputError

TOLERANCE = 1e-3
"""Between two renderings of a scene: of depth relative, of shares of the picture absolute."""
COLOR_TOLERANCE = 5e-3
"""The same of colours. Light paths that round differently end elsewhere: of 128 scenes with glass, the mean colours of two
processors' pictures differ by up to 0.0012, while no two scenes are closer than 0.0147."""


class FirstView(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scene's first picture shows."""

    valid: float
    """Share of the pixels that have a surface."""
    depth: float
    """Its mean depth, metres."""
    color: tuple[float, float, float]
    """Mean of all pixels, sRGB in [0, 1]."""


class DataSheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One data set, rendered once or more often."""

    sha256: tuple[str, ...]
    """Of all files of all scenes, one for each rendering."""
    settings: dict[str, Any]
    """Of the data set, without the folders of the user's own files."""
    scenes: dict[str, FirstView]
    """Of the first rendering."""

    @property
    def recorded(self) -> str | None:
        """What the user's own recordings are, in words; None for scenes that this project renders."""
        if self.settings.get("kind") != "recorded":
            return None
        return f"{len(self.scenes)} scenes of {self.settings['source']} ({self.settings['layout']})"

    def joined(self, other: DataSheet) -> DataSheet:
        """This one with the other's hashes.

        Raises InputError saying what differs if the other's scenes are not the same.
        """
        if self.settings != other.settings:
            names = sorted({*self.settings, *other.settings})
            name = next(name for name in names if self.settings.get(name) != other.settings.get(name))
            raise InputError(f"{name} is {other.settings.get(name)}, not {self.settings.get(name)}")
        if self.scenes.keys() != other.scenes.keys():
            raise InputError(f"there are {len(other.scenes)} scenes, not the same {len(self.scenes)}")
        for name, scene in self.scenes.items():
            mine, theirs = (np.array([s.valid, s.depth, *s.color]) for s in (scene, other.scenes[name]))
            most = np.array([TOLERANCE, TOLERANCE * max(scene.depth, 1e-9), *[COLOR_TOLERANCE] * 3])
            if (np.abs(mine - theirs) > most).any():
                raise InputError(f"{name} shows {_words(other.scenes[name])}, not {_words(scene)}")
        return msgspec.structs.replace(self, sha256=tuple(dict.fromkeys((*self.sha256, *other.sha256))))


def describe(folder: Path) -> DataSheet:
    """Read the first view of every scene of a data set; raises what :class:`experiments.data.dataset.Dataset` does."""
    dataset = Dataset(folder)
    settings = {
        name: value
        for name, value in msgspec.json.decode(msgspec.json.encode(dataset.manifest.settings)).items()  # as it is read
        if name not in ("meshes", "textures")
    }
    return DataSheet(
        sha256=(dataset.manifest.sha256,),
        settings=settings,
        scenes={scene.folder.name: _first_view(scene) for scene in dataset},
    )


def sheet_file(records: Path, task: Task, split: str) -> Path:
    """Where the sheet of a task's data set is kept."""
    return records / f"{SHEETS}_{task}_{split}.json"


def _first_view(scene: StoredScene) -> FirstView:
    views = scene.load([0])
    red, green, blue = (views.images.mean(axis=(0, 1, 2)) / 255).round(6).tolist()
    return FirstView(
        valid=round(float(views.valid.mean()), 6),
        depth=round(float(views.depths[views.valid].mean()), 6) if views.valid.any() else 0.0,
        color=(red, green, blue),
    )


def _words(scene: FirstView) -> str:
    color = ", ".join(f"{value:.3f}" for value in scene.color)
    return f"depth {scene.depth:.4g} m in {scene.valid:.1%} of the picture and colour ({color})"
