"""What a plan still needs, in which order, and as many jobs at a time as there are places for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from experiments.data.manifest import Split, Task
from experiments.reproduction import records
from experiments.reproduction.data_sheets import DataSheet, sheet_file
from experiments.reproduction.execution import Job
from experiments.reproduction.plan import Plan, Run, Search, Subspaces, make_plan, run_of
from experiments.reproduction.records import RateSearch, Record, plain, record_file
from experiments.reproduction.rows import TABLES, TableName
from experiments.reproduction.search import first_rates, still_to_compare
from subspace.errors import InputError


class Materials(Protocol):
    """What runs are made from, made when it is first needed (:class:`experiments.reproduction.data.Materials`)."""

    def dataset(self, task: Task, split: Split, /) -> Path:
        """The folder of a task's data set."""
        ...

    def sheet(self, folder: Path, /) -> DataSheet:
        """What a data set shows, see :func:`experiments.reproduction.data_sheets.describe`."""
        ...

    def subspaces(self, wanted: Subspaces, /) -> tuple[Path, ...]:
        """Folders of ``experiments.extract``, one for each attribute."""
        ...


class Places(Protocol):
    """Where jobs are done (:class:`experiments.reproduction.places.Places`)."""

    def validation_loss(self, job: Job, /) -> Future[float]:
        """See :meth:`experiments.reproduction.execution.Execution.validation_loss`."""
        ...

    def record(self, job: Job, /) -> Future[Record]:
        """See :meth:`experiments.reproduction.execution.Execution.record`."""
        ...


