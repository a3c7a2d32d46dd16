"""Scenes and samples of views as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Int, UInt8, UInt16

from experiments.data.geometry import is_pinhole, is_rotation, unproject
from experiments.data.manifest import Manifest, read_manifest
from experiments.data.observations import Observation, read_at_once, read_maps, read_picture
from experiments.data.packed import DEPTH, LOG_DEPTH, SUFFIX, VALID, Archive, depth_of
from experiments.data.scene_folder import CameraFile, find_damage, view_files
from experiments.scenes import schema
from experiments.storage import files
from experiments.storage.arguments import StrPath, path_of
from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.arrays import read_arrays
from vggt_jax.reading.regular import read_bytes


@dataclass(frozen=True)
class Views:
    """S views of one scene."""

    images: UInt8[np.ndarray, "s h w 3"]
    """Pictures in sRGB."""
    depths: Float32[np.ndarray, "s h w"]
    """Distances along each camera's z axis in metres; 0 where not valid."""
    valid: Bool[np.ndarray, "s h w"]
    """Pixels that show a surface."""
    normals: Float16[np.ndarray, "s h w 3"]
    """Unit vectors in each camera's frame (OpenCV); 0 where not valid."""
    object_ids: UInt16[np.ndarray, "s h w"]
    """Place in the scene's objects plus one, or the label that a recording gives; 0 where not valid."""
    glass: Bool[np.ndarray, "s h w"]
    """Pixels whose first surface, which depth and normal are of, is transparent."""
    mask: Bool[np.ndarray, "s h w"]
    """Valid pixels that count when the scene's task is evaluated: all of them where no mask is stored."""
    intrinsics: Float[np.ndarray, "s 3 3"]
    """Intrinsics in pixels; the centre of the upper left pixel is (0, 0)."""
    extrinsics: Float[np.ndarray, "s 3 4"]
    """Transformations from the world to each camera, in OpenCV's axes."""

    @property
    def world_points(self) -> Float32[np.ndarray, "s h w 3"]:
        """The point of each pixel in the world; the camera's centre where not valid."""
        return unproject(self.depths, self.extrinsics, self.intrinsics).astype(np.float32)


