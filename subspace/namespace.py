"""Formulas that follow the kind of array that they get: JAX's are compiled, NumPy's are computed by NumPy at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from subspace.threads import one_blas_thread

AnyArray = Array | np.ndarray
"""Where NumPy is welcome."""
P = ParamSpec("P")
R = TypeVar("R")


def namespace(*values: object) -> ModuleType:
    """``jax.numpy`` if any array in ``values`` (pytrees) is JAX's, else ``numpy``."""
    return jnp if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values)) else np


def compiled_for_jax(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: of NumPy's arrays the function is computed as it stands, of JAX's compiled and on one BLAS thread.

    A compilation for every shape costs a second; the matrices of a model that are already on the host need none.
    ``static`` names the arguments that select a program.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        compiled = one_blas_thread(jax.jit(function, static_argnames=static))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return (function if namespace(args, kwargs) is np else compiled)(*args, **kwargs)

        return call

    return decorate


def matmul(x: Float[AnyArray, "..."], y: Float[AnyArray, "..."]):
    """The product of (stacks of) matrices (*layers, a, b) and (*layers, b, c), in full precision on accelerators too."""
    return np.matmul(x, y) if namespace(x, y) is np else jnp.matmul(x, y, precision="highest")