@dataclass
class Schedule:
    """Goes through a plan.

    Args:
        plan: what is wanted.
        base: label of the model that everything starts from.
        materials: data sets and subspaces.
        folder: of the records.
        announce: gets a line when something begins.
    """

    plan: Plan
    base: str
    materials: Materials
    folder: Path
    announce: Callable[[str], object]
    _folders: dict[tuple[Task, Split] | Subspaces, tuple[Path, ...]] = field(default_factory=dict, init=False)

    def found(self) -> dict[Run, Record]:
        """The runs that have a record already.

        Raises:
            ValueError: a record that is damaged or of another base model, or two of different data.
            OSError: one that cannot be read.
        """
        read = {run: self._read(run) for run in self.plan.runs}
        found = {run: record for run, record in read.items() if record is not None}
        self._check_data(found)
        return found

    def collected(self) -> tuple[Plan, dict[Run, Record]]:
        """What the folder holds by now, other calls' tables and seeds beside this plan's; raises as :meth:`found` does."""
        seeds = [re.search(r"seed(\d+)$", path.stem) for path in self.folder.glob("*.json")]
        all_seeds = sorted({*self.plan.seeds, *(int(seed[1]) for seed in seeds if seed)})
        scale = self.plan.scale
        found = replace(self, plan=make_plan(list(TABLES), all_seeds, scale)).found()
        names: list[TableName] = [
            name
            for name, table in TABLES.items()
            if table in self.plan.tables
            or any(run_of(row, table, scale, seed) in found for row in table.rows if row.method for seed in all_seeds)
        ]
        return make_plan(names, all_seeds, scale), found

    def __call__(self, places: Places, at_once: int) -> Iterator[tuple[Run, Record]]:
        """The runs that have no record, in the order in which they are finished; each has one then.

        The learning rates of a method are compared, by the loss on validation scenes, before its first run on a task.

        Args:
            places: where jobs are done.
            at_once: jobs.

        Raises:
            ValueError, OSError: what a job raises, or the making of what it needs; data that are not those of the records.
        """
        found = self.found()
        waiting = [run for run in self.plan.runs if run not in found]
        searches = [search for search in dict.fromkeys(run.search for run in waiting) if search is not None]
        rates = {search: self._chosen(search) for search in searches}
        unknown: dict[Search | None, dict[float, float]] = {search: {} for search in searches if rates[search] is None}
        to_try = [
            (search, rate) for search in searches if search in unknown for rate in first_rates(self.plan.scale.rates)
        ]
        busy: dict[Future, Run | tuple[Search, float]] = {}
        while waiting or to_try or busy:
            while len(busy) < at_once:
                ready = next((run for run in waiting if run.search not in unknown), None)
                if to_try and (ready is None or self._is_before(to_try[0][0], ready)):
                    search, rate = to_try.pop(0)
                    busy[places.validation_loss(self._job(self.plan.searches[search], rate))] = search, rate
                elif ready is not None:
                    waiting.remove(ready)
                    search = ready.search
                    busy[places.record(self._job(ready, None if search is None else rates[search]))] = ready
                else:
                    break
            done, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                what = busy.pop(future)
                if isinstance(what, Run):
                    found[what] = future.result()
                    self._check_data(found)
                    records.write(record_file(self.folder, what), found[what])
                    yield what, found[what]
                    continue
                search, rate = what
                losses = unknown[search]
                losses[rate] = future.result()
                going_on = [*to_try, *(other for other in busy.values() if not isinstance(other, Run))]
                if all(other != search for other, _ in going_on):
                    more = still_to_compare(self.plan.scale.rates, losses)
                    to_try[:0] = [(search, each) for each in more]
                    if not more:
                        rates[search] = self._choose(search, unknown.pop(search))

    def _is_before(self, search: Search, run: Run) -> bool:
        """Whether a run that waits for the search comes before ``run`` in the plan."""
        order = self.plan.runs
        return order.index(self.plan.searches[search]) < order.index(run)

    def _job(self, run: Run, rate: float | None) -> Job:
        """With what it needs made, if it is not there."""
        splits: list[Split] = [split for task, split in self.plan.tests if task == run.task]
        trains = run.method is not None
        return Job(
            run=run,
            rate=rate,
            training=self._dataset(run.task, "train") if trains else None,
            tests={split: self._dataset(run.task, split) for split in splits},
            subspaces=() if run.subspaces is None else self._subspaces(run.subspaces),
        )

    def _dataset(self, task: Task, split: Split) -> Path:
        if (task, split) not in self._folders:
            folder = self.materials.dataset(task, split)
            self._register(task, split, folder)
            self._folders[task, split] = (folder,)
        return self._folders[task, split][0]

    def _subspaces(self, wanted: Subspaces) -> tuple[Path, ...]:
        if wanted not in self._folders:
            self._folders[wanted] = self.materials.subspaces(wanted)
        return self._folders[wanted]

    def _chosen(self, search: Search) -> float | None:
        """The rate of a search that was made; where there is one rate, there is nothing to search."""
        rates = self.plan.scale.rates
        if len(rates) == 1:
            return rates[0]
        found: RateSearch | None = records.read(self._search_file(search), RateSearch)
        return found.chosen if found is not None and found.is_among(rates) else None

    def _choose(self, search: Search, compared: Mapping[float, float]) -> float:
        losses = {f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in sorted(compared.items())}
        found = RateSearch(run=plain(self.plan.searches[search]), losses=losses)
        self.announce(
            f"{search[0]}, {search[1]}: of the learning rates {', '.join(losses)}, {found.chosen:g} is the best"
        )
        records.write(self._search_file(search), found)
        return found.chosen

    def _search_file(self, search: Search) -> Path:
        return self.folder / f"{records.RATES}_{search[0]}_{search[1]}.json"

    def _read(self, run: Run) -> Record | None:
        path = record_file(self.folder, run)
        found: Record | None = records.read(path, Record)
        if found is None:
            return None
        for name, made, wanted in (
            ("run", found.run, plain(run)),
            ("sizes", found.sizes, self.plan.scale.sizes(run.method, run.size)),
            ("base model", found.base, self.base),
        ):
            if made != wanted:
                raise InputError(f"{path} is of another {name}: {made}, not {wanted}; name another --output")
        missing = {split for task, split in self.plan.tests if task == run.task} - found.tests.keys()
        return None if missing else found

    def _check_data(self, found: Mapping[Run, Record]) -> None:
        """Raises ValueError if runs of one task were trained or tested on different data sets."""
        known: dict[tuple[Task, str], tuple[Path, tuple[str, ...]]] = {}
        for run, record in found.items():
            for split, sha256 in record.data.items():
                path, expected = record_file(self.folder, run), (sha256,)
                if (run.task, split) not in known:
                    sheet = self._sheet(run.task, split)
                    first = (
                        (path, expected) if sheet is None else (sheet_file(self.folder, run.task, split), sheet.sha256)
                    )
                    known[run.task, split] = first
                other, expected = known[run.task, split]
                if sha256 not in expected:
                    raise InputError(
                        f"{other} and {path} are of different data ({run.task}, {split}); delete the one that is out of date"
                    )

    def _register(self, task: Task, split: Split, folder: Path) -> None:
        """Raises ValueError if the data set is not the one that the records are of."""
        path = sheet_file(self.folder, task, split)
        kept, made = self._sheet(task, split), self.materials.sheet(folder)
        try:
            sheet = made if kept is None else kept.joined(made)
        except ValueError as error:
            raise InputError(f"{folder} is other data than {path} says: {error}; name another --output") from None
        if sheet != kept:
            for run, record in self.found().items():
                if run.task == task and record.data.get(split, made.sha256[0]) not in sheet.sha256:
                    record_path = record_file(self.folder, run)
                    raise InputError(f"{record_path} is of other data than {folder}; name another --output")
            records.write(path, sheet)

    def _sheet(self, task: Task, split: str) -> DataSheet | None:
        return records.read(sheet_file(self.folder, task, split), DataSheet)