@dataclass(frozen=True)
class StoredScene:
    """A scene in its folder; nothing is read before :meth:`load`."""

    folder: Path
    """Folder of the scene."""
    num_views: int
    """Number of views of the scene."""

    @property
    def path(self) -> Path:
        """What lies on the disk of the scene."""
        return self.folder

    @property
    def spec(self) -> schema.Scene:
        """The complete description, see :mod:`experiments.scenes.schema`.

        Raises:
            InputError: there is none, as the scene was recorded; or it is damaged.
            OSError: it cannot be read.
        """
        path = self.folder / "spec.json"
        if not path.is_file():
            raise InputError(f"{self.folder} was recorded, not rendered: it has no spec.json")
        try:
            return schema.from_json(read_bytes(path, schema.MOST_BYTES))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def cameras(self) -> tuple[Float[np.ndarray, "v 3 3"], Float[np.ndarray, "v 3 4"]]:
        """Intrinsics and extrinsics of all views, float64.

        Raises:
            InputError: the file of cameras is damaged.
            OSError: it cannot be read.
        """
        path = self.folder / "cameras.json"
        views = self._read_cameras().views
        if len(views) != self.num_views:
            raise InputError(f"{path} is damaged: it must hold the cameras of {self.num_views} views")
        intrinsics = np.array([view.intrinsics for view in views], np.float64)
        extrinsics = np.array([view.world_to_camera for view in views], np.float64)
        if not is_pinhole(intrinsics).all():
            raise InputError(f"{path} is damaged: it holds intrinsics of no pinhole camera")
        if not is_rotation(extrinsics[..., :3]).all():
            raise InputError(f"{path} is damaged: it holds a pose that is no rotation and translation")
        return intrinsics, extrinsics

    def load(self, view_indices: Sequence[int] | Int[np.ndarray, " s"] | None = None) -> Views:
        """Read views.

        Args:
            view_indices: which, in this order; all by default.

        Raises:
            InputError: there is no such view, a file is damaged, or a depth is not finite or negative.
            OSError: a file cannot be read.
        """
        indices = range(self.num_views) if view_indices is None else [int(view) for view in view_indices]
        for view in indices:
            self._check(view)
        if not indices:
            raise InputError(f"{self.folder}: no views asked for")
        loaded = read_at_once(self._load_view, indices)
        intrinsics, extrinsics = self.cameras()
        stacked = {name: np.stack([arrays[name] for arrays in loaded]) for name in loaded[0]}
        return Views(
            images=stacked["image"],
            depths=stacked["depth"],
            valid=stacked["valid"],
            normals=stacked["normal"],
            object_ids=stacked["object_id"],
            glass=stacked["glass"],
            mask=stacked["mask"],
            intrinsics=intrinsics[list(indices)].astype(np.float32),
            extrinsics=extrinsics[list(indices)].astype(np.float32),
        )

    def sample(self, count: int, rng: np.random.Generator) -> Views:
        """``count`` different views in random order; the first is the reference of a training sequence.

        Raises:
            InputError: the scene has fewer.
        """
        if not 1 <= count <= self.num_views:
            raise InputError(f"{self.folder} has {self.num_views} views, {count} were asked for")
        return self.load(rng.permutation(self.num_views)[:count])

    def observe(self, view: int) -> Observation:
        """Read what training sees of a view; raises as :meth:`load`."""
        self._check(view)
        intrinsics, extrinsics = _single_precision_cameras(self, self._changed_ns())
        image, arrays = (self.folder / name for name in view_files(view))
        with files.reading(self.path, f"is damaged in view {view}"):
            picture, (depth, valid) = self.read_pixels(view), self.read_depth(view)
        _check_maps(image, arrays, {"image": picture, "depth": depth, "valid": valid})
        return Observation(picture, depth, valid, intrinsics[view], extrinsics[view])

    def _check(self, view: int) -> None:
        if not 0 <= view < self.num_views:
            raise InputError(f"{self.folder} has views 0 to {self.num_views - 1}, not {view}")

    def _load_view(self, view: int) -> dict[str, np.ndarray]:
        image, arrays = (self.folder / name for name in view_files(view))
        with files.reading(self.path, f"is damaged in view {view}"):
            stored = self.read_stored(view)
            loaded = {"image": self.read_pixels(view), **{name: stored[name] for name in stored if name in _KINDS}}
            if missing := _KINDS.keys() - loaded.keys() - {"mask", "image"}:
                raise InputError(f"{arrays} has no {min(missing)}")
            loaded["mask"] = loaded["valid"] & loaded.get("mask", True)
        _check_maps(image, arrays, loaded)
        return loaded

    def read_pixels(self, view: int) -> np.ndarray:
        """The picture of a view."""
        return read_picture(self.folder / view_files(view)[0])

    def read_stored(self, view: int) -> dict[str, np.ndarray]:
        """All maps of a view as they are stored."""
        return dict(read_arrays(self.folder / view_files(view)[1]))

    def read_file(self, name: str) -> bytes | None:
        """A file of the scene that is no map; None where there is none."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def read_depth(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Depth and valid pixels of a view."""
        depth, valid = read_maps(self.folder / view_files(view)[1], DEPTH, VALID)
        return depth, valid

    def _read_cameras(self) -> CameraFile:
        return files.read_json(self.folder / "cameras.json", CameraFile)

    def _changed_ns(self) -> int:
        return (self.folder / "cameras.json").stat().st_mtime_ns


