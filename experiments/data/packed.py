"""One scene in one file: a zip that is not compressed, of pictures as they were written and of Zarr arrays.

Hundreds of thousands of small files are what file systems are worst at; a scene's archive is one, and each of its views is
still read alone, through the archive's directory. ``images/*.png`` and the ``.json`` files are the ones of
:mod:`experiments.data.scene_folder`, bit by bit. Every map is one Zarr array (version 3) of all views, a chunk for each, packed
by blosc (zstd after a shuffle of bytes) with a check sum: TensorStore, Zarr for Python and others read it. Depth is exact or,
where bytes count more, a multiple of 0.0019 in its logarithm (``log_depth``; at most 0.00095 off, relatively; 0 is no depth).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from struct import unpack
from typing import Any, Literal

import numpy as np

from experiments.storage import files
from subspace.errors import InputError
from vggt_jax.pictures import check_pixels
from vggt_jax.reading.arrays import MOST_BYTES
from vggt_jax.reading.regular import check_regular

DepthKind = Literal["exact", "rounded"]
SUFFIX = ".zip"
DEPTH, LOG_DEPTH, VALID = "depth", "log_depth", "valid"
STEP = 1.9e-3
"""Of the logarithm of a rounded depth."""
_MIDDLE = 1 << 15
_DIRECTORIES = 256 << 20
"""Bytes of memory for directories of archives."""
_NOT_KEPT: Mapping[str, Any] = {"cache_pool": {"total_bytes_limit": 0}}
"""For what is read: who reads keeps it, or does not."""


def log_of(depth: np.ndarray) -> np.ndarray:
    """Depths as the nearest step of their logarithms, uint16; 0 stays 0. Raises InputError for what is beyond e^±62."""
    with np.errstate(divide="ignore"):
        steps = np.where(depth > 0, np.rint(np.log(depth.astype(np.float64)) / STEP) + _MIDDLE, 0)
    if not ((steps >= (depth > 0)) & (steps < 1 << 16)).all():
        raise InputError("a depth cannot be rounded: it is too small or too large")
    return steps.astype(np.uint16)


def depth_of(steps: np.ndarray) -> np.ndarray:
    """The depths of :func:`log_of`, float32."""
    return _table()[steps]


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    table = np.exp((np.arange(1 << 16) - _MIDDLE) * STEP)
    table[0] = 0
    return table.astype(np.float32)


class Archive:
    """The file of a packed scene.

    Args:
        path: of the file.
        version: its time of change; a file that has changed is another one.
    """

    def __init__(self, path: Path, version: int):
        self.path, self._version = path, version
        self._arrays: dict[str, Any] = {}

    @classmethod
    def of(cls, path: Path) -> Archive:
        """One for each file, which is opened once; raises OSError if it is missing."""
        return _archive(path, path.stat().st_mtime_ns)

    def read(self, name: str) -> bytes | None:
        """A file in the archive; None where there is none."""
        with self._read():
            found = self._store.read(name).result()
            return None if found.state == "missing" else found.value

    def read_picture(self, name: str) -> np.ndarray:
        """The pixels of a PNG."""
        import tensorstore

        content = self.read(name)
        if content is None:
            raise InputError(f"{self.path} is damaged: it has no {name}")
        with self._read():
            width, height = unpack(">II", content[16:24].rjust(8, b"\0"))
            check_pixels(width, height, len(content))
            spec = {"driver": "png", "kvstore": {**self._spec, "path": name}, **_NOT_KEPT}
            return tensorstore.open(spec, context=_context()).result().read().result()

    def read_maps(self, view: int, names: Sequence[str]) -> list[np.ndarray | None]:
        """Maps of a view, all at once; None for those that the archive does not have."""
        with self._read():
            found = [self._array(name) for name in names]
            reading = [None if array is None else array[view].read() for array in found]
            return [None if each is None else each.result() for each in reading]

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            import tensorstore

            array = None
            if self._store.read(f"{name}/zarr.json").result().state != "missing":
                spec = {"driver": "zarr3", "kvstore": {**self._spec, "path": f"{name}/"}, **_NOT_KEPT}
                array = tensorstore.open(spec, context=_context(), read=True).result()
                chunk = (1, *array.shape[1:])
                if (
                    array.chunk_layout.read_chunk.shape != chunk
                    or np.prod(chunk) * array.dtype.numpy_dtype.itemsize > MOST_BYTES
                ):
                    raise InputError(f"{self.path} is damaged: {name} has views of an impossible size")
            self._arrays[name] = array
        return self._arrays[name]

    def _read(self) -> Any:
        return files.reading(self.path)

    @property
    def _spec(self) -> dict[str, Any]:
        return {"driver": "zip", "base": {"driver": "file", "path": os.path.abspath(self.path)}}

    @cached_property
    def _store(self) -> Any:
        import tensorstore

        check_regular(self.path)
        return tensorstore.KvStore.open(self._spec, context=_context()).result()


@lru_cache(maxsize=4096)
def _archive(path: Path, version: int) -> Archive:
    return Archive(path, version)


@lru_cache(maxsize=1)
def _context() -> Any:
    import tensorstore

    return tensorstore.Context({"cache_pool": {"total_bytes_limit": _DIRECTORIES}})


def write_archive(path: Path, texts: Mapping[str, bytes], maps: Mapping[str, Any], comment: str) -> None:
    """Write a packed scene, in place of an older one.

    Args:
        path: of the file.
        texts: files as they are, by their names in the archive.
        maps: name → what :func:`new_array` made.
        comment: of the archive.

    Raises OSError if it cannot be written.
    """
    with files.new_path(path) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment.encode()
        for name, content in sorted(texts.items()):
            archive.writestr(_entry(name), content)
        for name, array in sorted(maps.items()):
            chunks = array.kvstore
            for key in sorted(chunks.list().result()):
                archive.writestr(_entry(f"{name}/{key.decode()}"), chunks[key])


def comment_of(path: Path) -> str | None:
    """The comment of an archive; None for a file that is none, or is not there."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment.decode(errors="replace")
    except (OSError, zipfile.BadZipFile):
        return None


def new_array(views: int, first: np.ndarray) -> Any:
    """An empty Zarr array in memory for a map of so many views, each like the first."""
    import tensorstore

    size = first.dtype.itemsize
    order = {"configuration": {"endian": "little"}} if size > 1 else {}
    blosc = {"cname": "zstd", "clevel": 5, "shuffle": "shuffle", "typesize": size, "blocksize": 0}
    metadata = {
        "shape": [views, *first.shape],
        "data_type": first.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, *first.shape]}},
        "codecs": [{"name": "bytes", **order}, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "memory"}, "metadata": metadata, "create": True}
    return tensorstore.open(spec, context=tensorstore.Context()).result()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # of 1980, so that equal scenes are equal files
