"""The folder of results: tables in three formats, claims, and a page that shows all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from experiments.evaluation.difference import LEVEL
from experiments.finetuning.methods import METHODS
from experiments.presets import Scale
from experiments.reports.markdown import render_markdown
from experiments.reproduction.claim_table import WORDS, claim_table, p_value
from experiments.reproduction.claims import SIMILAR, Claim, Finding, examine, examine_losses
from experiments.reproduction.labels import LOSS, METRIC_NAMES, SPLIT_NAMES, Scenes, row_label
from experiments.reproduction.loss_correlations import loss_correlations
from experiments.reproduction.notes import Recorded, notes
from experiments.reproduction.plan import Plan
from experiments.reproduction.records import RateSearch, run_files
from experiments.reproduction.rows import CONTROLS, EVERY_TABLE, TableName
from experiments.reproduction.scale import scaled
from experiments.reproduction.seed_effects import seed_effects
from experiments.reproduction.tables import MeasuredTable, Records, csv_of, latex, markdown, measure
from experiments.storage.files import check_ours, write_bytes
from subspace.errors import InputError

PAGE = "README.md"
_TEMPLATE = "page.md.jinja"
_FORMATS: Mapping[str, Callable[[MeasuredTable], str]] = {"md": markdown, "tex": latex, "csv": csv_of}


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
class TableReadings:
    """What comparisons of one table come to."""

    table: str
    """The table."""
    counts: Mapping[str, int]
    """Reading in words → number of comparisons, in the order of :data:`WORDS`."""
    compared: int
    """Comparisons with several seeds, which are corrected for."""


@dataclass(frozen=True)
class RateLine:
    """A line of the table of learning rates."""

    task: str
    """Task that is fine-tuned for."""
    method: str
    """Method, with the part of the model that it changes."""
    tried_on: str
    """Sizes of the run that the rates were tried on, and its seed."""
    before: float
    """The base model's loss on validation scenes."""
    losses: tuple[str, ...]
    """Loss after fine-tuning with each rate, the chosen one's bold; empty where it was not tried."""


def check_folder(folder: Path, records: Path, overwrite: bool) -> None:
    """Raises InputError if ``folder`` is none, or has other things and no records.

    A page and tables without records, which were not made from any, are refused unless they are to be overwritten.
    """
    check_ours(folder, (records.name, PAGE, "table_*"))
    written = [folder / PAGE, *(folder / _table_file(name, suffix) for name in EVERY_TABLE for suffix in _FORMATS)]
    there = [path for path in written if path.exists()]
    if there and not overwrite and not run_files(records):
        raise InputError(
            f"{there[0]} is there without records of runs, so that it was not made from any; name another folder of results, "
            "or ask to overwrite it",
            argument="overwrite",
        )


def write_results(
    folder: Path,
    plan: Plan,
    records: Records,
    searches: Sequence[RateSearch],
    command: str,
    recorded: Recorded = MappingProxyType({}),
) -> None:
    """``table_N.md``, ``.tex`` and ``.csv`` of every table, and the page; complete or not.

    Args:
        folder: that is written.
        plan: tables and seeds.
        records: what was measured.
        searches: of learning rates.
        command: that it was made by.
        recorded: which data are the user's own recordings.

    Raises OSError if the folder cannot be written.
    """
    measured = [measure(table, plan.scale, plan.seeds, records, plan.minings) for table in plan.tables]
    for each in measured:
        for suffix, make in _FORMATS.items():
            write_bytes(folder / _table_file(each.table.name, suffix), make(each).encode())
    write_bytes(folder / PAGE, _page(plan, measured, records, searches, command, recorded).encode())


def _table_file(name: TableName, suffix: str) -> str:
    return f"table_{name}.{suffix}"


