"""What a folder of a mined collection keeps of its LoRAs, so that ``adapters add`` needs none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from experiments.mining.subspace_file import in_order
from experiments.storage.files import reading, write_bytes
from subspace.errors import InputError
from subspace.sketch import Sketch
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.safetensors_file import SafetensorsFile

SKETCH = "sketch.safetensors"
FORMAT = "attribute-subspaces: sketch of LoRAs, version 1"
_NUMBERS = {"directions": int, "tail": float, "spread": float, "near": float}
_PRECISE = ("energy", "weights", *_NUMBERS)
"""Few numbers, from which others are subtracted."""


@dataclass(frozen=True, eq=False)
class Sketches:
    """The sketches of all matrices."""

    owners: Mapping[str, tuple[str, ...]]
    """Matrix → names of its LoRAs."""
    matrices: Mapping[str, Sketch]
    """Matrix → what is kept."""


def save_sketches(path: Path, sketches: Sketches) -> None:
    """Write a safetensors file; raises OSError if it cannot be written."""
    tensors = {}
    for name, sketch in sketches.matrices.items():
        for field in fields(Sketch):
            precision = np.float64 if field.name in _PRECISE else np.float32
            tensors[f"{name}.{field.name}"] = np.ascontiguousarray(getattr(sketch, field.name), precision)
    owners = json.dumps({name: list(own) for name, own in sketches.owners.items()})
    write_bytes(path, in_order(save(tensors, {"format": FORMAT, "owners": owners})))


def load_sketches(folder: Path) -> Sketches:
    """Read what :func:`save_sketches` wrote into a mined folder.

    Raises InputError for a folder without it, or a damaged file; OSError if it cannot be read.
    """
    path = folder / SKETCH
    if not path.is_file():
        raise InputError(
            f"{folder} has no {SKETCH}, which keeps of its LoRAs what adding one needs: mine them again with `adapters mine`",
            argument="to",
        )
    file = SafetensorsFile(path)
    file.check_unique()
    if file.metadata.get("format") != FORMAT:
        raise InputError(f"{path} holds no sketch of LoRAs")
    with reading(path, "is no sketch of LoRAs, or a damaged one"):
        owners = typed.convert(parse_json(file.metadata["owners"]), dict[str, tuple[str, ...]])
        found = {}
        for name in owners:
            values: dict[str, Any] = {field.name: file.read_finite(f"{name}.{field.name}") for field in fields(Sketch)}
            found[name] = Sketch(**values | {key: kind(values[key].item()) for key, kind in _NUMBERS.items()})
    return Sketches(owners, found)
