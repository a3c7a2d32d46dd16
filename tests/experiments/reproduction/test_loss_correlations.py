"""Does a loss order rows as the test scenes do? On planted figures."""

import numpy as np
import pytest

from experiments.reproduction.loss_correlations import loss_correlations
from experiments.reproduction.plan import run_of
from experiments.reproduction.rows import CONTROL, FULL, TABLES, adalora, lora, ours
from experiments.reproduction.tables import measure
from tests.experiments.reproduction.planted import plan, record

ROWS = (FULL, lora(16), lora(32), *map(adalora, (16, 32, 64)), CONTROL, ours(64, part="blocks"))
LOSSES, FIGURES = (1.0, 1.3, 1.1, 1.7, 1.2, 1.4, 0.9, 1.25), (0.2, 0.25, 0.3, 0.28, 0.15, 0.27, 0.22, 0.19)


def correlations(rows, seeds=(0, 1), of=LOSSES):
    scale, table, records = plan("3", seeds=seeds).scale, TABLES["3"], {}
    for row, loss, figure in zip(rows, of, FIGURES, strict=False):
        for seed in seeds:
            run = run_of(row, table, scale, seed)
            records[run] = record(run, figure, loss=loss + seed)
    incomplete = run_of(lora(64), table, scale, 0)
    records[incomplete] = record(incomplete, 9.0, loss=9.0)
    return list(loss_correlations(measure(table, scale, seeds, records)))


def test_rows_with_all_seeds_are_correlated():
    ((column, found, rows),) = correlations(ROWS)
    assert (column.split, column.metric, rows) == ("test", "chamfer", len(ROWS))
    assert found == pytest.approx(np.corrcoef(LOSSES, FIGURES)[0, 1])


def test_few_rows_and_equal_losses_say_nothing():
    assert correlations(ROWS[:7]) == [] == correlations(ROWS, of=(1.0,) * 8)
