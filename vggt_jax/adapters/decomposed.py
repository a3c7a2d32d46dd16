"""Updates whose rows' lengths are trained as well: DoRA (Liu et al. 2024), around any maker of their directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from vggt_jax.adaptable import Matrix, weights_of
from vggt_jax.adapters.maker import Maker
from vggt_jax.deltas import WeightDecomposed, low_rank_only


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Decomposed:
    """W becomes m · (W + dW) / ‖W + dW‖, row by row, with dW those of ``directions`` and m trained from ‖W‖.

    With :class:`vggt_jax.adapters.LoRA` this is DoRA. The parameters of ``directions`` must be a dictionary by path.
    """

    directions: Maker
    """Maker of the low-rank updates."""
    magnitudes: Mapping[str, Float[Array, "*layers n"]]
    """path → length of every row of W, where m starts."""

    @classmethod
    def of(cls, base: nnx.State, matrices: Mapping[str, Matrix], directions: Maker) -> Decomposed:
        """Around a maker of updates of these matrices, for the parameters ``base`` that ``nnx.split(model)`` gives."""
        return cls(directions, {path: _row_norms(weights) for path, weights in weights_of(base, matrices)})

    @property
    def scale(self) -> float:
        """The factor that every A contains."""
        return getattr(self.directions, "scale", 1.0)

    def init(self, key: Key[Array, ""]) -> dict[str, tuple[Any, Float[Array, "*layers n"]]]:
        """path → parameters of the direction, and m."""
        return {path: (own, self.magnitudes[path]) for path, own in self.directions.init(key).items()}

    def deltas(self, params: Mapping[str, tuple[Any, Float[Array, "*layers n"]]]) -> dict[str, WeightDecomposed]:
        """The changes of the weights."""
        directions = self.directions.deltas({path: own for path, (own, _) in params.items()})
        return {
            path: WeightDecomposed(direction, params[path][1]) for path, direction in low_rank_only(directions).items()
        }


@jax.jit
def _row_norms(weights: Float[Array, "*layers n m"]) -> Float[Array, "*layers n"]:
    return jnp.linalg.norm(weights.astype(jnp.float32), axis=-1)
