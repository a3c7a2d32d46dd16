"""The folder of results: tables in three formats, claims, and a page that shows all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.manifest import Split
from experiments.presets import Scale
from experiments.reports.markdown import render_markdown
from experiments.reproduction.claims import SIMILAR, Claim, Finding, Reading, examine
from experiments.reproduction.labels import METRIC_NAMES, SPLIT_NAMES, row_label
from experiments.reproduction.plan import Plan
from experiments.reproduction.records import RateSearch, run_files
from experiments.reproduction.rows import TABLES, TableName
from experiments.reproduction.tables import MeasuredTable, Records, csv_of, latex, markdown, measure
from experiments.storage.files import check_ours, write_bytes
from subspace.errors import InputError

PAGE = "README.md"
_TEMPLATE = "page.md.jinja"
_FORMATS: Mapping[str, Callable[[MeasuredTable], str]] = {"md": markdown, "tex": latex, "csv": csv_of}
_WORDS: Mapping[Reading, str] = {"holds": "yes", "opposite": "no, the opposite", "undecided": "undecided"}


@dataclass(frozen=True)
class ClaimLine:
    """A line of the table of claims."""

    table: str
    """Table that has both rows."""
    words: str
    """The claim."""
    rows: str
    """Both rows' labels."""
    parameters: str
    """What the first row trains as a multiple of what the second does."""
    split: str
    """Test set."""
    readings: tuple[str, ...]
    """For each metric what our figures say, and what the paper's do."""


@dataclass(frozen=True)
class RateLine:
    """A line of the table of learning rates."""

    task: str
    """Task that is fine-tuned for."""
    method: str
    """Method, with the part of the model that it changes."""
    before: float
    """The base model's loss on validation scenes."""
    losses: tuple[str, ...]
    """Loss after fine-tuning with each rate, the chosen one's bold; empty where it was not tried."""


def check_folder(folder: Path, records: Path, overwrite: bool) -> None:
    """Raises InputError if ``folder`` is none, or has other things and no records.

    A page and tables without records, which were not made from any, are refused unless they are to be overwritten.
    """
    check_ours(folder, (records.name, PAGE, "table_*"))
    written = [folder / PAGE, *(folder / _table_file(name, suffix) for name in TABLES for suffix in _FORMATS)]
    there = [path for path in written if path.exists()]
    if there and not overwrite and not run_files(records):
        raise InputError(
            f"{there[0]} is there without records of runs, so that it was not made from any; name another folder of results, "
            "or ask to overwrite it",
            argument="overwrite",
        )


def write_results(folder: Path, plan: Plan, records: Records, searches: Sequence[RateSearch], command: str) -> None:
    """``table_N.md``, ``.tex`` and ``.csv`` of every table, and the page; complete or not.

    Raises OSError if the folder cannot be written.
    """
    measured = [measure(table, plan.scale, plan.seeds, records) for table in plan.tables]
    for each in measured:
        for suffix, make in _FORMATS.items():
            write_bytes(folder / _table_file(each.table.name, suffix), make(each).encode())
    findings = examine(plan.scale, plan.seeds, records, [table.name for table in plan.tables])
    write_bytes(folder / PAGE, _page(plan, measured, findings, records, searches, command).encode())


def _table_file(name: TableName, suffix: str) -> str:
    return f"table_{name}.{suffix}"


def _page(
    plan: Plan,
    measured: Sequence[MeasuredTable],
    findings: Sequence[Finding],
    records: Records,
    searches: Sequence[RateSearch],
    command: str,
) -> str:
    return render_markdown(
        Path(__file__).with_name(_TEMPLATE),
        plan=plan,
        command=command,
        tables=[(each, markdown(each)) for each in measured],
        claims=_claim_lines(findings, plan.scale),
        similar=SIMILAR,
        done=len(records),
        bases=sorted({record.base for record in records.values()}),
        commits=sorted({record.commit for record in records.values()}),
        lowered=[(run, record) for run, record in records.items() if record.given_up],
        rates=list(
            _rate_lines(records, [each for each in searches if each.is_among(plan.scale.rates)], plan.scale.rates)
        ),
        hours=sum(record.training_seconds + record.evaluation_seconds for record in records.values()) / 3600,
    )


def _rate_lines(records: Records, searches: Sequence[RateSearch], rates: Sequence[float]) -> Iterator[RateLine]:
    """Of methods that have a run: it knows the base model's loss."""
    before = {run.search: record.validation["before"] for run, record in records.items() if run.search}
    for each in searches:
        if each.search in before:
            losses = tuple(_loss(each, rate) for rate in rates)
            yield RateLine(each.search.task, each.search.variant, before[each.search], losses)


def _loss(search: RateSearch, rate: float) -> str:
    loss = search.by_rate.get(rate)
    if loss is None:
        return ""
    text = f"{loss:.4f}" if math.isfinite(loss) else "diverged"
    return f"**{text}**" if rate == search.chosen else text


def _claim_lines(findings: Sequence[Finding], scale: Scale) -> list[ClaimLine]:
    """One line for each claim and test set."""
    groups: dict[tuple[Claim, Split], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.claim, finding.split), []).append(finding)
    return [
        ClaimLine(
            claim.table,
            claim.words,
            " · ".join(row_label(row, TABLES[claim.table], scale) for row in (claim.first, claim.second)),
            _multiple(*found[0].parameters),
            SPLIT_NAMES[split],
            tuple(_reading(finding) for finding in found),
        )
        for (claim, split), found in groups.items()
    ]


def _multiple(first: int, second: int) -> str:
    return f"× {first / second:.2g}" if second else ""


def _reading(finding: Finding) -> str:
    difference = finding.difference
    share = difference.mean / abs(difference.first)
    low, high, *by_seed = (
        value / abs(difference.first) for value in (difference.low, difference.high, *finding.by_seed)
    )
    name = METRIC_NAMES[finding.metric]
    seeds = f"; seeds {min(by_seed):+.1%} to {max(by_seed):+.1%}" if len(by_seed) > 1 else ""
    paper = f"; paper: {_WORDS[finding.printed]}" if finding.printed else ""
    return f"{name}: {_WORDS[finding.reading]} ({share:+.1%} [{low:+.1%}, {high:+.1%}]{seeds}{paper})"
