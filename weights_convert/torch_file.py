"""Check points of PyTorch, as training scripts leave them; nothing in a pickle is ever executed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from subspace.errors import InputError
from vggt_jax.reading.regular import check_regular
from vggt_jax.reading.safetensors_file import TYPES

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")

_FIRST = ("model_state_dict", "state_dict", "model", "module", "network", "net", "weights", "params")
"""Keys under which the weights lie, the likeliest first; others follow, and those of averaged weights come last."""
_AVERAGED = re.compile(r"ema|average|teacher|swa", re.IGNORECASE)
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|grad|rng|loss|callback", re.IGNORECASE)
_DEEPEST = 4
_LEGACY = (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46", b"\x80\x02")
"""How files of PyTorch before version 1.6 begin, and pickles."""


class TorchFile:
    """The tensors of a PyTorch check point, mapped into memory: a tensor's pages are read when it is.

    Raises InputError for a file that is cut off or of another kind, that holds objects besides tensors and plain values, or
    where PyTorch is missing.
    """

    def __init__(self, path: Path):
        try:
            import torch
        except ModuleNotFoundError:
            raise InputError(
                f"{path}: reading PyTorch files needs PyTorch, which is not installed: "
                'pip install "attribute-subspaces[torch]", or use the safetensors file'
            ) from None
        _check_form(path)
        try:
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # PyTorch raises its own, pickle's and zip's errors here
            raise InputError(f"{path}: {_reason(str(error))}") from error
        found = sorted(_dictionaries(content, torch.Tensor), key=_order)
        if not found:
            held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
            raise InputError(f"{path}: holds no dictionary of tensors but {held}")
        keys, self._tensors = found[0]
        self.remarks: list[str] = []
        if len(found) > 1:
            others = ", ".join(_quoted(keys) for keys, _ in found[1:])
            self.remarks.append(f"the weights are those under {_quoted(keys)}, not those under {others}")
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


def _check_form(path: Path) -> None:
    """Raises InputError unless the file is the zip archive that PyTorch writes."""
    check_regular(path)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            beginning = file.read(64)
        why = "not a PyTorch file"
        if beginning.startswith(b"version https://git-lfs"):
            why = "a Git LFS pointer: fetch the file itself"
        elif beginning.startswith(b"PK"):
            why = "cut off: the end of the archive is missing"
        elif beginning.startswith(_LEGACY):
            why = (
                "a pickle, as PyTorch wrote before version 1.6: load it there and save it again, "
                "torch.save(torch.load(file, weights_only=True), new_file)"
            )
        raise InputError(f"{path}: {why}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile raises its own, struct's and Python's
        raise InputError(f"{path}: {_reason(str(error))}") from None
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
        raise InputError(
            f"{path}: packed again by another program, PyTorch does not compress; unpack it and save it there"
        )
    if len({entry.filename for entry in entries}) != len(entries):
        raise InputError(f"{path}: damaged, it holds a part twice")
    members = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in members:
        raise InputError(
            f"{path}: a TorchScript archive, which holds a program: load it with torch.jit.load and save its state_dict()"
        )
    if "data.pkl" not in members:
        raise InputError(f"{path}: a zip archive, but not of PyTorch")


def _reason(message: str) -> str:
    """What PyTorch's refusal means, without its advice to load the file in unsafe ways."""
    unsafe = re.search(r"GLOBAL ([\w.]+)", message)
    if unsafe is not None or "Weights only load failed" in message:
        what = f" ({unsafe[1]})" if unsafe is not None else ""
        return (
            f"holds Python objects besides tensors{what}, which only running code of the file could restore; save the weights "
            "alone, torch.save(model.state_dict(), file), where it was trained"
        )
    return f"damaged or cut off ({' '.join(message.strip().partition(chr(10))[0].split())})"


def _dictionaries(
    content: object, kind: type[Any], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Dictionaries of named tensors, each with the keys that lead to it; plain values beside the tensors do not count."""
    if not isinstance(content, Mapping) or len(keys) > _DEEPEST:
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, kind)}
    if tensors and (len(tensors) == len(content) or len(tensors) > 10):
        yield keys, tensors
        return
    for key, value in content.items():
        if isinstance(key, str) and not _NO_WEIGHTS.search(key):
            yield from _dictionaries(value, kind, (*keys, key))


def _order(found: tuple[tuple[str, ...], dict[str, Any]]) -> tuple[Any, ...]:
    """The trained weights of the whole model come first."""
    keys, tensors = found
    ranks = [_FIRST.index(key) if key in _FIRST else len(_FIRST) for key in keys]
    return any(_AVERAGED.search(key) for key in keys), ranks, -len(tensors)


def _quoted(keys: tuple[str, ...]) -> str:
    return ".".join(keys)
