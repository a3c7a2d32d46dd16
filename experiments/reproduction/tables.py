"""Tables from records: means over scenes, range over seeds, the best and the second best, and the paper's figures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.data.manifest import Split, Task
from experiments.presets import Scale
from experiments.reproduction.labels import BETTER, SPLIT_NAMES, metric_title, row_label
from experiments.reproduction.paper import printed
from experiments.reproduction.plan import Minings, Run, run_of
from experiments.reproduction.records import RunRecord, scene_means
from experiments.reproduction.rows import CHAMFER, HALVES, PaperTable, Row

Records = Mapping[Run, RunRecord]
_LENGTH: Mapping[Task, tuple[float, str]] = {"faces": (1e3, "mm"), "humans": (1e2, "cm"), "glass": (1e2, "cm")}
"""Factor and unit of accuracy and completeness; all else is shown in per cent."""
_MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A figure of a test set."""

    split: Split
    """Test set that is averaged over."""
    metric: str
    """Name of the figure in :data:`experiments.evaluation.results.METRICS`."""
    factor: float
    """From SI units and shares to what is shown."""
    unit: str
    """Unit that is shown."""

    def values(self, records: Sequence[RunRecord]) -> np.ndarray:
        """Means over scenes, one for each record."""
        return self.factor * np.array([scene_means(record.tests[self.split], self.metric) for record in records])


@dataclass(frozen=True)
class Line:
    """A row with what was measured."""

    row: Row
    """What was measured."""
    records: tuple[RunRecord, ...]
    """One record for each seed that is there."""

    @property
    def trained(self) -> str:
        """Numbers that were trained, to be read: of minings of their own, seeds may have numbers of their own."""
        fewest, most = (found(record.parameters for record in self.records) for found in (min, max))
        return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"

    @property
    def minutes(self) -> float:
        """Mean duration of its fine-tunings."""
        return float(np.mean([record.training_seconds for record in self.records])) / 60


@dataclass(frozen=True)
class MeasuredTable:
    """A table with what was measured so far."""

    table: PaperTable
    """The paper's table."""
    scale: Scale
    """What the paper's sizes became."""
    columns: tuple[Column, ...]
    """Figures, in the paper's order."""
    lines: tuple[Line, ...]
    """Rows, in the paper's order; those without records too."""
    minings: Minings = "one"
    """Whether seeds share a mining."""

    @property
    def seeds(self) -> list[int]:
        """Seeds of any fine-tuning in it."""
        return sorted({record.run.seed for line in self.lines if line.row.method for record in line.records})

    @property
    def scenes(self) -> dict[Split, int]:
        """Number of scenes in each test set, as far as there are records."""
        records = [record for line in self.lines for record in line.records]
        return {split: len(records[0].tests[split]) for split, _ in self.table.tests if records}

    @property
    def missing(self) -> int:
        """Rows that nothing was measured of yet."""
        return sum(not line.records for line in self.lines)

    @property
    def fewer_seeds(self) -> int:
        """Rows that were trained with some of the seeds only."""
        return sum(bool(line.records) and not self._has_all_seeds(line) for line in self.lines if line.row.method)

    def _has_all_seeds(self, line: Line) -> bool:
        return len(line.records) == len(self.seeds)

    def ranking(self, column: Column) -> dict[Row, int]:
        """Row → 1 for the best mean and 2 for the second, of rows with all seeds: a mean of fewer is more often extreme."""
        complete = [line for line in self.lines if line.records and (not line.row.method or self._has_all_seeds(line))]
        found = {line.row: column.values(line.records).mean() for line in complete}
        means = {row: mean for row, mean in found.items() if math.isfinite(mean)}
        order = sorted(means, key=lambda row: -BETTER[column.metric] * means[row])
        return {row: rank for rank, row in enumerate(order[:2], start=1)} if len(order) > 1 else {}


def measure(
    table: PaperTable, scale: Scale, seeds: Sequence[int], records: Records, minings: Minings = "one"
) -> MeasuredTable:
    """The lines of a table, with the records that there are."""
    columns = tuple(
        Column(split, metric, *(_LENGTH[table.task] if metric in (*HALVES, CHAMFER) else (100.0, "%")))
        for split, metrics in table.tests
        for metric in metrics
    )
    lines = [Line(row, tuple(records_of(row, table, scale, seeds, records, minings))) for row in table.rows]
    return MeasuredTable(table, scale, columns, tuple(lines), minings)


