"""The control of every mined basis: M between directions that were drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.finetuning.methods.psv import PSV

if TYPE_CHECKING:
    from flax import nnx

    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.models import Base
    from subspace import Basis
    from vggt_jax.adaptable import Matrix
    from vggt_jax.adapters import Maker


@dataclass(frozen=True, kw_only=True)
class Random(PSV):
    """dW = Ā M B̄ᵀ with orthonormal Ā and B̄ drawn by the seed, frozen, and as in Ours a plain LoRA on the heads.

    What mined directions are worth is what they have over these, each with a learning rate of its own: random ones need a
    higher one.
    """

    name = "random"
    label = "Random directions"
    summary = "M between random directions"

    def maker(self, parameters: nnx.State, matrices: Mapping[str, Matrix]) -> Maker:
        return self._maker(matrices, 0)

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        from experiments.finetuning.trainable import train_adapter
        from vggt_jax.parameters import adaptable_matrices

        return train_adapter(base, self._maker(adaptable_matrices(base.config), settings.seed), settings)

    def _maker(self, matrices: Mapping[str, Matrix], seed: int) -> Maker:
        from vggt_jax import adapters
        from vggt_jax.adaptable import check_room

        chosen = adapters.select(matrices, self.matrices)
        check_room(chosen, dim=self.dim)
        return self.with_plain(random_bases(chosen, self.dim, seed), matrices)


def random_bases(matrices: Mapping[str, Matrix], dim: int, seed: int) -> dict[str, Basis]:
    """min(``dim``, n, m) orthonormal directions for each side of each matrix, uniform among all subspaces of this size."""
    import jax.numpy as jnp

    from subspace import Basis

    rng, found = np.random.default_rng(seed), {}
    for path, matrix in sorted(matrices.items()):
        side = min(dim, matrix.n, matrix.m)
        output, input_ = (
            jnp.asarray(np.linalg.qr(rng.standard_normal((*matrix.stack, size, side)))[0], jnp.float32)
            for size in (matrix.n, matrix.m)
        )
        ranks, spectrum = jnp.full(matrix.stack, side), jnp.ones((*matrix.stack, side))
        found[path] = Basis(output, input_, ranks, ranks, spectrum, spectrum)
    return found
