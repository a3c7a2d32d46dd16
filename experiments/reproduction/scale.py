"""How the paper's sizes become a preset's."""

from __future__ import annotations

from experiments.presets import Scale
from vggt_jax.parameters import Method

_PLAIN_RANK = 16
"""The paper's, of the plain LoRA beside M."""


def scaled(scale: Scale, number: int) -> int:
    """A rank or dimension of the paper at this scale, at least 1."""
    return max(1, number // scale.divisor)


def sizes(scale: Scale, method: Method | None, size: int) -> dict[str, int]:
    """``rank`` and ``dim`` at this scale, of those that a method has, where the paper's size is ``size``."""
    if method in ("lora", "pissa", "adalora"):
        return {"rank": scaled(scale, size)}
    if method in ("subspace", "psv"):
        return {"dim": scaled(scale, size), "rank": scaled(scale, _PLAIN_RANK)}
    return {}
