"""The user's files that a scene was made from, on record with the scene, so that a change of them is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from experiments.storage import files
from subspace.errors import InputError

INPUTS = "inputs.json"
"""Of a data set whose scenes choose from files of the user's."""


class InputFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file as it was when it was read."""

    size: int
    """Number of bytes."""
    modified_ns: int
    """Time of the last change, in nanoseconds since 1970."""
    sha256: str
    """SHA-256 of the bytes, in hexadecimal."""


Inputs = Mapping[str, InputFile | None]
"""Files by their paths in the folder that the user named; None for a file that was looked for and was not there."""


def read_inputs(folder: Path, paths: Iterable[Path]) -> dict[str, InputFile | None]:
    """Size, time and hash of files, those that are missing included.

    Raises OSError if one cannot be read.
    """
    return {_name(path, folder): _read(path) for path in paths}


def are_unchanged(inputs: Inputs, folder: Path) -> bool:
    """Whether all files are what they were: of the same size and time, or else with the same bytes."""
    return all(_is_unchanged(folder / name, file) for name, file in inputs.items())


@dataclass(frozen=True)
class Sources:
    """The files that the scenes of a data set are made from."""

    folder: Path
    """Folder that the user named."""
    known: Callable[[int], Sequence[Path]]
    """Files of the scene of a number, as far as they are known without opening one."""
    read: Callable[[int], Sequence[Path]]
    """All files that the scene of a number is made from, those that are missing included."""

    def inputs(self, scene: int) -> dict[str, InputFile | None]:
        """What a scene is made from now, for the record; raises OSError if a file cannot be read."""
        return read_inputs(self.folder, self.read(scene))

    def is_current(self, scene: int, inputs: Inputs | msgspec.UnsetType) -> bool:
        """Whether a scene that was made from these files would be made from the same ones now."""
        if inputs is msgspec.UNSET:
            return False
        assert not isinstance(inputs, msgspec.UnsetType)
        names = {_name(path, self.folder) for path in self.known(scene)}
        return names <= inputs.keys() and are_unchanged(inputs, self.folder)


@dataclass(frozen=True)
class Assets:
    """Files that all scenes of some data sets choose from, on record with the data sets."""

    folder: Path
    """Folder that the user named."""
    files: Sequence[Path]
    """All that may be chosen."""
    show: Callable[[], None] = lambda: None
    """Called when the data sets' folder is begun, before the first scene: draws the files there."""

    def are_current(self, dataset: Path) -> bool:
        """Whether a data set's folder has on record that it is made from these files, as they are now."""
        path = dataset / INPUTS
        if not path.is_file():
            return False
        try:
            inputs = files.read_json(path, dict[str, InputFile | None])
        except InputError:
            return False
        return {_name(path, self.folder) for path in self.files} == inputs.keys() and are_unchanged(inputs, self.folder)

    def read(self) -> dict[str, InputFile | None]:
        """What the files are now; raises OSError if one cannot be read."""
        return read_inputs(self.folder, self.files)


def write_inputs(dataset: Path, inputs: Inputs) -> None:
    """Put on record what the scenes of a data set choose from; raises OSError if that cannot be written."""
    files.write_json(dataset / INPUTS, msgspec.to_builtins(inputs))


def _name(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _read(path: Path) -> InputFile | None:
    if not path.is_file():
        return None
    status = path.stat()
    return InputFile(status.st_size, status.st_mtime_ns, files.sha256(path))


def _is_unchanged(path: Path, file: InputFile | None) -> bool:
    if file is None or not path.is_file():
        return file is None and not path.is_file()
    status = path.stat()
    if status.st_size != file.size:
        return False
    return status.st_mtime_ns == file.modified_ns or files.sha256(path) == file.sha256
