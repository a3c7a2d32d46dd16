"""How many dimensions each layer gets (supplement 2.2). d is the mean budget: L layers may spend d · L together.

NumPy's effective ranks are computed by NumPy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from subspace.errors import InputError
from subspace.namespace import AnyArray, compiled_for_jax, namespace
from subspace.threads import is_traced


def allocate_uniform(effective_ranks: Float[AnyArray, " L"], dim: int) -> Int[AnyArray, " L"]:
    """The same ``dim`` for every layer.

    Args:
      effective_ranks: of each layer, as :func:`subspace.effective_rank` returns them; only their number matters.
      dim: d, at least 1.

    Raises:
      ValueError: unless there is one finite, non-negative rank for each layer.
    """
    ranks = _checked(effective_ranks, dim)
    return namespace(ranks).full(ranks.shape, dim, np.int32)


def allocate_importance(effective_ranks: Float[AnyArray, " L"], dim: int) -> Int[AnyArray, " L"]:
    """d_l = d · ⌊EffectiveRank_l / mean⌋, as printed in supplement 2.2; a ratio that only rounding puts below a whole
    number counts as that number.

    The floor acts on the ratio, so a layer below the mean gets nothing and only multiples of d occur. The sum is at most
    d · L, and for ranks that vary little it is far below: (2, 3, 4, 7) with d = 16 gives (0, 0, 16, 16), half of the budget.
    Report ``sum()`` beside results; :func:`allocate_proportional` spends all. Arguments and errors as in
    :func:`allocate_uniform`.
    """
    ranks = _checked(effective_ranks, dim)
    xp = namespace(ranks)
    ranks = ranks if ranks.dtype in (np.float32, np.float64) else ranks.astype(np.float32)
    mean = xp.mean(ranks)
    rounding = ranks.shape[0] * float(xp.finfo(ranks.dtype).eps)  # of the mean, relative
    return (dim * xp.floor(ranks / xp.where(mean > 0, mean, 1) * (1 + rounding))).astype(np.int32)


def allocate_proportional(
    effective_ranks: Float[AnyArray, " L"], dim: int, max_rank: int | None = None
) -> Int[AnyArray, " L"]:
    """Proportional to the effective ranks, and spends exactly d · L: the Sainte-Laguë apportionment.

    The d · L dimensions go one by one to the layer with the largest EffectiveRank_l / (d_l + ½). Equal ranks give the
    uniform allocation; (2, 3, 4, 7) with d = 16 gives (8, 12, 16, 28). No layer gets more than ``max_rank`` (what its subspace
    or its matrix offers); what it cannot take goes to the others.

    Args:
      effective_ranks: of each layer, as :func:`subspace.effective_rank` returns them.
      dim: d, at least 1.
      max_rank: most dimensions of one layer; None for as many as the budget has.

    Raises:
      ValueError: unless there is one finite, non-negative rank for each layer; for a ``max_rank`` smaller than ``dim``, so
        that the budget cannot be spent.
    """
    ranks = _checked(effective_ranks, dim)
    budget = dim * ranks.shape[0]
    largest = budget if max_rank is None else max_rank
    if largest < dim:
        raise InputError(f"max_rank={max_rank} leaves no room for the mean budget dim={dim}")
    return _sainte_lague(ranks, budget=budget, largest=min(largest, budget))


@compiled_for_jax("budget", "largest")
def _sainte_lague(ranks: Float[AnyArray, " L"], *, budget: int, largest: int) -> Int[AnyArray, " L"]:
    xp, layers = namespace(ranks), ranks.shape[0]
    quotients = ranks[:, None] / (xp.arange(largest, dtype=ranks.dtype) + 0.5)[None]
    # among equal quotients (all zero, say) the layer with fewer dimensions comes first, then the earlier layer
    taken, layer = np.tile(np.arange(largest), layers), np.repeat(np.arange(layers), largest)
    order = xp.lexsort((layer, taken, -quotients.ravel()))
    counted = xp.asarray(layer)[order[:budget]]
    return (xp.bincount(counted, minlength=layers) if xp is np else xp.bincount(counted, length=layers)).astype(
        np.int32
    )


def _checked(effective_ranks: Float[AnyArray, " L"], dim: int) -> Float[AnyArray, " L"]:
    ranks = namespace(effective_ranks).asarray(effective_ranks)
    if ranks.ndim != 1 or ranks.shape[0] == 0:
        raise InputError(f"effective_ranks must be one value per layer, got shape {ranks.shape}")
    if dim < 1:
        raise InputError(f"dim must be positive, got {dim}")
    if not is_traced(ranks) and not bool((namespace(ranks).isfinite(ranks) & (ranks >= 0)).all()):
        raise InputError("effective_ranks must be finite and not negative")
    return ranks
