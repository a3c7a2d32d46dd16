"""``manifest.json``: what a data set is made of, and how it was made."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from experiments.data.inputs import InputFile
from experiments.data.packed import DepthKind
from experiments.data.scene_folder import SceneRecord
from experiments.scenes.schema import SCHEMA_VERSION, Attribute, Setting
from experiments.storage import files
from subspace.errors import InputError
from vggt_jax.missing import no_folder

MANIFEST = "manifest.json"
CONTACT_SHEET = "contact_sheet.png"
FORMAT_VERSION, PACKED_VERSION = 1, 2

Task = Literal["faces", "humans", "glass", "heads"]
"""Of the paper's Section 5: flat prints of faces, clothed humans, transparent objects; and heads, to train a base model on."""
Split = Literal["train", "test", "cross_domain"]


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What decides about every byte of a scene, together with the numbers of the data set and of the scene."""

    views: int
    """Number of views of every scene."""
    resolution: int
    """Width and height in pixels."""


class AttributeSettings(_Settings, frozen=True, kw_only=True, tag="attribute"):
    """What data sets are made with in which one attribute varies (:mod:`experiments.rendering.attribute_data`)."""

    attribute: Attribute
    """The attribute that varies from scene to scene."""
    setting: Setting
    """The kind of scene and of camera path."""
    seed: int
    """Seed of everything that is drawn at random."""
    samples: int
    """Light paths per pixel."""
    textures: str | None = None
    """Folder of the user's own textures."""
    glass: Literal[False] | msgspec.UnsetType = msgspec.UNSET
    """False where no object is transparent and windows have no panes."""

    @property
    def title(self) -> str:
        """What the scenes are, for people."""
        return f"{self.attribute} {self.setting}"


class TaskSettings(_Settings, frozen=True, kw_only=True, tag="task"):
    """What a task's data set is made with that is rendered: a stand-in, or scans (:mod:`experiments.tasks.preparation`)."""

    task: Task
    """The task whose data it is."""
    split: Split
    """The part of the task's data."""
    seed: int
    """Seed of everything that is drawn at random."""
    samples: int
    """Light paths per pixel."""
    turn: float | None = None
    """Degrees of the circle about the things that the views are spread over; None where no camera goes round anything."""
    meshes: str | None = None
    """Folder of the user's own textured meshes, which are rendered in place of the stand-in's."""
    up: Literal["z"] | msgspec.UnsetType = msgspec.UNSET
    """The axis of the meshes that points up, where it is not y."""

    @property
    def title(self) -> str:
        """What the scenes are, for people."""
        return f"{self.task} {self.split}"


class RecordedSettings(_Settings, frozen=True, kw_only=True, tag="recorded"):
    """What a data set is made with whose scenes were recorded with a camera (:mod:`experiments.tasks.recordings`)."""

    task: Task
    """The task that the scenes are for."""
    split: Split
    """The part of the task's data."""
    layout: str
    """How the recordings lay on disk: "clearpose" or "captures"."""
    source: str
    """Name of the folder that the recordings were read from."""
    scenes: tuple[str, ...]
    """Folders of the scenes in that of the recordings; ``scene_0000`` is made from the first."""
    poses: bool
    """Whether it is known where the cameras stood. Otherwise all stand at the origin, and only depth can be evaluated."""
    depth_scale: float | msgspec.UnsetType = msgspec.UNSET
    """Stored depths in a metre, where it is not what the layout says."""
    pose: Literal["world_to_camera"] | msgspec.UnsetType = msgspec.UNSET
    """What the recorded poses bring to what, where it is not the camera to the world."""
    axes: Literal["opengl"] | msgspec.UnsetType = msgspec.UNSET
    """Axes of the cameras in the recorded poses, where they are not OpenCV's."""
    pose_scale: float | msgspec.UnsetType = msgspec.UNSET
    """Units of the recorded poses in a metre, where it is not 1."""
    intrinsics_size: tuple[int, int] | msgspec.UnsetType = msgspec.UNSET
    """Width and height of the pictures that the recorded intrinsics are of, where they are not the frames'."""

    @property
    def title(self) -> str:
        """What the scenes are, for people."""
        return f"{self.task} {self.split} ({self.source})"


AnySettings = AttributeSettings | TaskSettings | RecordedSettings


