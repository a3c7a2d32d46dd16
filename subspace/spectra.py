"""What the singular values of C say about a matrix: effective rank and the four patterns of Fig. 4."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from subspace.errors import InputError
from subspace.low_rank import LowRank, singular_values
from subspace.namespace import AnyArray, namespace
from subspace.pytrees import register_dataclass

SMALLEST_DROP = 0.1
"""A drop is at least a factor of 10^0.1 = 1.26 between neighbouring singular values …"""
TIMES_TYPICAL = 4.0
"""… and at least four times (on the log scale) the median step in its neighbourhood."""


class Pattern(enum.IntEnum):
    """The four spectral behaviours of C over the layers (Sec. 4.2, Fig. 4)."""

    NONE = 0
    """No transition: the first layers, which record every local pattern."""
    AT_RANK = 1
    """One drop at the adapters' rank r: deep attention and fully connected layers, where all adapters agree."""
    BEYOND_RANK = 2
    """One drop later than r: early layers, which also hold patterns that are not the attribute's."""
    TWO_DROPS = 3
    """A drop at r and another beyond: the layers between."""


@register_dataclass
@dataclass(frozen=True, eq=False)
class SpectralPattern:
    """Result of :func:`spectral_pattern`, for a whole stack of spectra."""

    code: Int[Array, "*layers"]
    """A :class:`Pattern`."""
    positions: Int[Array, "*layers 2"]
    """Singular values before the drop at r, and before the largest drop beyond r; 0 where there is none."""
    sizes: Float[Array, "*layers 2"]
    """log10 of the factor by which the singular values fall in these drops; 0 where there is none."""

    @property
    def names(self) -> np.ndarray:
        """The patterns' names in lower case ("at_rank", …), shaped like ``code``. Not under ``jit``."""
        return np.asarray(np.array([pattern.name.lower() for pattern in Pattern])[np.asarray(self.code)])


def effective_rank(x: LowRank | Float[AnyArray, "*layers p"]) -> Float[AnyArray, "*layers"]:
    """(‖W‖_F / ‖W‖_2)² of each matrix or spectrum (supplement 2.2): between 1 and the rank; 0 for a zero matrix.

    Args:
      x: updates (*layers, n, m), or their singular values in any order. NumPy's arrays are computed by NumPy.
    """
    sigma = singular_values(x) if isinstance(x, LowRank) else x
    xp = namespace(sigma)
    largest = xp.max(sigma, axis=-1, keepdims=True, initial=0)
    return xp.sum((sigma / xp.where(largest > 0, largest, 1)) ** 2, axis=-1)


def spectral_pattern(sigma: Float[AnyArray, "*layers p"], rank: int) -> SpectralPattern:
    """Name the behaviour of each spectrum: a drop at the adapters' rank, one beyond it, both, or none (Sec. 4.2, Fig. 4).

    The rule, on the steps g_j = log10 σ_j − log10 σ_{j+1}:

    * g_j is a *drop* if it is at least :data:`SMALLEST_DROP` and at least :data:`TIMES_TYPICAL` times the median step in
      its neighbourhood, r/2 (at least 4) steps to both sides. So a smooth decay, however steep, has none.
    * Neighbouring drops are one: its size is their sum, its position that of its largest step.
    * It is *at* the rank if its position differs from r by at most max(1, r // 8), *beyond* if it is later. Earlier ones,
      and those among the last tenth of the values, where every spectrum of a random matrix falls to zero, do not count.
      Of several drops in one class the largest counts.

    Values under the rounding floor (σ_1 · p · eps) are taken as equal to it: nothing below is a drop. Nor is there one in a
    single value.

    Args:
      sigma: singular values in decreasing order, such as ``initial_singular_values`` of a mined subspace. NumPy's arrays
        are computed by NumPy, one spectrum after the other.
      rank: r of the adapters that went into C.
    """
    if rank < 1:
        raise InputError(f"rank must be positive, got {rank}")
    sigma = sigma if isinstance(sigma, np.ndarray) else jnp.asarray(sigma)
    if sigma.ndim < 1 or sigma.shape[-1] < 1:
        raise InputError(f"sigma must hold singular values, got shape {sigma.shape}")
    if sigma.shape[-1] == 1:
        sigma = namespace(sigma).concatenate([sigma, sigma], axis=-1)
    flat = sigma.reshape(-1, sigma.shape[-1])
    if isinstance(flat, np.ndarray):
        spectra = flat if len(flat) else np.ones_like(flat, shape=(1, 2))  # of none, one for the types
        each = [_pattern(spectrum, rank=int(rank)) for spectrum in spectra]
        found = jax.tree.map(lambda *x: np.stack(x)[: len(flat)], *each)
    else:
        found = _patterns(flat, rank=int(rank))
    return jax.tree.map(lambda x: x.reshape((*sigma.shape[:-1], *x.shape[1:])), found)


@partial(jax.jit, static_argnames="rank")
def _patterns(spectra: Float[Array, "L p"], *, rank: int) -> SpectralPattern:
    return jax.vmap(partial(_pattern, rank=rank))(spectra)


def _pattern(sigma: Float[AnyArray, " p"], *, rank: int) -> SpectralPattern:
    xp, p = namespace(sigma), sigma.shape[-1]
    floor = xp.maximum(sigma[0] * p * xp.finfo(sigma.dtype).eps, xp.finfo(sigma.dtype).tiny)
    steps = -xp.diff(xp.log10(xp.maximum(sigma, floor)))
    is_drop = steps >= xp.maximum(SMALLEST_DROP, TIMES_TYPICAL * _typical_step(steps, sigma[1:] > floor, rank))

    starts = is_drop & ~xp.concatenate([xp.zeros(1, bool), is_drop[:-1]])
    drop = xp.where(is_drop, xp.cumsum(starts) - 1, p)  # which drop each step belongs to; p for none
    member = drop[None] == xp.arange(p)[:, None]
    size = xp.sum(xp.where(member, steps[None], 0), axis=1)
    place = xp.argmax(xp.where(member, steps[None], -xp.inf), axis=1) + 1  # singular values before its largest step

    near = max(1, rank // 8)
    real = (size > 0) & (place <= max(rank + near, p - max(1, p // 10)))
    found = [real & (xp.abs(place - rank) <= near), real & (place > rank + near)]
    best = [xp.argmax(xp.where(which, size, -1)) for which in found]
    exists = xp.stack([xp.any(which) for which in found])
    return SpectralPattern(
        code=xp.where(exists[0], int(Pattern.AT_RANK), 0) + xp.where(exists[1], int(Pattern.BEYOND_RANK), 0),
        positions=xp.where(exists, xp.stack([place[i] for i in best]), 0),
        sizes=xp.where(exists, xp.stack([size[i] for i in best]), 0),
    )


def _typical_step(steps: Float[AnyArray, " s"], meaningful: AnyArray, rank: int) -> Float[AnyArray, " s"]:
    """The median of the steps around each one, leaving out those that end in the rounding floor."""
    xp, reach = namespace(steps), max(4, rank // 2)
    around = xp.arange(steps.shape[0])[:, None] + xp.arange(-reach, reach + 1)[None]
    inside = (around >= 0) & (around < steps.shape[0]) & (around != xp.arange(steps.shape[0])[:, None])
    index = xp.clip(around, 0, steps.shape[0] - 1)
    counts = inside & meaningful[index]
    neighbours = xp.where(counts, steps[index], xp.nan)
    return xp.nanmedian(xp.where(counts.any(axis=1, keepdims=True), neighbours, 0), axis=1)
