"""The folder that ``experiments.analyze`` writes: report, figures, tables and numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.analysis.topic import Row, Topic
from experiments.reports.drawings import Drawings
from experiments.reports.page import render

OUTPUTS = frozenset({"report.html", "analysis.json", "figures", "tables"})


def write_report(
    folder: Path, title: str, verdict: str, topics: Sequence[Topic], facts: Mapping[str, str], drawings: Drawings
) -> None:
    """Fill an empty folder.

    Args:
      folder: gets ``report.html``, ``analysis.json``, ``figures/NAME.png`` and ``.pdf``, ``tables/NAME.csv``.
      title: of the page.
      verdict: the paragraph on top.
      topics: the sections, in order.
      facts: settings and versions.
      drawings: with the topics' figures.
    """
    for name in ("figures", "tables"):
        (folder / name).mkdir()
    for topic in topics:
        for name, rows in topic.tables.items():
            write_csv(folder / "tables" / f"{name}.csv", rows)
    numbers: dict[str, Any] = {"verdict": verdict, "facts": dict(facts)}
    numbers |= {topic.title: topic.numbers for topic in topics if topic.numbers is not None}
    (folder / "analysis.json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    svgs = drawings.save(folder / "figures")
    html = render(title, verdict, [topic.section(svgs) for topic in topics], facts)
    (folder / "report.html").write_text(html, encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """A header and one line for each row; floats with the digits of float32, None as an empty field."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows([f"{x:.7g}" if isinstance(x, float) else x for x in row.values()] for row in rows)
