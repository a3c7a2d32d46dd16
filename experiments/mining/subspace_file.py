"""A mined subspace on disk: one safetensors file that any tool can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from experiments.mining.origin import Origin
from experiments.storage.files import reading, write_bytes
from subspace import LowRank, SharedSubspace
from subspace.errors import InputError

FORMAT = "attribute-subspaces: mined subspace, version 2"
_EARLIER = "attribute-subspaces: mined subspace, version 1"
SAVED = ("weights", "singular_values", "initial_singular_values", "residuals")
"""Fields of :class:`subspace.SharedSubspace` that are stored beside the factors, as ``<path>.<field>``."""


@dataclass(frozen=True, eq=False)
class StoredSubspace:
    """What :func:`load_subspace` reads: NumPy arrays, layer axes leading."""

    origin: Origin
    """What it was mined from."""
    factors: dict[str, LowRank]
    """Canonical A (*layers, n, dim) = U Σ^½, B (*layers, m, dim) = V Σ^½ of every matrix."""
    statistics: dict[str, dict[str, np.ndarray]]
    """path → field of :data:`SAVED` → array."""


def save_subspace(path: Path, subspaces: Mapping[str, SharedSubspace], origin: Origin) -> None:
    """Write ``<path>.A``, ``<path>.B`` and the fields of :data:`SAVED` as float32, with ``origin`` as JSON in the header.

    The file appears when it is complete. The same subspaces give the same bytes.
    """
    tensors = {}
    for name, found in subspaces.items():
        tensors[f"{name}.A"], tensors[f"{name}.B"] = found.factors.A, found.factors.B
        tensors |= {f"{name}.{part}": getattr(found, part) for part in SAVED}
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"{path.name}: {name} would hold NaN or infinity: the adapters have numbers that are too large"
            )
    write_bytes(path, _ordered(save(arrays, {"format": FORMAT, "origin": json.dumps(asdict(origin))})))


def _ordered(content: bytes) -> bytes:
    """A safetensors file whose metadata is in the order of its names; the library shuffles them anew each time."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps({**header, "__metadata__": dict(sorted(header["__metadata__"].items()))}, separators=(",", ":"))
    text += " " * (-len(text) % 8)  # what follows is aligned
    return len(text).to_bytes(8, "little") + text.encode() + content[8 + size :]


def load_subspace(path: Path) -> StoredSubspace:
    """Read what :func:`save_subspace` wrote.

    Raises InputError naming the file if it is damaged, of another kind, of an earlier version, or lacks a tensor.
    """
    with path.open("rb"):  # safetensors names no file
        pass
    with reading(path, "is no safetensors file, or a damaged one"), safe_open(path, framework="numpy") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if header.get("format") == _EARLIER:
        raise InputError(
            f"{path} is of an earlier version, which did not record how its adapters were trained: extract it again"
        )
    if header.get("format") != FORMAT:
        raise InputError(f"{path} holds no mined subspace (experiments.extract writes them as subspace.safetensors)")
    names = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
    expected = {f"{name}.{part}" for name in names for part in ("A", "B", *SAVED)}
    if expected != set(tensors):
        raise InputError(f"{path} is incomplete: {sorted(expected ^ set(tensors))[0]}")
    return StoredSubspace(
        origin=_read_origin(path, header),
        factors={name: LowRank(tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in names},
        statistics={name: {part: tensors[f"{name}.{part}"] for part in SAVED} for name in names},
    )


def _read_origin(path: Path, header: Mapping[str, str]) -> Origin:
    try:
        return msgspec.json.decode(header.get("origin", ""), type=Origin)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} does not say what it was mined from: {error}") from None
