"""NumPy's files: headers are read first, and compared with what is there, before there is memory for what they announce.

Nothing is unpickled; numbers and booleans are all that is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy

from subspace.errors import InputError
from vggt_jax.reading.regular import check_regular

MOST_BYTES = 1 << 31
"""Of an array that is read: a bomb that unpacks to more ends here. 200 depth maps of 1,024² in float64 have 1.7 GB."""
_KINDS = "biuf"
_ENCRYPTED = 1
_AT_ONCE = 1 << 20
_ARRAY = b"\x93NUMPY"
_BEGINNING = 1 << 14
"""Bytes in which a header must end."""
_PARSING = threading.Lock()
"""NumPy lets Python's own parser read headers, which fails where threads take turns within it (SystemError, Python 3.11)."""


@dataclass(frozen=True)
class Header:
    """What a file says about its array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    """Whether the first axis is the fastest."""

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """The arrays of an ``.npz``, of which nothing but the headers is read before :meth:`read`.

    Args:
        path: of the file.
        most: bytes that an array may have.

    Raises:
        InputError: it is no archive of arrays, is damaged, encrypted or packed in an unusual way, or one array has more than
            ``most`` bytes or holds no numbers.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, most: int = MOST_BYTES):
        check_regular(path)
        self.path, self._most = path, most
        with path.open("rb") as file:
            if file.read(len(_ARRAY)) == _ARRAY:
                raise InputError(f"{path} is one array (.npy), not an archive of arrays (.npz)")
        try:
            self._archive = ZipFile(path)
        except Exception as error:  # zipfile raises its own, struct's and Python's
            raise InputError(f"{path} is damaged, or no archive of arrays: {_words(error)}") from None
        self._entries: dict[str, ZipInfo] = {}
        for entry in self._archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name.startswith("/") or ".." in name.split("/"):
                raise InputError(f"{path} is no archive of arrays: it holds {name!r}")
            if name in self._entries:
                raise InputError(f"{path} is damaged: it holds {name} twice")
            self._entries[name] = entry

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._entries)

    def read(self, name: str) -> np.ndarray:
        """An array; raises InputError as the class does."""
        entry = self._entry(name)
        try:
            with self._archive.open(entry) as file:
                return _read(file, entry.file_size, self._most)
        except Exception as error:  # zipfile raises its own, zlib's, struct's and Python's
            raise InputError(f"{self.path}: {name} cannot be read: {_words(error)}") from None

    def shape(self, name: str) -> tuple[int, ...]:
        """An array's shape, of which the header alone is read; raises InputError as the class does."""
        entry = self._entry(name)
        try:
            with self._archive.open(entry) as file:
                return _header(file)[0].shape
        except Exception as error:  # zipfile raises its own, zlib's, struct's and Python's
            raise InputError(f"{self.path}: {name} cannot be read: {_words(error)}") from None

    def check_sum(self, name: str) -> int:
        """What :func:`zlib.crc32` must give of an array's file, of those that may be unpacked at once."""
        entry = self._entry(name)
        if entry.file_size > self._most:
            raise InputError(f"{self.path}: {name} takes {entry.file_size:,} bytes, more than {self._most:,}")
        return entry.CRC

    def _entry(self, name: str) -> ZipInfo:
        if name not in self._entries:
            raise InputError(f"{self.path} has no array {name}, but {', '.join(self.names[:10]) or 'nothing'}")
        entry = self._entries[name]
        if entry.flag_bits & _ENCRYPTED:
            raise InputError(f"{self.path}: {name} is encrypted")
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise InputError(
                f"{self.path}: {name} is packed with method {entry.compress_type}, which NumPy does not use"
            )
        return entry


def read_arrays(path: Path, names: Sequence[str] | None = None, most: int = MOST_BYTES) -> Mapping[str, np.ndarray]:
    """Some arrays of an ``.npz``, by default all; raises as :class:`ArrayFile` does."""
    with ArrayFile(path, most) as file:
        return {name: file.read(name) for name in (file.names if names is None else names)}


def read_array(path: Path, most: int = MOST_BYTES) -> np.ndarray:
    """The array of an ``.npy``, or the only one of an ``.npz``, whatever the file is called.

    Raises:
        InputError: it is neither, holds several arrays, or as :class:`ArrayFile`.
        OSError: it cannot be read.
    """
    size = check_regular(path)
    with path.open("rb") as file:
        is_array = file.read(len(_ARRAY)) == _ARRAY
        file.seek(0)
        if is_array:
            try:
                return _read(file, size, most)
            except Exception as error:
                raise InputError(f"{path} cannot be read: {_words(error)}") from None
    with ArrayFile(path, most) as archive:
        if len(archive.names) != 1:
            raise InputError(f"{path} holds no single array, but {', '.join(archive.names[:10]) or 'nothing'}")
        return archive.read(archive.names[0])


def array_of(content: bytes) -> np.ndarray:
    """The array of an ``.npy`` in memory; raises ValueError for one that is damaged."""
    return _read(BytesIO(content), len(content), MOST_BYTES)


def _read(file: IO[bytes], size: int, most: int) -> np.ndarray:
    """An array that lies in ``size`` bytes of a stream."""
    header, begin = _header(file)
    if header.nbytes > most:
        raise ValueError(f"its shape {_shown(header.shape)} takes {header.nbytes:,} bytes, more than {most:,}")
    if header.nbytes > size - begin:
        raise ValueError(f"its shape {_shown(header.shape)} takes {header.nbytes:,} bytes, and it has {size - begin:,}")
    array = np.empty(header.shape, header.dtype, order="F" if header.fortran else "C")
    target, place = array.reshape(-1, order="A").view(np.uint8) if array.size else np.empty(0, np.uint8), 0
    while place < len(target):
        part = file.read(min(len(target) - place, _AT_ONCE))
        if not part:
            raise ValueError("it ends early")
        target[place : place + len(part)] = np.frombuffer(part, np.uint8)
        place += len(part)
    file.read(1)  # the end, where zipfile compares the check sum
    return array


def _header(file: IO[bytes]) -> tuple[Header, int]:
    """What the beginning of a stream says, and how many bytes that takes."""
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it is of version {version[0]}.{version[1]} of NumPy's format, which holds no plain numbers")
    try:
        with _PARSING:
            shape, fortran, dtype = readers[version](file, max_header_size=_BEGINNING)
    except (RecursionError, MemoryError, SyntaxError, TypeError):  # of Python's own parser
        raise ValueError("its header is none") from None
    if dtype.kind not in _KINDS:
        raise ValueError(f"it holds {dtype}, no numbers")
    if not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 32:
        raise ValueError(f"its shape is {_shown(shape)}")
    return Header(shape, dtype, fortran), file.tell()


def _shown(shape: tuple[int, ...]) -> str:
    return f"{shape}" if len(shape) <= 8 else f"of {len(shape)} axes"


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
