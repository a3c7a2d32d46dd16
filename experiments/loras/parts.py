"""The part of a LoRA in a mined subspace, and what is left of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from experiments.loras.merging import reduced
from experiments.mining.folder import MinedAttribute
from subspace import Basis, LowRank, frobenius_norm
from subspace.errors import InputError
from weights_convert.lora_file import LoraFile

Part = Literal["project", "residual", "remove"]
"""ŪŪᵀ dW V̄V̄ᵀ; dW without it; dW without anything of either side, (I − ŪŪᵀ) dW (I − V̄V̄ᵀ)."""
PARTS: tuple[Part, ...] = ("project", "residual", "remove")


def part_of(lora: LoraFile, subspace: MinedAttribute, part: Part) -> tuple[dict[str, LowRank], float]:
    """The updates of one part, and its share of the LoRA's energy.

    Raises InputError for matrices that the subspace lacks or has in another size.
    """
    found, inside, whole = {}, 0.0, 0.0
    for path, module in lora.modules.items():
        if path not in subspace.factors:
            raise InputError(f"{subspace.folder} has no subspace for {path} of {lora.path}")
        factors = subspace.factors[path].to_numpy(np.float64)
        if factors.shape != module.size:
            raise InputError(f"{lora.path}: {path} is {module.size}, in {subspace.folder} it is {factors.shape}")
        update = lora.read(path).to_numpy(np.float64)
        own = split(update, Basis.of_canonical(factors, np.float32))[part]
        rank = min(own.rank, *module.size)
        found[path], energy, _ = reduced(own, rank if part == "residual" else min(update.rank, rank))
        inside += energy
        whole += float(frobenius_norm(update)) ** 2
    return found, inside / whole if whole > 0 else 0.0


def split(update: LowRank, basis: Basis) -> Mapping[Part, LowRank]:
    """All parts of one update."""
    coordinates = basis.A.T @ update.A, basis.B.T @ update.B
    within = LowRank(basis.A @ coordinates[0], basis.B @ coordinates[1])
    without = LowRank(update.A - within.A, update.B - within.B)
    return {"project": within, "residual": update - within, "remove": without}
