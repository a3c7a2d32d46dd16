"""A place for the few computations in float64 that follow a model's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def double_precision() -> Iterator[None]:
    """JAX computes in float64 within, on the CPU; where ``JAX_PLATFORMS`` leaves that out, on the default device."""
    try:
        (cpu, *_) = jax.local_devices(backend="cpu")
    except RuntimeError:
        cpu = None
    with jax.enable_x64(True), jax.default_device(cpu):
        yield
