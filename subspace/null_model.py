"""What overlap chance alone gives: random subspaces of R^n are nearly orthogonal when n is large."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from subspace.errors import InputError
from subspace.namespace import AnyArray, namespace
from subspace.threads import is_traced, one_blas_thread


def null_eigenvalues(n: int, d: int, d_prime: int, samples: int, key: PRNGKeyArray) -> Float[Array, "samples d_plus_d"]:
    """Generalised eigenvalues (Eq. 5) between independent, uniformly random d- and d'-dimensional subspaces of Rⁿ.

    Each row is a sample as :func:`subspace.generalized_eigenvalues` would give it: increasing, 1 ± cos θ. Two random
    16-dimensional subspaces of R^1024 already have a smallest value near 0.75. Exact and independent of n in cost: only
    the first subspace's share of a random frame is drawn, and the rest of its Gram matrix, which is Wishart, by Bartlett's
    decomposition.

    Raises:
      ValueError: unless 1 ≤ d, d' ≤ n and samples ≥ 1.
    """
    for name, value in (("d", d), ("d_prime", d_prime)):
        if not 1 <= value <= n:
            raise InputError(f"{name} must lie between 1 and n={n}, got {value}")
    if samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")
    outside = n - d  # only its smallest values shape the program: one compilation serves every large n
    return _null_eigenvalues(key, outside, d=d, d_prime=d_prime, samples=samples, rows=min(outside, d_prime + 1))


@one_blas_thread
@partial(jax.jit, static_argnames=("d", "d_prime", "samples", "rows"))
def _null_eigenvalues(key: PRNGKeyArray, outside_rows, *, d: int, d_prime: int, samples: int, rows: int) -> Array:
    # By symmetry the first subspace may be spanned by the first d axes. A Gaussian n×d' matrix [X; Y] spans a uniform
    # second one, and its orthonormal frame has the upper part X (XᵀX + YᵀY)^-½, whose singular values are the cosines.
    key_inside, key_outside = jax.random.split(key)
    inside = jax.random.normal(key_inside, (samples, d, d_prime))
    if rows <= d_prime:
        outside = jax.random.normal(key_outside, (samples, rows, d_prime))
    else:
        outside = _gaussian_triangle(key_outside, samples, outside_rows, d_prime)
    R = jnp.linalg.qr(jnp.concatenate([inside, outside], axis=1), mode="r")
    upper = jax.lax.linalg.triangular_solve(R, inside, left_side=False, lower=False)
    cosines = jnp.clip(jnp.linalg.svd(upper, compute_uv=False), 0, 1)
    ones = jnp.ones((samples, abs(d - d_prime)), cosines.dtype)
    return jnp.sort(jnp.concatenate([1 - cosines, ones, 1 + cosines], axis=-1), axis=-1)


def _gaussian_triangle(key: PRNGKeyArray, samples: int, rows, columns: int) -> Float[Array, "samples columns columns"]:
    """R of the QR of a Gaussian rows×columns matrix that is taller than wide; ``rows`` may be traced."""
    key_diagonal, key_above = jax.random.split(key)
    degrees = rows - jnp.arange(columns, dtype=jnp.result_type(float))
    diagonal = jnp.sqrt(jax.random.chisquare(key_diagonal, degrees, (samples, columns)))
    above = jnp.triu(jax.random.normal(key_above, (samples, columns, columns)), 1)
    return above + diagonal[:, :, None] * jnp.eye(columns)[None]


def null_percentile(
    measured: Float[AnyArray, "*layers q"],
    null: Float[AnyArray, "samples q"],
    *,
    rounding: float = 0.0,
) -> Float[AnyArray, "*layers q"]:
    """The percentile, 0 to 100, of measured statistics among samples of the null model, each in its own column.

    For sorted eigenvalues this compares the smallest with the null's smallest, and so on. Near 0: closer than chance
    would bring them; near 100: more orthogonal than chance. Ties count half. NaN where the measured value is NaN.

    Args:
      measured: q statistics of each matrix. NumPy's arrays are computed by NumPy.
      null: the same statistics of random samples, such as :func:`null_eigenvalues`.
      rounding: values that differ by no more than this are tied.

    Raises:
      ValueError: for shapes that do not fit, no samples, or samples that are not finite (outside of ``jit``).
    """
    below, up_to = _ranks(measured, null, rounding)
    return 50 * (below + up_to) / len(null)


def null_p_value(
    measured: Float[AnyArray, "*layers q"],
    null: Float[AnyArray, "samples q"],
    *,
    rounding: float = 0.0,
) -> Float[AnyArray, "*layers q"]:
    """Two-sided p-values of "as random": twice the smaller tail, counted with the measured value itself among the samples.

    So none is below 2 / (samples + 1). Arguments and errors as in :func:`null_percentile`.
    """
    below, up_to = _ranks(measured, null, rounding)
    xp, samples = namespace(below), len(null)
    return xp.minimum(1, 2 * (xp.minimum(up_to, samples - below) + 1) / (samples + 1))


def _ranks(measured, null, rounding: float) -> tuple[Float[AnyArray, "..."], Float[AnyArray, "..."]]:
    """Of every measured value (*layers, q), how many samples of its column are below it, and how many are not above it.

    NaN of NaN.
    """
    xp = namespace(measured, null)
    measured, null = xp.asarray(measured), xp.asarray(null)
    if null.ndim != 2 or measured.ndim < 1 or measured.shape[-1] != null.shape[-1] or null.shape[0] == 0:
        raise InputError(f"measured (..., q) and null (samples, q) must fit, got {measured.shape} and {null.shape}")
    if not is_traced(null) and not bool(xp.isfinite(null).all()):
        raise InputError("null has NaN or infinity: nothing can be ranked among its samples")
    ordered, columns = xp.sort(null, axis=0), range(null.shape[1])
    dtype = np.promote_types(measured.dtype, np.float32)

    def rank(values: AnyArray, side: Literal["left", "right"]) -> AnyArray:
        if xp is np:
            found = np.stack([np.searchsorted(ordered[:, i], values[..., i], side) for i in columns], axis=-1)
        else:
            found = jax.vmap(partial(jnp.searchsorted, side=side), in_axes=(1, -1), out_axes=-1)(ordered, values)
        return xp.where(xp.isnan(values), xp.nan, found.astype(dtype))

    return rank(measured - rounding, "left"), rank(measured + rounding, "right")
