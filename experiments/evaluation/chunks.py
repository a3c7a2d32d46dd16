"""Rows of large arrays on all cores, a cache's worth at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from experiments.process.cores import available_cores

R = TypeVar("R")
_ROWS = 2048
"""Rows that one thread works on at a time: temporary arrays stay in its cache, and few rows keep all cores busy."""


def in_chunks(function: Callable[[slice], R], rows: int) -> list[R]:
    """``function`` of consecutive slices of all rows, in order.

    It is called from threads, so it gains where its time is spent outside of the interpreter's lock, as in NumPy and SciPy.
    """
    slices = [slice(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]
    with ThreadPoolExecutor(len(available_cores())) as threads:
        return list(threads.map(function, slices))
