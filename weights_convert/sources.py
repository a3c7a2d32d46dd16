"""Where weights come from: files, folders and the Hugging Face Hub, as tensors that are read one at a time."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import vggt_jax
from subspace.errors import InputError
from vggt_jax.missing import nearest, nearest_path
from vggt_jax.reading.json_text import read_json
from vggt_jax.reading.safetensors_file import SafetensorsFile, Shape
from weights_convert.torch_file import SUFFIXES, TorchFile
from weights_convert.trained_names import Renaming, plain_names

HUB = "hf:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
SHIPPED = Path(vggt_jax.__file__).parent / "weights"
"""A folder for each model that comes with this package; its name is the folder's."""
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_IN_FOLDERS = ("model.safetensors", INDEX, "weights.safetensors", "model.pt")
"""What a folder's weights may be called, the first one found is taken."""
_NO_MODEL = frozenset(
    {"matcher.safetensors", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "training_args.bin"}
)
"""Files beside weights that hold none of a model."""
_INDEX = (".safetensors.index.json", ".bin.index.json")
"""How lists of the files of a model that is split end."""
_WEIGHTS = (".safetensors", *SUFFIXES)
_SUFFIXES_BY_PREFERENCE = ((".safetensors", ".safetensors.index.json"), SUFFIXES)


class Tensors(Protocol):
    """Named tensors that are read on demand."""

    shapes: dict[str, Shape]
    types: dict[str, str]
    """By the names of :data:`vggt_jax.reading.safetensors_file.TYPES`; others cannot be read."""
    problems: list[str]
    """Contradictions found on opening, such as a tensor that two files hold ("kind: which")."""
    metadata: dict[str, str]
    remarks: list[str]
    """What the user should know of how they were found."""

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        """One tensor in its stored type, or the slice ``row`` of its leading axis."""
        ...


@dataclass(frozen=True)
class Source:
    """Opened weights: the file they are in (of several, the index), their tensors, and what a config.json says."""

    path: Path
    tensors: Tensors
    config: Mapping[str, Any] | None


def open_source(source: str | PathLike[str]) -> Source:
    """Opens the weights at ``source`` without reading them.

    Args:
        source: a safetensors file, an index of several (``model.safetensors.index.json``), a PyTorch file (.pt, .pth, .ckpt or
            .bin), a folder with one of these, ``nano`` or ``nano_2`` for a model that is shipped, or ``hf:owner/name`` or
            ``hf:owner/name@revision``, which is downloaded into Hugging Face's cache. A ``config.json`` beside the weights
            is read with them. Words that a training script put before all names are left out. A file or folder of one's
            own called ``nano`` is ``./nano``.

    Raises:
        InputError: files that are cut off, corrupt or of another kind, and PyTorch files where PyTorch is missing.
        OSError: files that are missing or cannot be read or fetched.
    """
    path = _located(fspath(source))
    if path.is_dir():
        path = _in_folder(path)
    elif not path.exists():
        meant = nearest_path(path) or nearest(str(path), shipped_models())
        raise FileNotFoundError(errno.ENOENT, f"no such file or folder{meant}", str(path))
    config = None
    if (path.parent / CONFIG).is_file():
        config = _json(path.parent / CONFIG)
    tensors = open_tensors(path)
    renaming = plain_names(tensors.shapes)
    return Source(path, tensors if renaming is None else _Renamed(tensors, renaming), config)


def _in_folder(folder: Path) -> Path:
    """The file with the weights of a folder: the first of the usual names, or the only one there is."""
    usual = next((folder / name for name in _IN_FOLDERS if (folder / name).is_file()), None)
    if usual is not None:
        return usual
    others = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.name not in _NO_MODEL)
    if len(others) == 1:
        return others[0]
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder}: no VGGT: a LoRA as PEFT writes it, which is not the model itself but read as an adapter"
        )
    reason = f"holds none of {', '.join(_IN_FOLDERS)}"
    if others:
        reason += f", and several others: {', '.join(path.name for path in others[:5])}"
    raise FileNotFoundError(errno.ENOENT, f"{reason}; name the file itself", str(folder))


def _located(source: str) -> Path:
    if source.startswith(HUB):
        return fetch(source.removeprefix(HUB), _SUFFIXES_BY_PREFERENCE, CONFIG)
    return SHIPPED / source if source in shipped_models() else Path(source)