def records_of(
    row: Row, table: PaperTable, scale: Scale, seeds: Sequence[int], records: Records, minings: Minings = "one"
) -> list[RunRecord]:
    """A row's records, of the seeds that are there."""
    runs = dict.fromkeys(run_of(row, table, scale, seed, minings) for seed in seeds)
    return [records[run] for run in runs if run in records]


def markdown(measured: MeasuredTable) -> str:
    """A table for GitHub: ours, then the paper's figures of the row that ours stands for, if there is one."""
    cells = _cells(measured, lambda text, rank: {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(rank, text))
    return "\n".join("| " + " | ".join(row) + " |" for row in [*_heading(measured), *cells]) + "\n"


def latex(measured: MeasuredTable) -> str:
    r"""A ``tabular`` for the package booktabs: best bold, second best underlined."""
    marks = {1: r"\textbf{%s}", 2: r"\underline{%s}"}
    cells = _cells(measured, lambda text, rank: marks.get(rank, "%s").replace("%s", text))
    heading, _ = _heading(measured)
    columns = len(heading)
    body = [r"\begin{tabular}{l" + "r" * (columns - 1) + "}", r"\toprule"]
    body += [" & ".join(map(_escaped, heading)) + r" \\", r"\midrule"]
    body += [
        " & ".join([_escaped(row[0]), *(cell.replace(_MISSING, "--") for cell in row[1:])]) + r" \\" for row in cells
    ]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_of(measured: MeasuredTable) -> str:
    """One line for each method, seed, test set and metric, in SI units and shares; the paper's rows have seed "paper"."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["table", "method", "paper's row", "parameters", "seed", "test set", "metric", "mean over scenes"])
    paper = printed()[measured.table.name]
    for line in measured.lines:
        theirs = paper[line.row].label if line.row in paper else ""
        label = row_label(line.row, measured.table, measured.scale)
        for record in line.records:
            for column in measured.columns:
                mean = scene_means(record.tests[column.split], column.metric)
                start = [measured.table.name, label, theirs, record.parameters, record.run.seed]
                if math.isfinite(mean):
                    writer.writerow([*start, column.split, column.metric, f"{mean:.6g}"])
    for row in paper.values():
        start = [measured.table.name, row.label, row.label, row.parameters, "paper"]
        for (split, metric), value in row.figures(measured.table).items():
            writer.writerow([*start, split, f"{metric} (the paper's unit)", f"{value:g}"])
    return buffer.getvalue()


def _heading(measured: MeasuredTable) -> tuple[list[str], list[str]]:
    ours = [f"{SPLIT_NAMES[column.split]} {metric_title(column.metric)} ({column.unit})" for column in measured.columns]
    paper = [f"paper: {metric_title(column.metric)}" for column in measured.columns]
    titles = ["method", "trained", "min", "rate", *ours, *(["paper's row", *paper] if measured.table.is_papers else [])]
    return titles, ["---", *["--:"] * (len(titles) - 1)]


def _cells(measured: MeasuredTable, mark: Callable[[str, int], str]) -> Iterator[list[str]]:
    ranking = {column: measured.ranking(column) for column in measured.columns}
    blank = [_MISSING] * (1 + len(measured.columns)) * measured.table.is_papers
    for line in measured.lines:
        label = row_label(line.row, measured.table, measured.scale)
        paper = printed()[measured.table.name].get(line.row)
        theirs = paper.figures(measured.table) if paper else {}
        last = (
            [paper.label, *(f"{theirs[column.split, column.metric]:.4g}" for column in measured.columns)]
            if paper
            else blank
        )
        if not line.records:
            yield [label, *[_MISSING] * (3 + len(measured.columns)), *last]
            continue
        trained = line.trained if line.row.method else _MISSING
        time = f"{line.minutes:.1f}" if line.row.method else _MISSING
        rates = sorted({record.rate for record in line.records if record.rate is not None and line.row.method})
        rate = ", ".join(f"{each:g}" for each in rates) or _MISSING
        shown = []
        for column in measured.columns:
            values = column.values(line.records)
            text = f"{values.mean():.2f}"
            if len(values) > 1:
                text += f" [{values.min():.2f}, {values.max():.2f}]"
            is_known = np.isfinite(values).all()
            shown.append(mark(text, ranking[column].get(line.row, 0)) if is_known else _MISSING)
        yield [label, trained, time, rate, *shown, *last]


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
