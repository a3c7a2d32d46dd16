"""From settings to tables: what has no record is run, and the tables are written anew after every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.models import Base, load_base
from experiments.presets import PRESETS
from experiments.process.memory import free_on_host, in_gib
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.claims import Finding, examine
from experiments.reproduction.cost import Cost, describe
from experiments.reproduction.inputs import RunInputs
from experiments.reproduction.plan import Plan, Run
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import RunRecord, read_searches, record_file, search_file
from experiments.reproduction.results import PAGE, check_folder, write_results
from experiments.reproduction.schedule import Schedule
from experiments.reproduction.settings import Settings
from experiments.reproduction.tables import MeasuredTable, measure
from experiments.reproduction.workers import Workers
from experiments.storage.locks import alone
from subspace.errors import InputError
from vggt_jax.atomic import check_writable
from weights_convert import read_config
from weights_convert.sources import HUB

_BYTES_AT_ONCE = 500_000_000
"""Of a process that fine-tunes nano, at least."""


@dataclass(frozen=True, eq=False)
class Reproduced:
    """Tables of which every row has been run."""

    folder: Path
    """Folder of the tables, the page and the records."""
    page: Path
    """Page with all tables and claims that the folder has records for."""
    tables: tuple[MeasuredTable, ...]
    """The tables that were asked for, with all seeds that the folder has records for."""
    findings: tuple[Finding, ...]
    """What the runs say about the claims that these tables make."""
    shown: Plan
    """All tables and seeds on the page."""
    records: Mapping[Run, RunRecord]
    """Everything that was measured for the page."""


def check_given(settings: Settings) -> None:
    """Raises InputError for a folder that cannot be completed, or a base model that is not there."""
    check_folder(settings.folder, settings.records, settings.overwrite)
    if not settings.base_weights.startswith(HUB):
        read_config(settings.base_weights)


def check(settings: Settings) -> None:
    """Raises what :func:`reproduce` would raise before it does or fetches anything: folder, base model, missing packages."""
    plan = settings.plan
    check_given(settings)
    check_writable(settings.records / "record")
    free = free_on_host()
    if settings.at_once > 1 and free is not None and settings.at_once * _BYTES_AT_ONCE > free:
        raise InputError(
            f"at_once={settings.at_once} fine-tunings need {in_gib(settings.at_once * _BYTES_AT_ONCE)} of memory at least, "
            f"{in_gib(free)} are free",
            argument="at_once",
        )
    if not all(record_file(settings.records, run).exists() for run in plan.runs):
        RunInputs(settings).check(plan)


def left(settings: Settings) -> Cost:
    """What :func:`reproduce` would still have to run; nothing is fetched or written.

    Raises what :func:`check_given` raises, and InputError for records that :func:`reproduce` would refuse, of another base
    model for example. Records beside a model of the Hugging Face Hub are taken for that model's.
    """
    check_given(settings)
    plan, folder = settings.plan, settings.records
    runs = frozenset(run for run in plan.runs if record_file(folder, run).exists())
    searches = frozenset(search for search in plan.searches if search_file(folder, search).exists())
    if not runs | searches or settings.base_weights.startswith(HUB):
        return Cost(plan, runs, searches)
    records = _records(settings, _base(settings))
    return records.left(records.found())


def reproduce(
    settings: Settings, reporter: Reporter = SILENT, *, command: str = "experiments.reproduction.reproduce"
) -> Reproduced:
    """Run what has no record yet, and write tables and page.

    Args:
        settings: which tables, and where.
        reporter: hears of what begins and ends.
        command: what the page says that it was made by.

    Raises:
        InputError: what is wrong with records, data or weights.
        OSError: a file or folder that cannot be read or written.
    """
    check(settings)
    with alone(settings.folder, reporter, inside=True):
        return _reproduce(settings, reporter, command)


def _reproduce(settings: Settings, reporter: Reporter, command: str) -> Reproduced:
    plan, base = settings.plan, _base(settings)
    inputs = RunInputs(settings, reporter)
    settings.records.mkdir(parents=True, exist_ok=True)  # now, not after the first run
    records = _records(settings, base)
    schedule = Schedule(records, inputs, reporter)
    if settings.overwrite:  # which shows what records are of other data
        schedule.register_data()
    shown, done = records.collected()

    def write() -> None:
        write_results(
            settings.folder,
            shown,
            done,
            read_searches(settings.records),
            command,
            replace(records, plan=shown).recorded(),
        )

    cost = records.left(done)
    for line in describe(cost):
        reporter.info(line)
    with (
        reporter.progress(len(plan.runs), "run", "runs", initial=len(plan.runs) - len(cost.runs)) as bar,
        Workers(settings, base, reporter) as workers,
    ):
        for run, record in schedule(workers, workers.at_once):
            done[run] = record
            bar.update()
            write()
    write()
    return Reproduced(
        settings.folder,
        settings.folder / PAGE,
        tuple(measure(table, plan.scale, shown.seeds, done, plan.minings) for table in plan.tables),
        tuple(examine(plan.scale, shown.seeds, done, settings.tables, plan.minings)),
        shown,
        done,
    )


def _base(settings: Settings) -> Base:
    preset = PRESETS[settings.preset]
    return load_base(settings.base_weights, preset.rendering.resolution, preset.training)


def _records(settings: Settings, base: Base) -> RecordFolder:
    return RecordFolder(settings.plan, base.label, settings.records, base.weights, settings.overwrite)
