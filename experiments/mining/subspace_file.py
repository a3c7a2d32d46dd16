"""A mined subspace on disk: one safetensors file that any tool can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from experiments.mining.origin import NOT_RECORDED, Origin
from experiments.storage.arguments import StrPath, path_of
from experiments.storage.files import write_bytes
from subspace import LowRank, SharedSubspace
from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.safetensors_file import SafetensorsFile

FORMAT = "attribute-subspaces: mined subspace, version 2"
_EARLIER = "attribute-subspaces: mined subspace, version 1"
_NOT_RECORDED_EARLIER = "of imported adapters, not recorded"
"""What earlier versions called the base model where it was not known, besides :data:`NOT_RECORDED`."""
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
    write_bytes(path, in_order(save(arrays, {"format": FORMAT, "origin": json.dumps(asdict(origin))})))


def in_order(content: bytes) -> bytes:
    """A safetensors file whose metadata is in the order of its names; the library shuffles them anew each time."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps({**header, "__metadata__": dict(sorted(header["__metadata__"].items()))}, separators=(",", ":"))
    text += " " * (-len(text) % 8)  # what follows is aligned
    return len(text).to_bytes(8, "little") + text.encode() + content[8 + size :]


def load_subspace(path: StrPath) -> StoredSubspace:
    """Read what :func:`save_subspace` wrote.

    Raises InputError naming the file if it is damaged, of another kind, of an earlier version, or lacks a tensor.
    """
    path = path_of(path, "path")
    file = SafetensorsFile(path)
    file.check_unique()
    header, tensors = file.metadata, file.tensors
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
    origin = _read_origin(path, header)
    for name in names:
        shapes = {part: tensors[f"{name}.{part}"].shape for part in ("A", "B", *SAVED)}
        if not _fit(shapes, len(origin.adapters)):
            raise InputError(f"{path} is damaged: the tensors of {name} do not fit each other, {shapes}")
    return StoredSubspace(
        origin=origin,
        factors={name: LowRank(file.read_finite(f"{name}.A"), file.read_finite(f"{name}.B")) for name in names},
        statistics={name: {part: file.read_finite(f"{name}.{part}") for part in SAVED} for name in names},
    )


def _fit(shapes: Mapping[str, tuple[int, ...]], k: int) -> bool:
    """Whether the shapes of a matrix's tensors are those of one subspace of k adapters, or of those that have the matrix."""
    A, B, spectrum = shapes["A"], shapes["B"], shapes["singular_values"]
    if len(A) < 2 or len(B) != len(A) or not spectrum:
        return False
    layers = A[:-2]
    one_spectrum = spectrum == shapes["initial_singular_values"] and spectrum[:-1] == layers
    of_each = shapes["weights"]
    of_adapters = of_each == shapes["residuals"] and of_each in {(*layers, own) for own in range(1, k + 1)}
    return one_spectrum and of_adapters and B[:-2] == layers and A[-1] == B[-1] and min(A) > 0 and min(B) > 0


def _read_origin(path: Path, header: Mapping[str, str]) -> Origin:
    try:
        origin = typed.convert(parse_json(header.get("origin", "")), Origin)
    except ValueError as error:  # msgspec's are ValueErrors too
        raise InputError(f"{path} does not say what it was mined from: {error}") from None
    return replace(origin, base=NOT_RECORDED) if origin.base == _NOT_RECORDED_EARLIER else origin
