"""Reading and writing safetensors files one tensor at a time, or one slice of a tensor.

The format: eight bytes with the header's length (little endian), the header (JSON: name → type, shape, and first and
last byte of the data, counted from the header's end), the data of all tensors without gaps. Files are read with plain
reads, not mapped: a mapped file counts as this process's memory, however little of it is needed at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from subspace.errors import InputError
from vggt_jax.reading.json_text import check_values, no_number, whole
from vggt_jax.reading.regular import check_regular

Shape = tuple[int, ...]

TYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
"""The types that weights may have, by the format's names for them."""
ALL_TYPES: dict[str, np.dtype] = TYPES | {
    "BOOL": np.dtype(np.bool_),
    **{f"{kind}{8 * size}": np.dtype(f"{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)},
}
"""Those that other arrays may have, too."""
_NAMES = {dtype: name for name, dtype in ALL_TYPES.items()}
_METADATA = "__metadata__"
_HEADER_LIMIT = 100_000_000
"""Bytes; the reference implementation refuses longer headers as well."""
_BYTES = {**dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1), "U16": 2, "I16": 2} | {
    **dict.fromkeys(("U32", "I32"), 4),
    **dict.fromkeys(("U64", "I64", "C64"), 8),
    **{name: dtype.itemsize for name, dtype in TYPES.items()},
}
"""Of a number, of the format's types; later versions of it may have more."""
_MOST_AXES = 32


@dataclass(frozen=True)
class Tensor:
    """What a header says about one tensor: its type, its shape and its place in the data, in bytes."""

    type: str
    shape: Shape
    start: int
    end: int


class SafetensorsFile:
    """The tensors of one file, read on demand.

    Raises InputError for a file that is not in the format, is cut off or contradicts itself, OSError for one that cannot
    be read; never reads more than the header on opening.
    """

    def __init__(self, path: Path):
        self.path = path
        self.tensors: dict[str, Tensor] = {}
        self.metadata: dict[str, str] = {}
        self.repeated: list[str] = []
        """Names that the header gives twice."""
        size = check_regular(path)
        with path.open("rb") as file:
            self._data = self._read_header(file, size)

    def check_unique(self) -> None:
        """Raises InputError if the header gives a name twice."""
        if self.repeated:
            raise InputError(f"{self.path}: its header gives {self.repeated[0]} twice")

    def read(self, name: str, row: int | None = None, types: Mapping[str, np.dtype] = TYPES) -> np.ndarray:
        """The tensor ``name`` in its stored type, or the slice ``row`` of its leading axis, which alone is read.

        Raises InputError for a type that is not among ``types``.
        """
        tensor = self.tensors[name]
        if tensor.type not in types:
            raise InputError(f"{self.path}: {name} has the type {tensor.type}; weights are {', '.join(types)}")
        start, shape = tensor.start, tensor.shape
        if row is not None:
            shape = tensor.shape[1:]
            start += row * prod(shape) * types[tensor.type].itemsize
        array = np.empty(shape, types[tensor.type])
        target = _bytes(array)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._data + start)
            while target:
                count = file.readinto(target)
                if not count:
                    raise InputError(f"{self.path}: ends within {name}; it was cut off while it was read")
                target = target[count:]
        return array

    def read_finite(self, name: str) -> np.ndarray:
        """:meth:`read`, which raises InputError for NaN and infinity as well."""
        values = self.read(name)
        with np.errstate(all="ignore"):
            is_finite = np.isfinite(values.sum())  # a fraction of the time of looking at each
        if not is_finite and not np.isfinite(values).all():
            raise InputError(f"{self.path}: {name} has NaN or infinity")
        return values

    def _read_header(self, file: BinaryIO, size: int) -> int:
        """Fills in what the header says; returns where the data begins."""
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _HEADER_LIMIT):
            hint = " (a Git LFS pointer: fetch the file itself)" if self._is_lfs_pointer() else ""
            raise InputError(f"{self.path}: not a safetensors file, or cut off within its header{hint}")
        try:
            text = file.read(length).decode("utf-8")
            header = json.loads(text, object_pairs_hook=self._pairs, parse_constant=no_number, parse_int=whole)
            check_values(header)
            self.metadata = _strings(header.pop(_METADATA, {}))
            self.tensors = {name: _tensor(name, entry) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else error
            raise InputError(f"{self.path}: not a safetensors file, its header cannot be read ({reason})") from None
        end = 0
        for name, tensor in sorted(self.tensors.items(), key=lambda item: (item[1].start, item[1].end)):
            needed = prod(tensor.shape) * _BYTES[tensor.type] if tensor.type in _BYTES else None
            if tensor.start != end or needed not in (None, tensor.end - tensor.start):
                raise InputError(f"{self.path}: the header's place of {name} does not fit its shape or its neighbours")
            end = tensor.end
        if size != 8 + length + end:
            state = "is cut off" if size < 8 + length + end else "has bytes after its last tensor"
            raise InputError(f"{self.path}: {state}; the header announces {8 + length + end:,} bytes, it has {size:,}")
        return 8 + length

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.repeated += [name for name, count in counts.items() if count > 1]
        return found

    def _is_lfs_pointer(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(27) == b"version https://git-lfs.git"


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not isinstance(kind, str):
        raise InputError(f"{name} has no shape or no type")
    if not all(type(n) is int and n >= 0 for n in (*shape, start, end)) or start > end:
        raise InputError(f"impossible shape or place: {dict(entry)}")
    return Tensor(kind, tuple(shape), start, end)


def _strings(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError("its metadata are no texts by name")
    return metadata


class SafetensorsWriter:
    """Appends the announced tensors to a file, in the announced order and in parts of any size."""

    def __init__(self, file: BinaryIO, tensors: Mapping[str, tuple[np.dtype, Shape]], metadata: Mapping[str, str]):
        """``tensors``: name → type and shape. Writes the header; see :func:`header_and_size` for the file's size."""
        header, self._left = header_and_size(tensors, metadata)
        self._left -= len(header)
        self._file = file
        file.write(header)

    def append(self, array: np.ndarray) -> None:
        """Writes the next part of the data."""
        data = _bytes(np.ascontiguousarray(array))
        self._left -= data.nbytes
        self._file.write(data)

    def finish(self) -> None:
        """Raises AssertionError unless exactly the announced bytes were appended."""
        assert self._left == 0, f"{self._left} bytes of the announced tensors were not written"


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file that others may read, unlike those of ``safetensors.numpy.save_file``; its bytes are the same.

    Wide types come first, then names decide; where two types are of one width, the order may be another.

    Args:
        path: the file.
        tensors: name → array of one of :data:`ALL_TYPES`; copied, one at a time, only where its memory has gaps.
        metadata: texts by name.

    Raises OSError if it cannot be written.
    """
    ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    with path.open("wb") as file:
        announced = {name: (array.dtype, array.shape) for name, array in ordered.items()}
        writer = SafetensorsWriter(file, announced, metadata or {})
        for array in ordered.values():
            writer.append(array)
        writer.finish()


def header_and_size(tensors: Mapping[str, tuple[np.dtype, Shape]], metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """The beginning of a file that will hold ``tensors`` (name → type and shape), and its size in bytes.

    Tensors lie in the order given. The data begins at a multiple of 8 bytes; wide types should come first so that every
    tensor is aligned.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + end


def _bytes(array: np.ndarray) -> memoryview:
    """A contiguous array's memory."""
    return array.reshape(-1).view(np.uint8).data
