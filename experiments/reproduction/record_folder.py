"""The records of a results folder: what it has of a plan, and whether that belongs together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from experiments.data.manifest import Split, Task
from experiments.reproduction import records
from experiments.reproduction.cost import Cost
from experiments.reproduction.data_sheets import DataSheet, sheet_file
from experiments.reproduction.plan import Plan, RatesFor, Run, Search, make_plan, run_of
from experiments.reproduction.records import RateSearch, RunRecord, record_file, search_file
from experiments.reproduction.rows import BASE, CONSTANT, CONTROLS, EVERY_TABLE, TABLES, Row, TableName
from experiments.reproduction.scale import sizes
from subspace.errors import InputError


@dataclass(frozen=True)
class RecordFolder:
    """Reads and writes the records of a plan."""

    plan: Plan
    """What is wanted."""
    base: str
    """Label of the model that everything starts from."""
    folder: Path
    """Folder of the records."""
    weights: str | None = None
    """Digest of all parameters of that model; None compares none."""
    overwrite: bool = False
    """Records that are damaged, or of another model, other settings or other data, count as missing; else they are refused."""

    def found(self) -> dict[Run, RunRecord]:
        """The runs that have a record.

        Raises:
            InputError: a record that is damaged or of another base model, or two of different data.
            OSError: one that cannot be read.
        """
        read = {run: self._read(run) for run in self.plan.runs}
        found = {run: record for run, record in read.items() if record is not None}
        if self.overwrite:
            found = {run: record for run, record in found.items() if self._is_of_known_data(record)}
        self.check_data(found)
        return found

    def collected(self) -> tuple[Plan, dict[Run, RunRecord]]:
        """What the folder holds by now, other calls' tables and seeds beside this plan's; raises as :meth:`found` does."""
        seeds = sorted({*self.plan.seeds, *self._seeds()})
        scale, minings = self.plan.scale, self.plan.minings
        how = (scale, minings, self.plan.rates_for, self.plan.validate_on)
        found = replace(self, plan=make_plan(list(EVERY_TABLE), seeds, *how)).found()
        names: list[TableName] = [
            name
            for name, table in EVERY_TABLE.items()
            if table in self.plan.tables
            or any(run_of(row, table, scale, seed, minings) in found for row in _own_rows(name) for seed in seeds)
        ]
        return make_plan(names, seeds, *how), found

    def left(self, found: Collection[Run]) -> Cost:
        """What the plan still costs, where ``found`` are the runs that have a record."""
        chosen = frozenset(search for search in self.plan.searches if self.chosen(search) is not None)
        return Cost(self.plan, frozenset(found), chosen)

    def keep(self, run: Run, record: RunRecord) -> None:
        """Write a record."""
        records.write(record_file(self.folder, run), record)

    def chosen(self, search: Search) -> float | None:
        """The rate of a search that was made; where there is one rate, there is nothing to search."""
        rates = self.plan.scale.rates
        if len(rates) == 1:
            return rates[0]
        found = self._read_search(search)
        if found is None or not found.is_among(rates) or found.validated_on != self._validated_on:
            return None
        return found.chosen

    def recorded(self) -> dict[tuple[Task, str], str]:
        """The plan's data sets that are the user's own recordings → what they are; raises as :meth:`found` does."""
        splits = [*dict.fromkeys((table.task, "train") for table in self.plan.tables), *self.plan.tests]
        sheets = {key: self._sheet(*key) for key in splits}
        return {
            key: sheet.recorded for key, sheet in sheets.items() if sheet is not None and sheet.recorded is not None
        }

    def tried_on(self, run: Run) -> str | msgspec.UnsetType:
        """Name of the run on which the rate of ``run`` was found the best; unset where there was no search."""
        search = self.plan.search_of(run)
        found = None if search is None else self._read_search(search)
        return msgspec.UNSET if found is None or len(self.plan.scale.rates) == 1 else found.run.name

    @property
    def _validated_on(self) -> Literal["test"] | msgspec.UnsetType:
        return "test" if self.plan.validate_on == "test" else msgspec.UNSET

    def keep_search(self, run: Run, losses: Mapping[float, float]) -> RateSearch:
        """Write the losses (infinite where training diverged) that ``run`` came to with several rates."""
        found = RateSearch(
            run=run,
            losses={f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in sorted(losses.items())},
            rates_for="row" if self.plan.rates_for == "row" else msgspec.UNSET,
            validated_on=self._validated_on,
            base=self.base,
            weights=self._weights,
            data=msgspec.UNSET if (sheet := self._sheet(run.task, "train")) is None else sheet.sha256,
        )
        records.write(search_file(self.folder, found.search), found)
        return found

    def register(self, task: Task, split: Split, folder: Path, made: DataSheet) -> None:
        """Keep what a data set shows; raises InputError if it is not the one that the records are of."""
        path = sheet_file(self.folder, task, split)
        kept = self._sheet(task, split)
        try:
            sheet = made if kept is None else kept.joined(made)
        except InputError as error:
            if not self.overwrite:
                raise _refused(f"{folder} is other data than {path} says: {error}") from None
            sheet = made
        if sheet == kept:
            return
        for run, record in {} if self.overwrite else self.found().items():
            if run.task == task and record.data.get(split, made.sha256[0]) not in sheet.sha256:
                raise _refused(f"{record_file(self.folder, run)} is of other data than {folder}")
        records.write(path, sheet)

    def check_data(self, found: Mapping[Run, RunRecord]) -> None:
        """Raises InputError if runs of one task were trained or tested on different data sets."""
        known: dict[tuple[Task, str], tuple[Path, tuple[str, ...]]] = {}
        for run, record in found.items():
            path = record_file(self.folder, run)
            for split, sha256 in record.data.items():
                if (run.task, split) not in known:
                    sheet = self._sheet(run.task, split)
                    known[run.task, split] = (
                        (path, (sha256,)) if sheet is None else (sheet_file(self.folder, run.task, split), sheet.sha256)
                    )
                other, expected = known[run.task, split]
                if sha256 not in expected:
                    raise InputError(
                        f"{other} and {path} are of different data ({run.task}, {split}); delete the one that is out of date"
                    )

    def _seeds(self) -> Iterator[int]:
        """Seeds of all fine-tunings that have a record."""
        for path in records.run_files(self.folder):
            record = self._read_record(path)
            if record is not None and record.run.method is not None:
                yield record.run.seed

    @property
    def _weights(self) -> str | msgspec.UnsetType:
        return msgspec.UNSET if self.weights is None else self.weights

    def _read_search(self, search: Search) -> RateSearch | None:
        """A search of this model and on these data; else None, or an error."""
        path = search_file(self.folder, search)
        try:
            found = records.read(path, RateSearch)
        except InputError:
            if self.overwrite:
                return None
            raise
        if found is None:
            return None
        sheet = self._sheet(search.task, "train")
        is_of_data = found.data is msgspec.UNSET or sheet is None or not {*found.data}.isdisjoint(sheet.sha256)
        for name, same in (
            ("another base model", _is_same(found.base, self.base) and _is_same(found.weights, self._weights)),
            ("other data", is_of_data),
        ):
            if not same and not self.overwrite:
                raise _refused(f"{path} is of {name}")
            if not same:
                return None
        return found

    def _read(self, run: Run) -> RunRecord | None:
        """The record of a run, complete and as it would be made now; else None, or an error."""
        path = record_file(self.folder, run)
        record = self._read_record(path)
        if record is None:
            return None
        for name, made, wanted in (
            ("run", record.run, run),
            ("sizes", record.sizes, sizes(self.plan.scale, run.method, run.size)),
            ("base model", record.base, self.base),
            ("base model in its heads", record.weights, self._weights),
        ):
            if _is_same(made, wanted):
                continue
            if self.overwrite:
                return None
            raise _refused(f"{path} is of another {name}: {made}, not {wanted}")
        if (wanted := self._wrong_rate(run, record)) is not None:
            if self.overwrite:
                return None
            raise _refused(f"{path} has a learning rate that was not searched for its {wanted}")
        if run.method is not None and record.validated_on != self._validated_on:
            if self.overwrite:
                return None
            raise _refused(f"{path} was validated on other scenes")
        missing = {split for task, split in self.plan.tests if task == run.task} - record.tests.keys()
        return None if missing else record

    def _wrong_rate(self, run: Run, record: RunRecord) -> RatesFor | None:
        """What the rate of a record should have been searched for, where it was not."""
        search = self.plan.search_of(run)
        if search is None or len(self.plan.scale.rates) == 1:
            return None
        if self.plan.rates_for == "row":
            return None if record.rate_from == run.first.name else "row"
        if record.rate_from in (msgspec.UNSET, self.plan.searches[search].name):
            return None
        return None if record.rate_from == self.tried_on(run) else "method"

    def _read_record(self, path: Path) -> RunRecord | None:
        try:
            return records.read(path, RunRecord)
        except InputError:
            if self.overwrite:
                return None
            raise

    def _is_of_known_data(self, record: RunRecord) -> bool:
        sheets = {split: self._sheet(record.run.task, split) for split in record.data}
        return all(sheet is None or record.data[split] in sheet.sha256 for split, sheet in sheets.items())

    def _sheet(self, task: Task, split: str) -> DataSheet | None:
        return records.read(sheet_file(self.folder, task, split), DataSheet)


def _own_rows(name: TableName) -> list[Row]:
    """The rows of a table that show that it was asked for: of the controls those that no table of the paper has, and of these
    those that the controls do not have."""
    table = EVERY_TABLE[name]
    if table.is_papers:
        shared = {BASE, CONSTANT, *(CONTROLS.rows if table.task == CONTROLS.task else ())}
        return [row for row in table.rows if row not in shared]
    papers = {row.method for each in TABLES.values() for row in each.rows}
    return [row for row in table.rows if row.method not in papers]


def _is_same(made: object, wanted: object) -> bool:
    """Whether two entries of records agree, as far as both are known."""
    return made == wanted or msgspec.UNSET in (made, wanted)


def _refused(what: str) -> InputError:
    return InputError(f"{what}; name another folder of results, or ask to overwrite these", argument="overwrite")
