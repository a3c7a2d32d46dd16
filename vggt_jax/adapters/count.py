"""How many numbers an adapter trains, exactly: the one place where they are counted."""

from __future__ import annotations

from collections import Counter
from math import prod

import jax
import numpy as np

from subspace import Basis
from vggt_jax.adapters.decomposed import Decomposed
from vggt_jax.adapters.maker import Combined, Maker
from vggt_jax.adapters.subspace_form import SubspaceForm


def trained_numbers(maker: Maker) -> dict[str, int]:
    """Path → numbers that ``maker`` trains for this matrix, or stack of them. Nothing is drawn or computed.

    The maker's constants may be abstract (:class:`jax.ShapeDtypeStruct`), as :func:`jax.eval_shape` returns them. Of an M,
    those with an effect are counted: of a layer whose basis has D_output and D_input columns, D_output · D_input.
    """
    if isinstance(maker, Combined):
        return dict(sum((Counter(trained_numbers(own)) for own in maker.makers), Counter()))
    if isinstance(maker, Decomposed):
        rows = {path: prod(lengths.shape) for path, lengths in maker.magnitudes.items()}
        return {path: numbers + rows[path] for path, numbers in trained_numbers(maker.directions).items()}
    if isinstance(maker, SubspaceForm):
        return {path: _entries(basis) for path, basis in maker.bases.items()}
    params = jax.eval_shape(lambda maker, key: maker.init(key), maker, jax.random.key(0))
    return {path: sum(prod(leaf.shape) for leaf in jax.tree.leaves(own)) for path, own in params.items()}


def _entries(basis: Basis) -> int:
    """Of all M of a stack; where only shapes are known, no column is taken to be zero."""
    ranks = basis.output_rank, basis.input_rank
    if any(isinstance(rank, jax.ShapeDtypeStruct) for rank in ranks):
        return prod(basis.A.shape[:-2]) * basis.A.shape[-1] * basis.B.shape[-1]
    return int(np.sum(np.asarray(ranks[0]) * np.asarray(ranks[1])))
