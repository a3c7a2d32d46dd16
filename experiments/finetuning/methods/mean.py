"""The control of the shared part: Ours, but M starts at the mean adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.finetuning.methods.subspace import Subspace

if TYPE_CHECKING:
    from experiments.mining.folder import MinedAttribute
    from subspace import Basis


@dataclass(frozen=True, kw_only=True)
class Mean(Subspace):
    """dW = Ā M B̄ᵀ as in Ours, with M = ĀᵀCB̄ at first, where C is the mean over attributes of what Eq. 3 gives for each.

    C is taken with the d' directions that were mined. A gain over Ours says that the mean adapter itself helps; the mean alone,
    without training, is what ``experiments.adapters merge`` writes.
    """

    name = "mean"
    label = "Ours from the mean adapter"
    summary = "M inside mined subspaces, from the mean adapter on"

    def start(self, mined: Mapping[str, MinedAttribute], bases: Mapping[str, Basis]) -> Mapping[str, np.ndarray] | None:
        return {
            path: np.mean([_inside(own, path, basis) for own in mined.values()], axis=0)
            for path, basis in bases.items()
        }


def _inside(own: MinedAttribute, path: str, basis: Basis) -> np.ndarray:
    """ĀᵀCB̄ of one attribute."""
    factors = own.factors[path]
    return (np.asarray(basis.A).swapaxes(-1, -2) @ factors.A) @ (factors.B.swapaxes(-1, -2) @ np.asarray(basis.B))
