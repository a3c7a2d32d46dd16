"""Settings of the process that JAX on CPUs needs. They are made when ``subspace`` is imported, which every package does.

All of them are environment variables that JAX reads once, at its first computation; what the user has set stays.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version

from jax._src import xla_bridge

from subspace.threads import scipy_openblas

_SMALLEST_POOL = 8
_WRONG_FUSIONS = ("0.10.2",)
_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type="
_PRODUCTS_ALONE = _FUSIONS + "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


def configure() -> None:
    """Make the settings below; call it before JAX's first computation."""
    enlarge_small_pool()
    avoid_wrong_fusions()


def enlarge_small_pool() -> None:
    """Give XLA a pool of eight threads, and SciPy's OpenBLAS one thread, where there are fewer than eight cores.

    The pool keeps programs of users that run LAPACK calls side by side from a deadlock (:mod:`subspace.threads`). Does
    nothing on larger machines, or if ``NPROC`` is set. NumPy's own OpenBLAS is left alone; SciPy's is the one that jaxlib
    calls.
    """
    if (os.cpu_count() or 1) < _SMALLEST_POOL and "NPROC" not in os.environ:
        os.environ["NPROC"] = str(_SMALLEST_POOL)
        scipy_openblas().limit(limits=1)


def avoid_wrong_fusions() -> None:
    """Leave YNNPACK nothing but single matrix products where XLA's fusions for it are known to be wrong.

    In jaxlib 0.10.2 a fused reduction that reads a broadcast operand, and whose result has more than 32,768 elements, is
    wrong beyond them (jax issue 39103; neither 0.10.1 nor programs without these fusions are affected, nor any GPU or
    TPU). ``jax.vmap`` of a gradient over adapters that share their images makes exactly such fusions of every layer norm.
    A product that YNNPACK computes by itself reads no such operand; leaving it those saves a sixth to a quarter of a
    transformer block's time.

    Does nothing in other versions. Warns where JAX has already computed something, as it then no longer reads the flag.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib") not in _WRONG_FUSIONS or _FUSIONS.rstrip("=") in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {_PRODUCTS_ALONE}".strip()
    if xla_bridge.backends_are_initialized() and "cpu" in xla_bridge.backends():
        warnings.warn(
            f"jaxlib {version('jaxlib')} can compute wrong numbers on CPUs (jax issue 39103): import subspace or vggt_jax "
            f"before JAX's first computation, or set XLA_FLAGS={_PRODUCTS_ALONE}",
            stacklevel=4,
        )
