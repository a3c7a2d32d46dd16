"""Keeps jaxlib 0.10.2 from computing wrong numbers on CPUs."""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version

from jax._src import xla_bridge

_AFFECTED = ("0.10.2",)
_FLAG = "--xla_cpu_experimental_ynn_fusion_type="


def avoid_wrong_fusions() -> None:
    """Switch off XLA's YNNPACK fusions where they are known to be wrong; call it before JAX's first computation.

    In jaxlib 0.10.2 a fused reduction that reads a broadcast operand, and whose result has more than 32,768 elements, is
    wrong beyond them (jax issue 39103; neither 0.10.1 nor programs without these fusions are affected, nor any GPU or
    TPU). ``jax.vmap`` of a gradient over adapters that share their images makes exactly such fusions of every layer norm.

    Does nothing in other versions. Warns where JAX has already computed something, as it then no longer reads the flag.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib") not in _AFFECTED or _FLAG.rstrip("=") in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}".strip()
    if xla_bridge.backends_are_initialized() and "cpu" in xla_bridge.backends():
        warnings.warn(
            f"jaxlib {version('jaxlib')} can compute wrong numbers on CPUs (jax issue 39103): import vggt_jax before "
            f"JAX's first computation, or set XLA_FLAGS={_FLAG}",
            stacklevel=3,
        )
