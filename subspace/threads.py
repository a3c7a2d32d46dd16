"""How JAX, XLA and OpenBLAS share the cores of a small machine.

Two facts, measured on two cores with jax 0.10.2, decide what stands here.

*Deadlock.* XLA may run two LAPACK calls of one program (``qr``, ``svd``, ``eigh``, ``cholesky``) at the same time; each
then waits in a thread of XLA's pool for work that only the same pool can do. With two threads both wait for ever. So the
functions of this package chain their LAPACK calls: each needs the result of the one before (see :func:`after`), and at
most one can run. That holds whoever imports what first. For programs of users that combine several of them in one
``jit``, :mod:`subspace.environment` also makes the pool larger, which has an effect only before JAX's first computation.

*Contention.* The OpenBLAS that jaxlib calls (SciPy's) starts threads of its own inside XLA's. 48 SVDs of 160x160 cost
3.1 ms each so, 30 ms with the larger pool, and 1.05 ms with OpenBLAS held to one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  loads the OpenBLAS that jaxlib will call, so that it can be limited
import threadpoolctl
from jaxtyping import Array

from subspace import environment

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def scipy_openblas() -> threadpoolctl.ThreadpoolController:
    """The controller of SciPy's BLAS alone; of every BLAS where SciPy's is not told apart (a distribution's build)."""
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
    own = [library.filepath for library in blas.lib_controllers if "scipy.libs" in library.filepath]
    return blas.select(filepath=own) if own else blas


if environment.pool_is_enlarged:
    scipy_openblas().limit(limits=1)


@functools.cache
def _every_blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def one_thread() -> AbstractContextManager[object]:
    """Hold every BLAS, NumPy's too, to one thread, for matrices so small that threads wait more than they work.

    A sketch of 10 adapters of rank 16 on 1,024² took 0.03 CPU-seconds so, 0.8 with two threads on two busy cores.
    """
    return _every_blas().limit(limits=1)


def one_thread_where(small: bool) -> AbstractContextManager[object]:
    """:func:`one_thread` if the matrices are small; as many threads as ever if not."""
    return one_thread() if small else nullcontext()


def one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` to its end with OpenBLAS held to one thread: XLA already runs a batch on all cores.

    Under ``jit``, ``vmap`` or ``grad`` of a caller the function is only traced, and nothing is limited.
    """

    @functools.wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(is_traced(leaf) for leaf in jax.tree.leaves((args, kwargs))):
            return function(*args, **kwargs)
        with scipy_openblas().limit(limits=1):
            # waiting keeps two programs with LAPACK calls from running at the same time, too
            return jax.block_until_ready(function(*args, **kwargs))

    return limited


def is_traced(x: object) -> bool:
    """Whether ``x`` is an abstract value inside a JAX transformation, which has no numbers to look at."""
    return isinstance(x, jax.core.Tracer)


def after(x: Array | np.ndarray, earlier: Array | np.ndarray) -> Array | np.ndarray:
    """``x``, made to depend on ``earlier`` (any shape), so that what is computed from it cannot start before.

    An ``optimization_barrier`` would say the same, but XLA's CPU compiler drops it before it schedules. Zero times a
    float is no constant to XLA (it may be NaN), so this dependency stays. NaN or infinity in ``earlier`` ends up in ``x``.
    NumPy's arrays wait for nothing.
    """
    if isinstance(x, np.ndarray):
        return x
    return x + 0 * jnp.sum(earlier.ravel()[:1]).astype(x.dtype)
