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

    def section(self) -> Section:
        """The part of the page."""
        return Section(self.title, [*self.text, *(plot(*figure) for figure in self.figures.values())])


def table_of(rows: Sequence[Row], caption: str = "") -> Table:
    """Rows with equal keys as a table of the page; numbers get three digits, shares stay shares."""
    return Table(list(rows[0]), [[_text(value) for value in row.values()] for row in rows], caption)


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
