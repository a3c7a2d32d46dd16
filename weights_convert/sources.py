"""Where weights come from: files, folders and the Hugging Face Hub, as tensors that are read one at a time."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import vggt_jax
from subspace.errors import InputError
from weights_convert.safetensors_file import TYPES, SafetensorsFile, Shape

HUB = "hf:"
SHIPPED = Path(vggt_jax.__file__).parent / "weights"
"""A folder for each model that comes with this package; its name is the folder's."""
CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_IN_FOLDERS = ("model.safetensors", INDEX, "weights.safetensors", "model.pt")
"""What a folder's weights may be called, the first one found is taken."""
_TORCH_SUFFIXES = (".pt", ".pth")


class Tensors(Protocol):
    """Named tensors that are read on demand."""

    shapes: dict[str, Shape]
    types: dict[str, str]
    """By the names of :data:`weights_convert.safetensors_file.TYPES`; others cannot be read."""
    problems: list[str]
    """Contradictions found on opening, such as a tensor that two files hold ("kind: which")."""
    metadata: dict[str, str]

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        """One tensor in its stored type, or the slice ``row`` of its leading axis."""
        ...


@dataclass(frozen=True)
class Source:
    """Opened weights: the file they are in (of several, the index), their tensors, and what a config.json says."""

    path: Path
    tensors: Tensors
    config: Mapping[str, Any] | None


def open_source(source: str | Path) -> Source:
    """Opens the weights at ``source`` without reading them.

    Args:
        source: a safetensors file, an index of several (``model.safetensors.index.json``), a PyTorch file (.pt or .pth),
            a folder with one of these, ``nano`` for the model that is shipped, or ``hf:owner/name`` or
            ``hf:owner/name@revision``, which is downloaded into Hugging Face's cache. A ``config.json`` beside the weights
            is read with them. A file or folder of one's own called ``nano`` is ``./nano``.

    Raises:
        InputError: files that are cut off, corrupt or of another kind, and PyTorch files where PyTorch is missing.
        OSError: files that are missing or cannot be read or fetched.
    """
    path = _located(str(source))
    if path.is_dir():
        folder = path
        path = next((folder / name for name in _IN_FOLDERS if (folder / name).is_file()), folder)
        if path == folder:
            holds_none = f"holds none of {', '.join(_IN_FOLDERS)}; name the file itself"
            raise FileNotFoundError(errno.ENOENT, holds_none, str(folder))
    elif not path.exists():
        raise FileNotFoundError(errno.ENOENT, "no such file or folder", str(path))
    config = None
    if (path.parent / CONFIG).is_file():
        config = _json(path.parent / CONFIG)
    return Source(path, _open_tensors(path), config)


def _located(source: str) -> Path:
    if source.startswith(HUB):
        return _fetch(source.removeprefix(HUB))
    return SHIPPED / source if source in shipped_models() else Path(source)


def shipped_models() -> list[str]:
    """The names of the models that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def _open_tensors(path: Path) -> Tensors:
    if path.name.endswith(".safetensors.index.json"):
        return _Shards.from_index(path)
    if path.suffix in _TORCH_SUFFIXES:
        return _TorchFile(path)
    if path.suffix == ".safetensors":
        return _Shards([SafetensorsFile(path)])
    raise InputError(
        f"{path}: the name must end in .safetensors, .safetensors.index.json, {', '.join(_TORCH_SUFFIXES)}"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: needs a JSON object, holds a {type(content).__name__}")
    return content


def _fetch(repository: str) -> Path:
    """The folder in Hugging Face's cache with the weights of ``owner/name`` or ``owner/name@revision``."""
    import huggingface_hub

    name, _, revision = repository.partition("@")
    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=["*.safetensors", "*.safetensors.index.json", CONFIG]
        )
    except Exception as error:  # the errors of the hub and of the network below it have no common base
        first = str(error).strip().partition("\n")[0]
        reason = f"cannot be fetched ({type(error).__name__}: {first})"
        raise OSError(errno.EIO, reason, f"{HUB}{repository}") from error
    return Path(folder)


class _Shards:
    """The tensors of one safetensors file, or of several that share a model."""

    def __init__(self, files: list[SafetensorsFile]):
        self._holders: dict[str, SafetensorsFile] = {}
        self.problems = []
        self.metadata = files[0].metadata if len(files) == 1 else {}
        for file in files:
            self.problems += [f"given twice: {name} by {file.path.name}" for name in file.repeated]
            for name in file.tensors:
                if name in self._holders:
                    both = f"{self._holders[name].path.name} and {file.path.name}"
                    self.problems.append(f"given twice: {name} by {both}")
                self._holders[name] = file
        self.shapes = {name: file.tensors[name].shape for name, file in self._holders.items()}
        self.types = {name: file.tensors[name].type for name, file in self._holders.items()}

    @classmethod
    def from_index(cls, index: Path) -> _Shards:
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
            raise InputError(f"{index}: has no weight_map from tensors to files")
        names = sorted(set(places.values()))
        if strange := [name for name in names if Path(name).name != name]:
            raise InputError(f"{index}: names files outside of its folder: {', '.join(strange)}")
        if missing := [name for name in names if not (index.parent / name).is_file()]:
            without = f"{', '.join(missing)} missing; {index.name} names them"
            raise FileNotFoundError(errno.ENOENT, without, str(index.parent))
        shards = cls([SafetensorsFile(index.parent / name) for name in names])
        shards.problems += [
            f"not in its file: {name} in {file}, where {index.name} has it"
            for name, file in places.items()
            if name in shards._holders and shards._holders[name].path.name != file
        ]
        return shards

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        return self._holders[name].read(name, row)


class _TorchFile:
    """The tensors of a PyTorch checkpoint, mapped into memory: a tensor's pages are read when it is."""

    def __init__(self, path: Path):
        try:
            import torch
        except ModuleNotFoundError:
            raise InputError(
                f"{path}: reading PyTorch files needs PyTorch, which is not installed: "
                'pip install "attribute-subspaces[torch]", or use the safetensors file'
            ) from None
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: not a PyTorch file of version 1.6 or later, or cut off")
        try:
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # PyTorch raises its own, pickle's and zip's errors here
            first = str(error).strip().partition("\n")[0]
            raise InputError(f"{path}: PyTorch cannot read it ({first})") from error
        # Training scripts put the weights beside the optimizer's state.
        for key in ("model", "state_dict"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
        if not isinstance(content, Mapping) or not all(isinstance(x, torch.Tensor) for x in content.values()):
            held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
            raise InputError(f"{path}: holds no dictionary of tensors but {held}")
        self._tensors = dict(content)
        self._bfloat16, self._as_int16 = torch.bfloat16, torch.int16
        names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}
        self.types = {name: names.get(tensor.dtype, str(tensor.dtype)) for name, tensor in self._tensors.items()}
        self.problems: list[str] = []
        self.metadata: dict[str, str] = {}

    def read(self, name: str, row: int | None = None) -> np.ndarray:
        # Copied, since JAX may keep the array itself, which would then lie in the file.
        tensor = (self._tensors[name] if row is None else self._tensors[name][row]).detach().contiguous().clone()
        if tensor.dtype == self._bfloat16:  # which NumPy does not know
            return tensor.view(self._as_int16).numpy().view(TYPES["BF16"])
        return tensor.numpy()
