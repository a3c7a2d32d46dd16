"""What mining takes of updates that are no LoRAs: their best approximations of low rank, in the one form that it reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from subspace import LowRank
from subspace.errors import InputError
from subspace.svd import svd


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
    with threadpool_limits(1):  # matrices are small, and threads that wait for each other cost a hundred times as much
        for path, update in updates.items():
            U, sigma, Vt = svd(update.to_numpy(np.float64).to_dense())
            inside, energy = inside + (sigma[..., :rank] ** 2).sum(), energy + (sigma**2).sum()
            root = np.sqrt(sigma)[..., None, :]
            found[path] = leading(LowRank(U * root, Vt.swapaxes(-1, -2) * root), rank).to_numpy(np.float32)
    if not energy:
        raise InputError(
            "the updates are all zero: no step of the training had a gradient that is finite and not zero, or, of a mean "
            "gradient, one step had a gradient that is not finite"
        )
    return found, float(inside / energy)


def leading(update: LowRank, rank: int) -> LowRank:
    """The first ``rank`` columns of both factors, or all."""
    return LowRank(update.A[..., :rank], update.B[..., :rank])
