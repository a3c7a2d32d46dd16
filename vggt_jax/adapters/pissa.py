"""PiSSA: LoRA that starts from the principal part of the weights (Meng et al. 2024, Eq. 2-4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from subspace import LowRank
from subspace.errors import InputError
from subspace.pytrees import register_dataclass
from subspace.threads import one_blas_thread
from vggt_jax.adaptable import Matrix, weights_of


@register_dataclass
@dataclass(frozen=True, eq=False)
class PiSSA:
    """W + dW = (W - A₀ B₀ᵀ) + A Bᵀ with A and B trained from A₀ and B₀, the leading ``rank`` singular directions of W.

    The residual W - A₀ B₀ᵀ is never stored: dW = A Bᵀ - A₀ B₀ᵀ is an ordinary update of twice the rank for the base as
    it is, so that PiSSA's adapters share a base, merge, save and export like all others.

    A matrix that has fewer than ``rank`` rows or columns (VGGT's heads end in such) begins with all its directions and,
    in the remaining columns, like a LoRA; so every matrix trains r·(n + m) numbers. PEFT leaves these columns out.
    """

    initial: Mapping[str, LowRank]
    """A₀ = U Σ^½ and B₀ = V Σ^½ of every matrix, of rank min(``rank``, n, m)."""
    rank: int = field(metadata={"static": True})

    @classmethod
    def of(cls, base: nnx.State, matrices: Mapping[str, Matrix], rank: int) -> PiSSA:
        """From the weights of ``base``, the parameters that ``nnx.split(model)`` gives.

        Raises ValueError for a rank below 1.
        """
        if rank < 1:
            raise InputError(f"rank {rank} must be at least 1")
        weights = weights_of(base, matrices)
        return cls({path: principal_part(each, min(rank, *each.shape[-2:])) for path, each in weights}, rank)

    def init(self, key: Key[Array, ""]) -> dict[str, LowRank]:
        """A₀ and B₀; where a matrix has no more directions, further columns: zeros of A, B uniform in ±1/√m."""
        found = dict(self.initial)
        for number, (path, factors) in enumerate(sorted(self.initial.items())):
            further = self.rank - factors.rank
            if further:
                *stack, n, m = factors.shape
                drawn = jax.random.uniform(jax.random.fold_in(key, number), (*stack, m, further), minval=-1)
                found[path] = factors + LowRank(jnp.zeros((*stack, n, further)), drawn * m**-0.5)
        return found

    def deltas(self, params: Mapping[str, LowRank]) -> dict[str, LowRank]:
        return {path: factors - self.initial[path] for path, factors in params.items()}


def principal_part(weights: Float[Array, "*layers n m"], rank: int) -> LowRank:
    """The closest matrices of rank ``rank``, as U Σ^½ and V Σ^½ of the leading singular directions; float32.

    From the eigenvectors of W Wᵀ (or Wᵀ W, whichever is smaller), several times faster than a dense singular value
    decomposition. Directions with σ < 1e-3 of the largest lose accuracy; A Bᵀ = U Uᵀ W holds for whatever they become.
    """
    if weights.shape[-2] > weights.shape[-1]:
        return principal_part(weights.mT, rank).mT
    U, V_sigma = principal_directions(weights, rank=rank)
    root = jnp.sqrt(jnp.linalg.norm(V_sigma, axis=-2, keepdims=True))
    return LowRank(U * root, V_sigma / jnp.where(root > 0, root, 1))


@one_blas_thread
@partial(jax.jit, static_argnames="rank")
def principal_directions(
    weights: Float[Array, "*layers n m"], *, rank: int
) -> tuple[Float[Array, "*layers n rank"], Float[Array, "*layers m rank"]]:
    """U and V Σ of the leading singular directions of matrices with n ≤ m; float32."""
    with jax.default_matmul_precision("highest"):
        W = weights.astype(jnp.float32)
        _, vectors = jnp.linalg.eigh(W @ W.mT)  # in ascending order
        U = vectors[..., ::-1][..., :rank]
        return U, W.mT @ U
