"""Mined subspaces on disk: one safetensors file that any tool can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from experiments.storage.files import write_bytes
from subspace import LowRank, SharedSubspace
from subspace.errors import InputError

FORMAT = "attribute-subspaces: mined subspace, version 1"
SAVED = ("weights", "singular_values", "initial_singular_values", "residuals")
"""Fields of :class:`subspace.SharedSubspace` that are stored beside the factors, as ``<path>.<field>``."""


@dataclass(frozen=True)
class Origin:
    """What a subspace was mined from; the file's header as JSON."""

    attribute: str
    """Or "unknown" for adapters that were made elsewhere."""
    base: str
    """The base model's name and fingerprint."""
    dim: int
    alpha: float
    adapters: list[str] = field(default_factory=list)
    """The k adapters' names, in the order of the weights."""


@dataclass(frozen=True, eq=False)
class StoredSubspace:
    """What :func:`load_subspace` reads: NumPy arrays, layer axes leading."""

    origin: Origin
    factors: dict[str, LowRank]
    """Canonical A (*layers, n, dim) = U Σ^½, B (*layers, m, dim) = V Σ^½ of every matrix."""
    statistics: dict[str, dict[str, np.ndarray]]
    """path → field of :data:`SAVED` → array."""


def save_subspace(path: Path, subspaces: Mapping[str, SharedSubspace], origin: Origin) -> None:
    """Write ``<matrix>.A``, ``.B`` and the fields of :data:`SAVED`, float32; the file appears when it is complete."""
    tensors = {}
    for name, found in subspaces.items():
        tensors[f"{name}.A"], tensors[f"{name}.B"] = found.factors.A, found.factors.B
        tensors |= {f"{name}.{part}": getattr(found, part) for part in SAVED}
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
    write_bytes(path, save(arrays, {"format": FORMAT, "origin": json.dumps(asdict(origin))}))


def load_subspace(path: Path) -> StoredSubspace:
    """Read what :func:`save_subspace` wrote.

    Raises ValueError naming the file if it is damaged, of another kind, or lacks a tensor.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise InputError(f"{path} is no safetensors file, or a damaged one: {error}") from None
    if header.get("format") != FORMAT:
        raise InputError(f"{path} holds no mined subspace (experiments.extract writes them as subspace.safetensors)")
    names = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
    expected = {f"{name}.{part}" for name in names for part in ("A", "B", *SAVED)}
    if expected != set(tensors):
        raise InputError(f"{path} is incomplete: {sorted(expected ^ set(tensors))[0]}")
    return StoredSubspace(
        origin=Origin(**json.loads(header["origin"])),
        factors={name: LowRank(tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in names},
        statistics={name: {part: tensors[f"{name}.{part}"] for part in SAVED} for name in names},
    )
