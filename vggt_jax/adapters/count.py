"""How many numbers an adapter trains, exactly."""

from __future__ import annotations

from collections import Counter
from math import prod

import jax
import numpy as np

from vggt_jax.adapters.maker import Combined, Maker
from vggt_jax.adapters.subspace_form import SubspaceForm


def trained_numbers(maker: Maker) -> dict[str, int]:
    """Path → numbers that ``maker`` trains for this matrix, or stack of them. Nothing is drawn.

    Of an M, those with an effect: of a layer whose basis has D_output and D_input columns, D_output · D_input.
    """
    if isinstance(maker, Combined):
        return dict(sum((Counter(trained_numbers(own)) for own in maker.makers), Counter()))
    if isinstance(maker, SubspaceForm):
        return {
            path: int(np.sum(np.asarray(basis.output_rank) * np.asarray(basis.input_rank)))
            for path, basis in maker.bases.items()
        }
    params = jax.eval_shape(maker.init, jax.random.key(0))
    return {path: sum(prod(leaf.shape) for leaf in jax.tree.leaves(own)) for path, own in params.items()}