class FailedScene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scene that is not there."""

    scene: int
    """Number of the scene."""
    errors: tuple[str, ...]
    """What was wrong in each attempt."""
    inputs: dict[str, InputFile | None] | msgspec.UnsetType = msgspec.UNSET
    """The user's files that the scene was to be made from; unset where there are none."""


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of a packed scene."""

    size: int
    """Number of bytes."""
    sha256: str
    """Of the bytes, in hexadecimal."""


class Packing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a data set is packed (:mod:`experiments.data.packing`)."""

    depth: DepthKind
    """Whether depths are the very same numbers, or rounded."""
    files: dict[str, PackedFile]
    """File of each scene, by the scene's name."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``manifest.json``. A data set without it is not finished."""

    format: int = FORMAT_VERSION
    """Version of the format of data sets."""
    settings: AnySettings
    """What the data set was made with."""
    dataset: int
    """Number of the data set among those of its attribute, from 0."""
    counts: dict[str, int]
    """Numbers of scenes, views of each, images in all, and scenes that failed."""
    versions: dict[str, str]
    """Versions of the schema, of the renderer, of Python and of NumPy."""
    timings: dict[str, float]
    """Sums over the scenes, in seconds of one core; ``peak_memory_gb`` is the largest of a worker."""
    scenes: dict[str, SceneRecord]
    """Records of the scenes by their folders."""
    failed: tuple[FailedScene, ...]
    """Scenes that could not be made."""
    files: dict[str, str]
    """SHA-256 of the files that belong to no scene."""
    packed: Packing | msgspec.UnsetType = msgspec.UNSET
    """Set where each scene is one file; the records are those of the scenes before they were packed."""

    @property
    def requested_scenes(self) -> int:
        """Scenes that were asked for, those that failed included."""
        return len(self.scenes) + len(self.failed)

    @property
    def task(self) -> Task | None:
        """The downstream task that the scenes are for."""
        return None if isinstance(self.settings, AttributeSettings) else self.settings.task

    @property
    def sha256(self) -> str:
        """One for all files of all scenes, also where these are packed; with rounded depths it is another data set."""
        digest = hashlib.sha256()
        for record in self.scenes.values():
            digest.update("".join(f"{name} {value}\n" for name, value in sorted(record.files.items())).encode())
        if self.packing is not None and self.packing.depth == "rounded":
            digest.update(b"depth rounded\n")
        return digest.hexdigest()

    @property
    def packing(self) -> Packing | None:
        """How the data set is packed; None where it is not."""
        return self.packed if isinstance(self.packed, Packing) else None

    @property
    def has_poses(self) -> bool:
        """Whether the extrinsics of the cameras are known."""
        return not isinstance(self.settings, RecordedSettings) or self.settings.poses


_LIMITS: Mapping[str, tuple[int, int]] = {
    "datasets": (1, 100_000),
    "scenes": (1, 100_000),
    "views": (1, 10_000),
    "resolution": (14, 65_536),
    "samples": (1, 65_536),
    "seed": (0, 2**63 - 1),
}
"""Settings of what is rendered → what they may be. The largest resolution is Blender's; the other limits keep a slip from
planning for hours."""


def check_sizes(settings: object, *names: str) -> None:
    """Raises InputError if one of these numbers of some settings is smaller or larger than allowed; None is allowed."""
    for name in names:
        least, most = _LIMITS[name]
        value: int | None = getattr(settings, name)
        if value is not None and not least <= value <= most:
            needed = f"at least {least}" if value < least else f"at most {most}"
            raise InputError(f"{name} must be {needed}, got {value}", argument=name)


def scene_name(scene: int) -> str:
    """The folder of a scene."""
    return f"scene_{scene:04d}"


def write_manifest(
    folder: Path,
    settings: AnySettings,
    dataset: int,
    scenes: Mapping[str, SceneRecord],
    failed: tuple[FailedScene, ...],
) -> Manifest:
    """Summarise the records of all scenes; the contact sheet must be there.

    It is written when all files of the folder are on the disk.

    Raises:
        OSError: the folder cannot be written.
    """
    records = list(scenes.values())
    images = settings.views * len(records)
    manifest = Manifest(
        settings=settings,
        dataset=dataset,
        counts={"scenes": len(records), "views": settings.views, "images": images, "failed_scenes": len(failed)},
        versions={
            "schema": str(SCHEMA_VERSION),
            "renderer": ", ".join(sorted({record.renderer for record in records})),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        timings={
            "seconds": round(sum(record.seconds for record in records), 3),
            "build_seconds": round(sum(record.build_seconds for record in records), 3),
            "writing_seconds": round(sum(record.writing_seconds for record in records), 3),
            "peak_memory_gb": max((record.peak_memory_gb for record in records), default=0.0),
        },
        scenes=dict(sorted(scenes.items())),
        failed=failed,
        files={CONTACT_SHEET: files.sha256(folder / CONTACT_SHEET)} if records else {},
    )
    files.sync(folder)
    files.write_json(folder / MANIFEST, msgspec.to_builtins(manifest), durable=True)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        InputError: the folder is no finished data set, or its manifest is damaged.
        OSError: it cannot be read.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(no_folder(folder))
    if not path.is_file():
        below = sorted(folder.glob(f"*/{MANIFEST}"))
        inside = f"; there is one in it, {below[0].parent}" if below else ""
        if len(below) > 1:
            inside = f"; there are {len(below)} in it, the first is {below[0].parent}"
        raise InputError(f"{folder} is no finished data set, it has no {MANIFEST}{inside}")
    manifest: Manifest = files.read_json(path, Manifest)
    if manifest.format != (FORMAT_VERSION if manifest.packing is None else PACKED_VERSION):
        raise InputError(
            f"{path} has format {manifest.format}, this version reads {FORMAT_VERSION} and {PACKED_VERSION}"
        )
    return manifest
