"""What every part of the analysis hands over, and the folder that is made of it: page, figures, CSV files and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure as Drawing

from experiments.analysis.matrices import MatrixRow
from experiments.reports import page
from experiments.reports.drawings import Drawings

R = TypeVar("R")
Cell = str | int | float | None
Columns = Sequence[tuple[str, Callable[[R], Cell]]]
"""Heading and value of every column, for rows of one type."""

OF_MATRIX: Columns[MatrixRow] = (("path", lambda row: row.path), ("layer", lambda row: row.layer))
"""Columns of all rows that belong to one matrix."""

OUTPUTS = frozenset({"report.html", "analysis.json", "figures", "tables"})
"""Names of the files and folders that :func:`write_report` makes."""


@dataclass(frozen=True)
class Sheet:
    """Rows under headings, which are all different."""

    headings: tuple[str, ...]
    """One for each column."""
    rows: list[tuple[Cell, ...]]
    """Every row with one cell for each heading."""

    def records(self) -> list[dict[str, Cell]]:
        """The rows as JSON objects, by heading."""
        return [dict(zip(self.headings, row, strict=True)) for row in self.rows]

    def write(self, path: Path) -> None:
        """As a CSV file: floats with the digits of float32, None as an empty field."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.headings)
            writer.writerows([f"{x:.7g}" if isinstance(x, float) else x for x in row] for row in self.rows)


def sheet(rows: Iterable[R], columns: Columns[R]) -> Sheet:
    """A file's contents from typed rows."""
    return Sheet(tuple(heading for heading, _ in columns), [tuple(value(row) for _, value in columns) for row in rows])


def table(rows: Iterable[R], columns: Columns[R], caption: str = "") -> page.Table:
    """A table of the page from typed rows, numbers with three digits; several columns may have one heading."""
    headings = [heading for heading, _ in columns]
    return page.Table(headings, [[_text(value(row)) for _, value in columns] for row in rows], caption)


def _text(value: Cell) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


@dataclass(frozen=True, eq=False)
class Section:
    """One section of the report, with its files."""

    title: str
    """Heading on the page and key in ``analysis.json``."""
    text: Sequence[str | page.Table]
    """Paragraphs and tables that come before the figures."""
    figures: Mapping[str, tuple[Drawing, str]] = field(default_factory=dict)
    """File name → figure and caption."""
    sheets: Mapping[str, Sheet] = field(default_factory=dict)
    """File name → contents of a CSV file."""
    numbers: Any = None
    """What of the section belongs in ``analysis.json``; anything that JSON can hold."""


def write_report(
    folder: Path, title: str, verdict: str, sections: Sequence[Section], facts: Mapping[str, str], drawings: Drawings
) -> None:
    """Fill an empty folder.

    Args:
        folder: gets ``report.html``, ``analysis.json``, ``figures/NAME.png`` and ``.pdf``, ``tables/NAME.csv``.
        title: of the page.
        verdict: the paragraph on top.
        sections: in the order of the page.
        facts: settings and versions.
        drawings: with the sections' figures.

    Raises:
        OSError: a file cannot be written.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir()
    for section in sections:
        for name, contents in section.sheets.items():
            contents.write(folder / "tables" / f"{name}.csv")
    numbers: dict[str, Any] = {"verdict": verdict, "facts": dict(facts)}
    numbers |= {section.title: section.numbers for section in sections if section.numbers is not None}
    (folder / "analysis.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    svgs = drawings.save(folder / "figures")
    parts = [
        page.Section(
            section.title,
            [*section.text, *(page.plot(svgs[name], caption) for name, (_, caption) in section.figures.items())],
        )
        for section in sections
    ]
    (folder / "report.html").write_text(page.render(title, verdict, parts, facts), encoding="utf-8")