def shipped_models() -> list[str]:
    """The names of the models that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def open_tensors(path: Path) -> Tensors:
    """The tensors of a file, or of the files that an index names; raises as :func:`open_source`."""
    if path.name.endswith(_INDEX):
        return _Shards.from_index(path)
    if path.suffix in SUFFIXES:
        return TorchFile(path)
    if path.suffix == ".safetensors":
        return _OfSafetensors(SafetensorsFile(path))
    raise InputError(
        f"{path}: no file of weights; their names end in .safetensors, {', '.join(_INDEX)}, {', '.join(SUFFIXES)}"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: needs a JSON object, holds a {type(content).__name__}")
    return content


def fetch(repository: str, suffixes_by_preference: Sequence[Sequence[str]], beside: str) -> Path:
    """The folder in Hugging Face's cache with the weights of ``owner/name`` or ``owner/name@revision``.

    Args:
        repository: its name.
        suffixes_by_preference: files with the first suffixes are fetched, those with the next only where there is none.
        beside: name of the file that is fetched with them.

    Raises OSError where nothing can be fetched.
    """
    import huggingface_hub

    name, _, revision = repository.partition("@")
    if not _REPOSITORY.fullmatch(name):
        raise InputError(f"{HUB}{repository}: repositories are called {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    for suffixes in suffixes_by_preference:
        patterns = [*(f"*{suffix}" for suffix in suffixes), beside]
        try:
            folder = huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=patterns)
        except Exception as error:  # the errors of the hub and of the network below it have no common base
            raise OSError(errno.EHOSTUNREACH, _not_fetched(error, revision), f"{HUB}{repository}") from error
        if any(file for suffix in suffixes for file in Path(folder).rglob(f"*{suffix}")):
            return Path(folder)
    without = f"holds no file that ends in .safetensors, {', '.join(suffixes_by_preference[-1])}"
    raise FileNotFoundError(errno.ENOENT, without, f"{HUB}{repository}")


def _not_fetched(error: Exception, revision: str) -> str:
    """Why a repository cannot be fetched."""
    first = str(error).strip().partition("\n")[0]
    match type(error).__name__:
        case "GatedRepoError":
            return "its owner wants you to accept terms first: do that on its page, and log in with hf auth login"
        case "RepositoryNotFoundError":
            return "there is no such repository, or it is private: log in with hf auth login"
        case "RevisionNotFoundError":
            return f"it has no revision {revision}"
        case "LocalEntryNotFoundError" | "OfflineModeIsEnabled" | "ConnectError" | "ConnectionError" | "ConnectTimeout":
            return f"it was not fetched before, and the hub cannot be reached: is there a network? ({first})"
    return f"cannot be fetched ({type(error).__name__}: {first})"


class _Renamed:
    """Tensors under other names."""

    def __init__(self, tensors: Tensors, renaming: Renaming):
        self._tensors, self._original = tensors, renaming.original
        self.shapes = {name: tensors.shapes[original] for name, original in renaming.original.items()}
        self.types = {name: tensors.types[original] for name, original in renaming.original.items()}
        self.problems, self.metadata = tensors.problems, tensors.metadata
        self.remarks = [*tensors.remarks, *renaming.remarks()]

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        return self._tensors.read(self._original[name], row)


class _Shards:
    """The tensors of one file, or of several that share a model."""

    def __init__(self, files: Mapping[str, Tensors]):
        self._holders: dict[str, tuple[str, Tensors]] = {}
        self.problems, self.remarks = [], []
        self.metadata: dict[str, str] = {}
        for file, tensors in files.items():
            self.problems += tensors.problems
            self.remarks += tensors.remarks
            for name in tensors.shapes:
                if name in self._holders:
                    self.problems.append(f"given twice: {name} by {self._holders[name][0]} and {file}")
                self._holders[name] = file, tensors
        self.shapes = {name: tensors.shapes[name] for name, (_, tensors) in self._holders.items()}
        self.types = {name: tensors.types[name] for name, (_, tensors) in self._holders.items()}

    @classmethod
    def from_index(cls, index: Path) -> _Shards:
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
            raise InputError(f"{index}: has no weight_map from tensors to files")
        names = sorted(set(places.values()))
        if strange := [name for name in names if Path(name).name != name or name.endswith(_INDEX)]:
            raise InputError(f"{index}: names files outside of its folder: {', '.join(strange)}")
        if missing := [name for name in names if not (index.parent / name).is_file()]:
            without = f"{', '.join(missing)} missing; {index.name} names them"
            raise FileNotFoundError(errno.ENOENT, without, str(index.parent))
        shards = cls({name: open_tensors(index.parent / name) for name in names})
        shards.problems += [
            f"not in its file: {name} in {file}, where {index.name} has it"
            for name, file in places.items()
            if name in shards._holders and shards._holders[name][0] != file
        ]
        return shards

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        return self._holders[name][1].read(name, row)


class _OfSafetensors:
    """The tensors of one safetensors file."""

    def __init__(self, file: SafetensorsFile):
        self.problems = [f"given twice: {name} by {file.path.name}" for name in file.repeated]
        self.metadata, self.remarks, self._file = file.metadata, [], file
        self.shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
        self.types = {name: tensor.type for name, tensor in file.tensors.items()}

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        return self._file.read(name, row)