@dataclass(frozen=True)
class PackedScene(StoredScene):
    """A scene in one file, see :mod:`experiments.data.packed`; its folder is not there, but for its name."""

    @property
    def path(self) -> Path:
        return self.folder.with_name(self.folder.name + SUFFIX)

    @property
    def spec(self) -> schema.Scene:
        content = self.read_file("spec.json")
        if content is None:
            raise InputError(f"{self.path} was recorded, not rendered: it has no spec.json")
        try:
            return schema.from_json(content)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None

    def read_pixels(self, view: int) -> np.ndarray:
        return Archive.of(self.path).read_picture(view_files(view)[0])

    def read_stored(self, view: int) -> dict[str, np.ndarray]:
        names = [name for name in _KINDS if name != "image"]
        found = Archive.of(self.path).read_maps(view, [LOG_DEPTH, *names])
        maps = {name: values for name, values in zip(names, found[1:], strict=True) if values is not None}
        return {**maps, **self._depth_and_valid(found[0], maps.get(DEPTH), maps.get(VALID))}

    def read_file(self, name: str) -> bytes | None:
        return Archive.of(self.path).read(name)

    def read_depth(self, view: int) -> tuple[np.ndarray, np.ndarray]:
        maps = self._depth_and_valid(*Archive.of(self.path).read_maps(view, [LOG_DEPTH, DEPTH, VALID]))
        return maps[DEPTH], maps[VALID]

    def _depth_and_valid(
        self, steps: np.ndarray | None, depth: np.ndarray | None, valid: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        if steps is not None and steps.dtype == np.uint16:
            depth = depth_of(steps)
        if depth is None:
            raise InputError(f"{self.path} is damaged: it has no depth")
        return {DEPTH: depth, VALID: depth > 0 if valid is None else valid}

    def _read_cameras(self) -> CameraFile:
        with files.reading(self.path):
            return typed.decode(self.read_file("cameras.json") or b"", CameraFile)

    def _changed_ns(self) -> int:
        return self.path.stat().st_mtime_ns


_KINDS = {"image": "u", "depth": "f", "valid": "b", "normal": "f", "object_id": "u", "glass": "b", "mask": "b"}
"""Name → kind of numbers of what is stored of a view."""


def _check_maps(image: Path, arrays: Path, loaded: Mapping[str, np.ndarray]) -> None:
    """Raises InputError unless all maps of a view are of one size and hold what they should."""
    size = loaded["depth"].shape
    for name, values in loaded.items():
        path, channels = image if name == "image" else arrays, (3,) if name in ("image", "normal") else ()
        if values.dtype.kind != _KINDS[name]:
            raise InputError(f"{path}: {name} holds {values.dtype}")
        if values.shape != (*size, *channels) or len(size) != 2 or not values.size:
            raise InputError(f"{image} and {arrays} differ in size: {name} has shape {values.shape}, depth {size}")
    depth = loaded["depth"]
    if not (depth.min() >= 0 and depth.max() < np.inf):  # NaN is neither
        raise InputError(f"{arrays} has a depth that is not finite or negative")


@lru_cache(maxsize=1024)
def _single_precision_cameras(scene: StoredScene, modified_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics and extrinsics of all views: those of a long scene take a third of the time of a picture to read."""
    intrinsics, extrinsics = scene.cameras()
    return intrinsics.astype(np.float32), extrinsics.astype(np.float32)


class Dataset:
    """A finished data set.

    Args:
        folder: the folder with ``manifest.json``.

    Raises:
        InputError: it is none, or not finished.
        OSError: it cannot be read.
    """

    def __init__(self, folder: StrPath) -> None:
        self.folder = path_of(folder, "folder")
        self.manifest: Manifest = read_manifest(self.folder)
        kind = StoredScene if self.manifest.packing is None else PackedScene
        self.scenes = [kind(self.folder / name, self.manifest.settings.views) for name in self.manifest.scenes]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, scene: int) -> StoredScene:
        return self.scenes[scene]

    def __iter__(self) -> Iterator[StoredScene]:
        return iter(self.scenes)

    def verify(self) -> None:
        """Hash every file.

        Raises:
            InputError: naming the first file that is missing or is not what was written.
        """
        for name, expected in self.manifest.files.items():
            if not (self.folder / name).is_file() or files.sha256(self.folder / name) != expected:
                raise InputError(f"{self.folder / name} is damaged")
        if self.manifest.packing is not None:
            for scene, packed in self.manifest.packing.files.items():
                path = self.folder / f"{scene}{SUFFIX}"
                if not path.is_file() or files.sha256(path) != packed.sha256:
                    raise InputError(f"{path} is damaged")
            return
        for name, record in self.manifest.scenes.items():
            if damage := find_damage(self.folder / name, record, everything=True):
                raise InputError(damage)
