"""Tables from records: means over scenes, spread over seeds, the best and the second best, and the paper's figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.data.manifest import Split, Task
from experiments.evaluation.results import METRICS
from experiments.reproduction.paper import printed
from experiments.reproduction.plan import Run, run_of
from experiments.reproduction.records import Record, scene_means
from experiments.reproduction.rows import Row, Table
from experiments.reproduction.scale import Scale

Records = Mapping[Run, Record]
SHORT_NAMES = {
    "accuracy": "Acc",
    "completeness": "Comp",
    "normal_consistency": "NC",
    "abs_rel": "AbsRel",
    "delta": "δ < 1.25",
}
_LENGTH: Mapping[Task, tuple[float, str]] = {"faces": (1e3, "mm"), "humans": (1e2, "cm"), "glass": (1e2, "cm")}
"""Factor and unit of accuracy and completeness; all else is shown in per cent."""
SPLIT_NAMES: Mapping[Split, str] = {"train": "training", "test": "test", "cross_domain": "cross-domain"}
BETTER = {metric.name: metric.better for metric in METRICS}
_MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A figure of a test set."""

    split: Split
    metric: str
    factor: float
    unit: str

    @property
    def title(self) -> str:
        return f"{SHORT_NAMES[self.metric]} {'↑' if BETTER[self.metric] > 0 else '↓'}"

    def values(self, records: Sequence[Record]) -> np.ndarray:
        """Means over scenes, one for each record."""
        return self.factor * np.array([scene_means(record.tests[self.split], self.metric) for record in records])


@dataclass(frozen=True)
class Line:
    """A row with what was measured."""

    row: Row
    label: str
    records: tuple[Record, ...]
    """Of the seeds that are there."""

    @property
    def minutes(self) -> float:
        return float(np.mean([record.training_seconds for record in self.records])) / 60


@dataclass(frozen=True)
class Measured:
    """A table with what was measured so far."""

    table: Table
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def seeds(self) -> list[int]:
        """Of any fine-tuning in it."""
        return sorted({record.run["seed"] for line in self.lines if line.row.method for record in line.records})

    @property
    def missing(self) -> int:
        """Rows that nothing was measured of yet."""
        return sum(not line.records for line in self.lines)

    @property
    def fewer_seeds(self) -> int:
        """Rows that were trained with some of the seeds only."""
        return sum(0 < len(line.records) < len(self.seeds) for line in self.lines if line.row.method)

    def places(self, column: Column) -> dict[str, int]:
        """Label → 1 for the best mean and 2 for the second, of lines that have been measured."""
        found = {line.label: column.values(line.records).mean() for line in self.lines if line.records}
        order = sorted(found, key=lambda label: -BETTER[column.metric] * found[label])
        return {label: place for place, label in enumerate(order[:2], start=1)} if len(order) > 1 else {}


def measure(table: Table, scale: Scale, seeds: Sequence[int], records: Records) -> Measured:
    """The lines of a table, with the records that there are."""
    columns = tuple(
        Column(split, metric, *(_LENGTH[table.task] if metric in ("accuracy", "completeness") else (100.0, "%")))
        for split, metrics in table.tests
        for metric in metrics
    )
    lines = [Line(row, scale.label(row), tuple(records_of(row, table, scale, seeds, records))) for row in table.rows]
    return Measured(table, columns, tuple(lines))


def records_of(row: Row, table: Table, scale: Scale, seeds: Sequence[int], records: Records) -> list[Record]:
    """A row's records, of the seeds that are there."""
    runs = dict.fromkeys(run_of(row, table, scale, seed) for seed in seeds)
    return [records[run] for run in runs if run in records]


def markdown(measured: Measured) -> str:
    """A table for GitHub: ours, then the paper's figures of the row that ours stands for, if there is one."""
    cells = _cells(measured, lambda text, place: {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(place, text), " ± ")
    return "\n".join("| " + " | ".join(row) + " |" for row in [*_heading(measured), *cells]) + "\n"


def latex(measured: Measured) -> str:
    r"""A ``tabular`` for the package booktabs: best bold, second best underlined."""
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    cells = _cells(measured, lambda text, place: marks.get(place, "%s").replace("%s", text), r"$\,\pm\,$")
    heading, _ = _heading(measured)
    columns = len(heading)
    body = [r"\begin{tabular}{l" + "r" * (columns - 1) + "}", r"\toprule"]
    body += [" & ".join(map(_escaped, heading)) + r" \\", r"\midrule"]
    body += [
        " & ".join([_escaped(row[0]), *(cell.replace(_MISSING, "--") for cell in row[1:])]) + r" \\" for row in cells
    ]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_of(measured: Measured) -> str:
    """One line for each method, seed, test set and metric, in SI units and shares; the paper's rows have seed "paper"."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["table", "method", "paper's row", "parameters", "seed", "test set", "metric", "mean over scenes"])
    paper = printed()[measured.table.name]
    for line in measured.lines:
        theirs = line.row.label if line.row.label in paper else ""
        for record in line.records:
            for column in measured.columns:
                mean = scene_means(record.tests[column.split], column.metric)
                start = [measured.table.name, line.label, theirs, record.parameters, record.run["seed"]]
                writer.writerow([*start, column.split, column.metric, f"{mean:.6g}"])
    for label, row in paper.items():
        for column, value in zip(measured.columns, row.values, strict=True):
            start = [measured.table.name, label, label, row.parameters, "paper"]
            writer.writerow([*start, column.split, f"{column.metric} (the paper's unit)", value])
    return buffer.getvalue()


def _heading(measured: Measured) -> tuple[list[str], list[str]]:
    ours = [f"{SPLIT_NAMES[column.split]} {column.title} ({column.unit})" for column in measured.columns]
    paper = [f"paper: {column.title}" for column in measured.columns]
    titles = ["method", "trained", "min", *ours, "paper's row", *paper]
    return titles, ["---", *["--:"] * (len(titles) - 1)]


def _cells(measured: Measured, mark: Callable[[str, int], str], plus_minus: str) -> Iterator[list[str]]:
    places = {column: measured.places(column) for column in measured.columns}
    blank = [_MISSING] * (1 + len(measured.columns))
    for line in measured.lines:
        paper = printed()[measured.table.name].get(line.row.label)
        last = [line.row.label, *(f"{value:g}" for value in paper.values)] if paper else blank
        if not line.records:
            yield [line.label, *[_MISSING] * (2 + len(measured.columns)), *last]
            continue
        trained = f"{line.records[0].parameters:,}" if line.row.method else _MISSING
        time = f"{line.minutes:.1f}" if line.row.method else _MISSING
        shown = []
        for column in measured.columns:
            values = column.values(line.records)
            text = f"{values.mean():.2f}"
            if len(values) > 1:
                text += f"{plus_minus}{values.std(ddof=1):.2f}"
            shown.append(mark(text, places[column].get(line.label, 0)))
        yield [line.label, trained, time, *shown, *last]


def _escaped(text: str) -> str:
    for plain, escaped in (
        ("%", r"\%"),
        ("_", r"\_"),
        ("↓", r"$\downarrow$"),
        ("↑", r"$\uparrow$"),
        ("δ < ", r"$\delta <$ "),
    ):
        text = text.replace(plain, escaped)
    return text
