"""What was measured on: cores, memory, library versions, and the machine's own matrix product as a yardstick."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import jax
import jax.numpy as jnp

from experiments.process.memory import most_resident
from subspace import environment

R = TypeVar("R")


def describe() -> str:
    """One line that belongs above every table of timings."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {devices}, Python {platform.python_version()}, "
        f"jax {jax.__version__}; load {os.getloadavg()[0]:.1f} at the start"
    )


def seconds(function: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """(first call, best of the further calls) in seconds, each waited for; the first one compiles."""
    times = [once(function) for _ in range(repeats + 1)]
    return times[0], min(times[1:])


def once(function: Callable[[], object]) -> float:
    """Seconds of one call, waited for."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def in_own_process(function: Callable[..., R], *arguments: object) -> R:
    """``function(*arguments)`` in a fresh process: memory that others used would hide its own peak."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_as_commands_do, function, *arguments).result()


def _as_commands_do(function: Callable[..., R], *arguments: object) -> R:
    environment.restore_pool()
    return function(*arguments)


def peak_memory() -> int:
    """The most memory that this process had so far, in bytes: of the accelerator, or resident where there is none."""
    device = jax.local_devices()[0].memory_stats()
    if device is not None:
        return device["peak_bytes_in_use"]
    return most_resident()


def matmul_gflops(size: int = 2048) -> float:
    """float32 GFLOP/s of one square matrix product."""
    x = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x)
    return 2 * size**3 / seconds(lambda: product(x), repeats=5)[1] / 1e9
