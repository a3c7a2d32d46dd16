"""The figures that the paper prints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from experiments.data.manifest import Split
from experiments.reproduction.rows import CHAMFER, HALVES, PaperTable, Row, TableName
from vggt_jax.reading import typed


class PrintedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a table."""

    row: Row
    """The row of :data:`experiments.reproduction.rows.TABLES` that it is of."""
    label: str
    """What the paper calls the row."""
    parameters: str
    """Number of trained parameters as printed, e.g. "16.3 M"; empty where nothing is."""
    values: tuple[float, ...]
    """Figures in the order of the table's columns, in the paper's units (which it does not always name)."""

    def figures(self, table: PaperTable) -> dict[tuple[Split, str], float]:
        """(test set, metric) → what is printed; Chamfer distances are the means of their printed halves."""
        found: dict[tuple[Split, str], float] = {}
        values = iter(self.values)
        for split, metrics in table.tests:
            found |= {(split, metric): next(values) for metric in metrics if metric != CHAMFER}
        for split, metrics in table.tests:
            if CHAMFER in metrics:
                found[split, CHAMFER] = sum(found[split, half] for half in HALVES) / len(HALVES)
        return found


@cache
def printed() -> Mapping[TableName, Mapping[Row, PrintedRow]]:
    """Table → row → what is printed, in the paper's order."""
    kind = dict[TableName, list[PrintedRow]]
    tables = typed.decode(Path(__file__).with_name("paper.json").read_bytes(), kind)
    return {name: {each.row: each for each in rows} for name, rows in tables.items()}