def _page(
    plan: Plan,
    measured: Sequence[MeasuredTable],
    records: Records,
    searches: Sequence[RateSearch],
    command: str,
    recorded: Recorded,
) -> str:
    names: list[TableName] = [table.name for table in plan.tables]
    findings = examine(plan.scale, plan.seeds, records, names, plan.minings)
    losses = examine_losses(plan.scale, plan.seeds, records, names, plan.minings)
    return render_markdown(
        Path(__file__).with_name(_TEMPLATE),
        plan=plan,
        command=command,
        tables=[(each, markdown(each), notes(each, recorded)) for each in measured],
        recorded=recorded,
        claims=_claim_lines(findings, plan.scale),
        readings=_table_readings(findings),
        losses=claim_table(losses, plan.scale, LOSS, "validation") if any(each.test for each in losses) else "",
        correlations=[
            (each.table.number, SPLIT_NAMES[column.split], correlation, rows)
            for each in measured
            for column, correlation, rows in loss_correlations(each)
        ],
        words=WORDS,
        seed_effects=[
            (each.table.number, SPLIT_NAMES[effect.column.split], METRIC_NAMES[effect.column.metric], effect)
            for each in measured
            if not each.fewer_seeds
            for effect in seed_effects(each)
        ],
        controls=CONTROLS in plan.tables,
        papers=any(table.is_papers for table in plan.tables),
        names=SPLIT_NAMES,
        similar=SIMILAR,
        level=LEVEL,
        done=len(records),
        bases=sorted({record.base for record in records.values()}),
        commits=sorted({record.commit for record in records.values()}),
        lowered=[(run, record) for run, record in records.items() if record.given_up],
        rates=list(_rate_lines(records, [each for each in searches if each.is_among(plan.scale.rates)], plan.scale)),
        hours=sum(record.training_seconds + record.evaluation_seconds for record in records.values()) / 3600,
    )


def _rate_lines(records: Records, searches: Sequence[RateSearch], scale: Scale) -> Iterator[RateLine]:
    """Of methods that have a run: it knows the base model's loss. The run that rates were tried on counts, or else another."""
    trained = [(run, record.validation["before"]) for run, record in records.items() if run.search]
    before = {search: loss for run, loss in trained for search in (run.search, run.own_search)}
    before |= {each.search: records[each.run].validation["before"] for each in searches if each.run in records}
    for each in searches:
        if each.search in before:
            losses = tuple(_loss(each, rate) for rate in scale.rates)
            yield RateLine(each.search.task, each.search.variant, _tried_on(each, scale), before[each.search], losses)


def _tried_on(search: RateSearch, scale: Scale) -> str:
    run = search.run
    method = METHODS[run.method] if run.method else None
    size = f"{method.symbol} = {scaled(scale, run.size)}, " if method is not None and method.size else ""
    return f"{size}seed {run.seed}"


def _loss(search: RateSearch, rate: float) -> str:
    loss = search.by_rate.get(rate)
    if loss is None:
        return ""
    text = f"{loss:.4f}" if math.isfinite(loss) else "diverged"
    return f"**{text}**" if rate == search.chosen else text


def _claim_lines(findings: Sequence[Finding], scale: Scale) -> list[ClaimLine]:
    """One line for each claim and test set."""
    groups: dict[tuple[Claim, Scenes], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.claim, finding.split), []).append(finding)
    return [
        ClaimLine(
            claim.table,
            claim.words,
            " · ".join(row_label(row, EVERY_TABLE[claim.table], scale) for row in (claim.first, claim.second)),
            _multiple(*found[0].parameters),
            SPLIT_NAMES[split],
            tuple(_reading(finding) for finding in found),
        )
        for (claim, split), found in groups.items()
    ]


def _table_readings(findings: Sequence[Finding]) -> list[TableReadings]:
    """One for each table."""
    groups: dict[TableName, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.claim.table, []).append(finding)
    return [
        TableReadings(
            EVERY_TABLE[name].number,
            {words: sum(finding.reading == reading for finding in found) for reading, words in WORDS.items()},
            max(finding.compared for finding in found),
        )
        for name, found in sorted(groups.items())
    ]


def _multiple(first: int, second: int) -> str:
    return f"× {first / second:.2g}" if second else ""


def _reading(finding: Finding) -> str:
    unit = abs(finding.means[1])
    about = [f"{finding.difference / unit:+.1%}"]
    if finding.test is not None and finding.corrected is not None:
        about[0] += f" [{finding.test.low / unit:+.1%}, {finding.test.high / unit:+.1%}]"
        about.append(f"p {p_value(finding.p)}, corrected {p_value(finding.corrected)}")
        about.append(f"power 80 % at {finding.test.detectable() / unit:.1%}")
    if len(finding.by_seed) > 1:
        about.append(f"seeds {min(finding.by_seed) / unit:+.1%} to {max(finding.by_seed) / unit:+.1%}")
    if finding.printed:
        about.append(f"paper: {WORDS[finding.printed]}")
    return f"{METRIC_NAMES[finding.metric]}: {WORDS[finding.reading]} ({'; '.join(about)})"
