"""Batches by the number of their step, prepared ahead by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grain

Batch = TypeVar("Batch")


@contextmanager
def prefetched(
    make_batch: Callable[[int], Batch], first: int, last: int, *, threads: int = 1, ahead: int = 2
) -> Iterator[Iterator[Batch]]:
    """Iterates over ``make_batch(first)``, ..., ``make_batch(last - 1)``, of which ``threads`` threads prepare ``ahead``.

    ``make_batch`` must be a pure function (random numbers seeded by the step): then a run that stops goes on with the very
    same batches, and the only state of the input is the number of the next step. What it raises is raised here.
    """
    steps = grain.MapDataset.range(first, last).map(make_batch)
    batches = iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)))
    try:
        yield batches
    finally:
        batches.close()
