"""Settings of the process that JAX on CPUs needs. They are made when ``subspace`` is imported, which every package does.

All of them are environment variables that JAX reads once, at its first computation; what the user has set stays. JAX itself
is not loaded for them.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version

_SMALLEST_POOL = 8
_WRONG_FUSIONS = ("0.10.2",)
_FUSIONS = "--xla_cpu_experimental_ynn_fusion_type="
_PRODUCTS_ALONE = _FUSIONS + "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"

pool_is_enlarged = False
"""Whether :func:`enlarge_small_pool` has changed something: :mod:`subspace.threads` then limits SciPy's OpenBLAS."""


def configure() -> None:
    """Make the settings below; call it before JAX's first computation."""
    enlarge_small_pool()
    avoid_wrong_fusions()


def enlarge_small_pool() -> None:
    """Give XLA a pool of eight threads, and SciPy's OpenBLAS one thread, where there are fewer than eight cores.

    The pool keeps programs of users that run LAPACK calls side by side from a deadlock (:mod:`subspace.threads`). Does
    nothing on larger machines, or if ``NPROC`` is set. NumPy's own OpenBLAS is left alone; SciPy's is the one that jaxlib
    calls, and it is limited as soon as a function of ``subspace`` has loaded it.
    """
    global pool_is_enlarged
    if (os.cpu_count() or 1) < _SMALLEST_POOL and "NPROC" not in os.environ:
        os.environ["NPROC"] = str(_SMALLEST_POOL)
        pool_is_enlarged = True


def restore_pool() -> None:
    """Take :func:`enlarge_small_pool` back, for a program whose LAPACK calls are all this package's own, which are chained.

    On two cores the pool of eight costs a training step a fifth more processor time and twice the memory. Has an effect
    only before JAX's first computation; SciPy's OpenBLAS keeps its one thread.
    """
    if pool_is_enlarged:
        os.environ.pop("NPROC", None)


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
    if _cpu_has_computed():
        warnings.warn(
            f"jaxlib {version('jaxlib')} can compute wrong numbers on CPUs (jax issue 39103): import subspace or vggt_jax "
            f"before JAX's first computation, or set XLA_FLAGS={_PRODUCTS_ALONE}",
            stacklevel=4,
        )


def _cpu_has_computed() -> bool:
    """Whether a JAX that is loaded has started its CPU backend. JAX has no public way to ask without starting it."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return "cpu" in getattr(bridge, "_backends", {})
