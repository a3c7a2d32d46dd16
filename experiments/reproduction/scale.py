"""How the paper's sizes become a preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.presets import PresetName
from experiments.reproduction.rows import Row
from vggt_jax.parameters import Method

_PLAIN_RANK = 16
"""The paper's, of the plain LoRA beside M."""


@dataclass(frozen=True)
class Scale:
    """What ``experiments.reproduce`` runs for a preset."""

    divisor: int
    """Of all ranks and dimensions: the widths' ratio, so that shares of parameters are the paper's."""
    mined_rank: int
    """The paper's r (16 or 64) that the main tables' subspaces are mined from …"""
    mined_dim: int
    """… and d', the largest d of a table."""
    rates: tuple[float, ...]
    """Peak learning rates, rising, among which each method's is chosen (:mod:`experiments.reproduction.search`)."""
    held_out: int
    """Scenes that validate: the last of the training data."""
    minutes: float
    """Of one fine-tuning and its evaluation …"""
    extraction_minutes: float
    """… and of the extraction of one attribute's subspace."""
    machine: str
    """That takes so long."""

    def size(self, number: int) -> int:
        """A rank or dimension at this scale, at least 1."""
        return max(1, number // self.divisor)

    def sizes(self, method: Method | None, size: int) -> dict[str, int]:
        """``rank`` and ``dim`` of a row of that size in the paper, of those that the method has."""
        if method in ("lora", "pissa", "adalora"):
            return {"rank": self.size(size)}
        if method in ("subspace", "psv"):
            return {"dim": self.size(size), "rank": self.size(_PLAIN_RANK)}
        return {}

    def label(self, row: Row) -> str:
        """The row's label with this scale's sizes."""
        if row.method is None or self.divisor == 1:
            return row.label
        name = row.label.partition(" (")[0]
        symbol = {"subspace": "d", "psv": "D", "full": ""}.get(row.method, "rank")
        if row.label.startswith("r="):
            name = f"r={self.size(row.mined_rank or 0)}"
        return f"{name} ({symbol}={self.size(row.size)})" if symbol else name


SCALES: Mapping[PresetName, Scale] = {
    "nano": Scale(
        divisor=8,  # it is 128 wide, VGGT-1B 1024
        mined_rank=64,  # 8 here, the preset's
        mined_dim=64,
        rates=(4e-6, 2e-5, 1e-4, 5e-4, 2.5e-3, 1.25e-2, 6.25e-2),
        held_out=16,
        minutes=2,
        extraction_minutes=12,
        machine="two CPU cores",
    ),
    "vggt_1b": Scale(
        divisor=1,
        mined_rank=16,
        mined_dim=64,
        rates=(1e-5,),
        held_out=8,
        minutes=20 * 60,  # supplement 1
        extraction_minutes=200 * 60,
        machine="one H200",
    ),
}
