"""A LoRA of any model, in whichever layout it is kept: what it adapts, and one update at a time.

PEFT's folders, single files as diffusers and kohya's scripts write them, and this project's own adapters are read by
:mod:`weights_convert.lora_layouts`; :mod:`weights_convert.lora_places` finds where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.reading.safetensors_file import Shape
from weights_convert.sources import Tensors

Layout = Literal["peft", "diffusers", "kohya", "project"]
Kind = Literal["matrix", "embedding", "expert"]
LARGEST = 1e18
"""Numbers beyond have squares that float32 cannot hold together; no weight is so large."""


@dataclass(frozen=True)
class LoraModule:
    """One adapted matrix: dW = scale · up · down."""

    weight: Shape
    """The shape of the base's weight in PyTorch's order, outputs first; of an embedding (entries, width)."""
    rank: int
    scale: float
    """The factor before the product, as the layout's settings give it."""
    up: str
    """Name of the tensor with a row for each output."""
    down: str
    """Name of the tensor with a column for each input."""
    factors: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    """(up, down) as stored → A (outputs, rank) without the scale, and B (inputs, rank)."""
    kind: Kind = "matrix"
    """What the weight is in its model."""

    @classmethod
    def made(cls, weight: Shape, rank: int) -> LoraModule:
        """A matrix that is in no file yet, with the scale 1."""
        return cls(weight, rank, 1.0, "", "", lambda up, down: (up, down))

    @property
    def plain(self) -> LoraModule:
        """The same matrix with the scale 1, as updates have it that were made here."""
        return replace(self, scale=1.0)

    @property
    def size(self) -> tuple[int, int]:
        """Outputs and inputs; a filter counts as one row of inputs."""
        return self.weight[0], prod(self.weight[1:])


@dataclass(frozen=True)
class LoraFile:
    """One LoRA, opened: nothing but headers has been read."""

    path: Path
    """The file or folder."""
    layout: Layout
    """How it is kept."""
    base: str | None
    """Name of the base model, as the layout records it."""
    modules: Mapping[str, LoraModule]
    """Name of the adapted matrix in its model (in kohya's files: in kohya's spelling) → where its factors are."""
    left_out: tuple[str, ...]
    """Tensors that are no part of a LoRA: whole modules that were saved beside it, biases, …"""
    remarks: tuple[str, ...]
    """What the user should know of how it was read."""
    files: tuple[Path, ...]
    """What was read of it, for hashes."""
    tensors: Tensors
    """The stored tensors."""

    @property
    def dtype(self) -> str:
        """The types of its factors, as safetensors calls them."""
        found = {self.tensors.types[name] for each in self.modules.values() for name in (each.up, each.down)}
        return "/".join(sorted(found))

    def read(self, name: str) -> LowRank:
        """The update of one matrix, scale included, as NumPy's float32 arrays (float64 of a file in float64).

        Raises InputError that names the file and the module, for NaN, infinity and numbers beyond :data:`LARGEST`.
        """
        module = self.modules[name]
        stored = [self.tensors.read(tensor) for tensor in (module.up, module.down)]
        precise = np.float64 if any(x.dtype == np.float64 for x in stored) else np.float32
        A, B = module.factors(*(x.astype(precise) for x in stored))
        update = LowRank(np.ascontiguousarray(A * precise(module.scale)), np.ascontiguousarray(B))
        for factor in (update.A, update.B):
            if not np.isfinite(factor).all():
                raise InputError(f"{self.path}: {name} has NaN or infinity")
            if factor.size and np.abs(factor).max() > LARGEST:
                raise InputError(f"{self.path}: {name} has numbers beyond {LARGEST:g}, training has diverged")
        return update
