"""What every part of the analysis hands over: text, tables and figures for the page, rows and numbers for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure as Drawing

from experiments.reports.page import Section, Table, plot

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Topic:
    """One section of the report, with its files."""

    title: str
    text: Sequence[str | Table]
    """Paragraphs and tables that come before the figures."""
    figures: Mapping[str, tuple[Drawing, str]] = field(default_factory=dict)
    """File name → figure and caption."""
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """File name → rows of a CSV file, all with the same keys."""
    numbers: Any = None
    """What of it belongs in ``analysis.json``; anything that JSON can hold."""

    def section(self, svgs: Mapping[str, str]) -> Section:
        """The part of the page; ``svgs`` holds every figure, drawn, by file name."""
        figures = [plot(svgs[name], caption) for name, (_, caption) in self.figures.items()]
        return Section(self.title, [*self.text, *figures])


def table_of(rows: Sequence[Row], caption: str = "", columns: Mapping[str, str] | None = None) -> Table:
    """Rows with equal keys as a table of the page, numbers with three digits.

    Args:
      rows: at least one.
      caption: what the columns mean.
      columns: key → heading of those to show; all under their own names if None. Files keep them all.
    """
    columns = {name: name for name in rows[0]} if columns is None else columns
    return Table(list(columns.values()), [[_text(row[name]) for name in columns] for row in rows], caption)


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
