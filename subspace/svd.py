"""The singular value decomposition, again where LAPACK fails.

LAPACK's divide and conquer (``gesdd``) fails for a few matrices that lack rank in float32: one of about ten thousand of
160×160 and rank 144 came back as NaN, with "On entry to SLASCL parameter number 4 had an illegal value" from LAPACK itself,
while the same matrix with other rounding was decomposed. So one that fails is decomposed with its rows in another order.
"""

from __future__ import annotations

from typing import TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from subspace.namespace import AnyArray

ATTEMPTS = 4
"""Orders of rows that are tried."""
_State: TypeAlias = tuple[Array, tuple[Array, Array, Array]]
"""The order of rows that comes next, and what the last one gave."""


@overload
def svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
@overload
def svd(x: Array) -> tuple[Array, Array, Array]: ...
@overload
def svd(x: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]: ...


def svd(
    x: Float[AnyArray, "*batch n m"],
) -> tuple[Float[AnyArray, "*batch n p"], Float[AnyArray, "*batch p"], Float[AnyArray, "*batch p m"]]:
    """U, Σ, Vᵀ with p = min(n, m), equivalent to ``numpy.linalg.svd(x, full_matrices=False)``.

    NumPy's arrays are computed by NumPy. Derivatives are JAX's, of the first attempt.

    Raises:
      numpy.linalg.LinAlgError: of NumPy's arrays with NaN or infinity, or if no attempt succeeds. JAX's results are NaN then.
    """
    return _numpy_svd(x) if isinstance(x, np.ndarray) else _jax_svd(x)


def _numpy_svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    for shift in range(ATTEMPTS):
        try:
            U, sigma, Vt = np.linalg.svd(np.roll(x, shift, axis=-2), full_matrices=False)
        except np.linalg.LinAlgError:
            continue
        if not (np.isnan(U).any() or np.isnan(sigma).any()):
            return np.roll(U, -shift, axis=-2), sigma, Vt
    raise np.linalg.LinAlgError(f"no singular value decomposition of a matrix {x.shape[-2:]}")


@jax.custom_jvp
def _jax_svd(x: Array) -> tuple[Array, Array, Array]:
    def failed(state: _State) -> Array:
        shift, (U, sigma, _) = state
        return (shift <= ATTEMPTS) & jnp.isfinite(x).all() & (jnp.isnan(U).any() | jnp.isnan(sigma).any())

    def again(state: _State) -> _State:
        shift, _ = state
        U, sigma, Vt = _plain(jnp.roll(x, shift, axis=-2))
        return shift + 1, (jnp.roll(U, -shift, axis=-2), sigma, Vt)

    return jax.lax.while_loop(failed, again, (jnp.ones((), jnp.int32), _plain(x)))[1]


@_jax_svd.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple, tuple]:
    return jax.jvp(_plain, primals, tangents)


def _plain(x: Array) -> tuple[Array, Array, Array]:
    U, sigma, Vt = jnp.linalg.svd(x, full_matrices=False)
    return U, sigma, Vt
