"""How the paper's sizes become a preset's."""

from __future__ import annotations

from experiments.finetuning.methods import METHODS
from experiments.presets import Scale

_PLAIN_RANK = 16
"""The paper's, of the plain LoRA beside M."""


def scaled(scale: Scale, number: int) -> int:
    """A rank or dimension of the paper at this scale, at least 1."""
    return max(1, number // scale.divisor)


def sizes(scale: Scale, method: str | None, size: int) -> dict[str, int]:
    """``rank`` and ``dim`` at this scale, of those that a method has, where the paper's size is ``size``."""
    if method is None:
        return {}
    kind = METHODS[method]
    found = {} if kind.size is None else {kind.size: scaled(scale, size)}
    return found | ({"rank": scaled(scale, _PLAIN_RANK)} if "plain" in kind.options else {})
