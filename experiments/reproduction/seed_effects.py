"""What another seed changes: the same for all methods, or something else for each?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from experiments.reproduction.tables import Column, MeasuredTable

_FEWEST_SEEDS = 3
"""With two seeds every correlation is 1 or −1."""


@dataclass(frozen=True)
class SeedEffect:
    """How a figure of a table's rows depends on the seed, of the rows that were trained with all seeds."""

    column: Column
    """The figure."""
    rows: int
    """Number of these rows."""
    alone: float
    """Standard deviation over seeds of one row, as a share of the mean: the root of the rows' mean variance."""
    apart: float
    """The same of the difference of two rows with the same seed."""
    common: float
    """Mean correlation over seeds of two rows: 1 if a seed is as good or bad for all methods, 0 if it is another for each."""


def seed_effects(measured: MeasuredTable) -> Iterator[SeedEffect]:
    """Of each column that was measured and varies in every row, if there are three seeds and two rows at least."""
    seeds = measured.seeds
    lines = [line for line in measured.lines if line.row.method and len(line.records) == len(seeds)]
    if len(seeds) < _FEWEST_SEEDS or len(lines) < 2:
        return
    upper = np.triu_indices(len(lines), 1)
    for column in measured.columns:
        values = np.array([column.values(line.records) for line in lines])
        if not (np.isfinite(values).all() and np.ptp(values, axis=1).all()):
            continue
        between = values[upper[0]] - values[upper[1]]
        alone, apart = (float(np.sqrt(each.var(axis=1, ddof=1).mean())) for each in (values, between))
        level = float(np.abs(values.mean()))
        common = float(np.corrcoef(values)[upper].mean())
        yield SeedEffect(column, len(lines), alone / level, apart / level, common)
