"""What mining takes of updates that are no LoRAs: their best approximations of low rank, in the one form that it reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from subspace import LowRank, canonicalize
from subspace.errors import InputError


def kept(updates: Mapping[str, LowRank], rank: int) -> tuple[dict[str, LowRank], float]:
    """The best approximation of rank ``rank`` of every update (all of it, where a matrix has no more), and how good they are.

    Args:
        updates: of one adapter, of any rank, NumPy's.
        rank: singular values that stay.

    Returns:
        Canonical factors, float32, with columns in the order of the singular values; and the share, 0 to 1, of the energy
        ‖dW‖² of all matrices together that stayed.

    Raises InputError if all updates are zero.
    """
    found, inside, energy = {}, 0.0, 0.0
    for path, update in updates.items():
        whole = canonicalize(update.to_numpy(np.float64))
        squared = (whole.A**2).sum(axis=-2) * (whole.B**2).sum(axis=-2)
        inside, energy = inside + squared[..., :rank].sum(), energy + squared.sum()
        found[path] = leading(whole, rank).to_numpy(np.float32)
    if not energy:
        raise InputError("the updates are all zero: no step of the training had a gradient that is finite and not zero")
    return found, float(inside / energy)


def leading(update: LowRank, rank: int) -> LowRank:
    """The first ``rank`` columns of both factors, or all."""
    return LowRank(update.A[..., :rank], update.B[..., :rank])
