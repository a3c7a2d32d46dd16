"""Does the loss on validation scenes order a table's rows as the test scenes do?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.reproduction.rows import CHAMFER
from experiments.reproduction.tables import Column, MeasuredTable

_FEWEST_ROWS = 8
"""Of fewer a correlation says little: of four rows +0.95 is what chance gives one time in twenty."""


def loss_correlations(measured: MeasuredTable) -> Iterator[tuple[Column, float, int]]:
    """Pearson's correlation, over the rows that were trained, of the mean loss with the mean Chamfer distance of a test set,
    and the number of these rows.

    Of the rows that have all of the table's seeds, if these are eight at least and not all alike.
    """
    lines = [line for line in measured.lines if line.row.method and 0 < len(line.records) == len(measured.seeds)]
    if len(lines) < _FEWEST_ROWS:
        return
    losses = [np.mean([record.validation["after"] for record in line.records]) for line in lines]
    for column in measured.columns:
        if column.metric == CHAMFER:
            figures = [column.values(line.records).mean() for line in lines]
            if np.isfinite(figures).all() and np.ptp(losses) > 0 and np.ptp(figures) > 0:
                yield column, float(np.corrcoef(losses, figures)[0, 1]), len(lines)
