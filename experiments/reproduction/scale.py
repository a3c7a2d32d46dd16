"""How the paper's sizes become a preset's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.extraction.presets import PresetName
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
    """Peak learning rates among which each method's is chosen on validation scenes; one: no search."""
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
    # nano is 128 wide, VGGT-1B 1024. Its adapters of rank 8 (the preset's) are the paper's of rank 64.
    "nano": Scale(8, 64, 64, (1e-4, 5e-4, 2.5e-3), 2, 12, "two CPU cores"),
    # 20 hours a run, as supplement 1 says.
    "vggt_1b": Scale(1, 16, 64, (1e-5,), 20 * 60, 200 * 60, "one H200"),
}
