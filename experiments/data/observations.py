"""What training sees of scenes: pictures, depth and cameras, read by all cores and kept in memory while they fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import unpack
from threading import Lock
from typing import Protocol, TypeVar
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from experiments.process.cores import available_cores
from subspace.errors import InputError
from vggt_jax.pictures import check_pixels, opened, unlimited
from vggt_jax.reading.arrays import ArrayFile, array_of
from vggt_jax.reading.regular import check_regular

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Observation:
    """One view of a scene, as it is stored."""

    image: UInt8[np.ndarray, "h w 3"]
    """Picture in sRGB."""
    depth: Float32[np.ndarray, "h w"]
    """Distance along the camera's z axis in metres; 0 where not valid."""
    valid: Bool[np.ndarray, "h w"]
    """Pixels that show a surface."""
    intrinsics: Float32[np.ndarray, "3 3"]
    """Intrinsics in pixels; the centre of the upper left pixel is (0, 0)."""
    extrinsics: Float32[np.ndarray, "3 4"]
    """Transformation from the world to the camera, in OpenCV's axes."""

    @property
    def nbytes(self) -> int:
        """Bytes of the maps."""
        return self.image.nbytes + self.depth.nbytes + self.valid.nbytes


class LoadableScene(Protocol):
    """A scene whose views can be read, such as :class:`experiments.data.dataset.StoredScene`; it can be a key."""

    @property
    def num_views(self) -> int: ...
    def observe(self, view: int) -> Observation: ...
    def __hash__(self) -> int: ...


View = tuple[LoadableScene, int]
"""A scene and the number of a view."""


class ViewReader:
    """Reads views by as many threads as there are cores; those that were read first stay in memory while they fit.

    Views are drawn evenly, so that nothing would be gained by letting some go for others. Safe to call from several threads.

    Args:
        memory_bytes: that may be kept. A view takes 2 MB at 518², the data of the preset ``nano`` 40 MB.
    """

    def __init__(self, memory_bytes: int = 1 << 30):
        self._capacity, self._bytes = memory_bytes, 0
        self._kept: dict[View, Observation] = {}
        self._lock = Lock()

    def __call__(self, views: Sequence[View]) -> list[Observation]:
        """The views in their order; raises what reading one does."""
        found = {view: self._kept[view] for view in views if view in self._kept}
        missing = [view for view in dict.fromkeys(views) if view not in found]
        for view, observation in zip(missing, read_at_once(_observe, missing), strict=True):
            found[view] = observation
            self._keep(view, observation)
        return [found[view] for view in views]

    def _keep(self, view: View, observation: Observation) -> None:
        with self._lock:
            if view not in self._kept and self._bytes + observation.nbytes <= self._capacity:
                self._kept[view] = observation
                self._bytes += observation.nbytes


def stacked(views: Sequence[Observation], *lead: int) -> dict[str, np.ndarray]:
    """Views as fields of :class:`experiments.training.batch.TrainingBatch`, with axes of these lengths in front.

    Raises InputError if they differ in size.
    """
    shapes = {view.image.shape for view in views}
    if len(shapes) != 1:
        raise InputError(f"pictures of a batch must have one size, got {sorted(shapes)}")
    fields = {
        "images": [view.image for view in views],
        "depths": [view.depth for view in views],
        "point_masks": [view.valid for view in views],
        "extrinsics": [view.extrinsics for view in views],
        "intrinsics": [view.intrinsics for view in views],
    }
    return {name: np.stack(arrays).reshape(*lead, *arrays[0].shape) for name, arrays in fields.items()}


def read_at_once(read: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``read`` gives for each item, in their order, by as many threads as there are cores.

    ``read`` must not call this function. If it raises, what it raised for the first such item is raised, once no item is
    being read any more: whoever is told that a file is damaged may replace it.
    """
    futures = [_reading_threads().submit(read, item) for item in items]
    try:
        return [future.result() for future in futures]
    except Exception:
        for future in futures:
            future.cancel()
        wait(futures)
        raise


@cache
def _reading_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(available_cores()), "reading")


def read_picture(path: Path) -> np.ndarray:
    """The pixels of a PNG in less than half of Pillow's time; raises InputError for one that is damaged."""
    import tensorstore

    size = check_regular(path)
    with path.open("rb") as file:
        width, height = unpack(">II", file.read(24)[16:].rjust(8, b"\0"))
    try:
        check_pixels(width, height, size)
        return tensorstore.open({"driver": "png", "kvstore": _file(path)}).result().read().result()
    except Exception:  # Pillow says what is wrong, or can read it
        try:
            with opened(path) as picture, unlimited():
                return np.asarray(picture)
        except Exception as error:  # Pillow raises many kinds
            raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def read_maps(path: Path, *names: str) -> list[np.ndarray]:
    """Some arrays of an npz in half of NumPy's time; raises InputError for one that is damaged."""
    import tensorstore

    with ArrayFile(path) as archive:
        try:
            stored = tensorstore.KvStore.open({"driver": "zip", "base": _file(path)}).result()
            return [_checked(archive.check_sum(name), stored.read(f"{name}.npy").result().value) for name in names]
        except Exception:  # the slower reader says what is wrong, or can read it
            return [archive.read(name) for name in names]


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "path": os.path.abspath(path)}  # TensorStore knows no ``..``


def _checked(check_sum: int, content: bytes) -> np.ndarray:
    """Of an uncompressed file in an archive, whose check sum TensorStore does not look at."""
    if crc32(content) != check_sum:
        raise ValueError("another check sum")
    return array_of(content)


def _observe(view: View) -> Observation:
    scene, number = view
    return scene.observe(number)
