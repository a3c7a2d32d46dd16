"""The loop that works a plan off: it fills the workers with what comes next, waits, and keeps what was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from experiments.cluster.tasks import LostError
from experiments.data.manifest import Split, Task
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.actions import Action, MakeRecord, PlanState, TryRate
from experiments.reproduction.execution import Job
from experiments.reproduction.inputs import RunInputs
from experiments.reproduction.plan import Run, Subspaces
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import RunRecord
from experiments.reproduction.workers import Workers
from subspace.errors import InputError


@dataclass
class Schedule:
    """Works a plan off."""

    records: RecordFolder
    """Folder of records, with the plan."""
    inputs: RunInputs
    """Maker of data sets and subspaces."""
    reporter: Reporter = SILENT
    """Gets a line when a learning rate is chosen."""
    _validations: dict[Task, Path] = field(default_factory=dict, init=False)
    _folders: dict[tuple[Task, Split] | Subspaces, tuple[Path, ...]] = field(default_factory=dict, init=False)

    def __call__(self, workers: Workers, at_once: int) -> Iterator[tuple[Run, RunRecord]]:
        """The runs that have no record, in the order in which they are finished; each has one then.

        The learning rates of a method are compared, by the loss on validation scenes, before its first run on a task.

        Args:
            workers: do the jobs.
            at_once: number of jobs at a time.

        Raises:
            InputError, OSError: what a job raises, or the making of what it needs; data that are not those of the records; at
                the end, jobs that were lost with their nodes.
        """
        found = self.records.found()
        state = self._first_state(found)
        busy: dict[Future[Any], Action] = {}
        lost: list[Run] = []
        while True:
            while len(busy) < at_once and (action := state.next_action) is not None:
                busy[self._begin(workers, action, found)] = action
                state = state.begun(action)
            if not busy:
                break
            done = workers.wait(busy)
            for future in [future for future in busy if future in done]:
                action = busy.pop(future)
                if isinstance(error := future.exception(), LostError):  # the others go on
                    self.reporter.warning(f"{action.run.name}: {error}")
                    lost.append(action.run)
                    continue
                if isinstance(action, TryRate):
                    state = self._tried(state, action, future.result())
                    continue
                found[action.run] = future.result()
                yield action.run, found[action.run]
        if lost:
            raise InputError(
                f"{len(lost)} jobs were lost with their nodes, such as {lost[0].name}; what was made is kept, and the same "
                "command goes on with the rest",
                argument="executor",
            )

    def register_data(self) -> None:
        """Make the data of the plan's tasks now, and not when they are first needed."""
        tasks: list[Task] = [table.task for table in self.records.plan.tables]
        for task in dict.fromkeys(tasks):
            splits: list[Split] = ["train", *self._test_splits(task)]
            for split in splits:
                self._dataset(task, split)

    def _first_state(self, found: dict[Run, RunRecord]) -> PlanState:
        plan = self.records.plan
        searches = dict.fromkeys(plan.search_of(run) for run in plan.runs if run not in found)
        rates = {search: self.records.chosen(search) for search in searches if search is not None}
        return PlanState.at_first(plan, found, {search: rate for search, rate in rates.items() if rate is not None})

    def _tried(self, state: PlanState, action: TryRate, loss: float) -> PlanState:
        """What follows, with the search written down if it is over."""
        tried = {**state.searches[action.search].losses, action.rate: loss}
        state = state.tried(action, loss)
        if action.search in state.chosen:
            found = self.records.keep_search(action.run, tried)
            self.reporter.info(
                f"{action.search.task}, {action.search.variant}: of the learning rates {', '.join(found.losses)}, "
                f"{found.chosen:g} is the best"
            )
        return state

    def _begin(self, workers: Workers, action: Action, found: Mapping[Run, RunRecord]) -> Future[Any]:
        job = self._job(action.run, action.rate)
        if isinstance(action, MakeRecord):
            return self._kept(action.run, workers.record(job), found)
        return workers.validation_loss(job)

    def _kept(self, run: Run, made: Future[RunRecord], found: Mapping[Run, RunRecord]) -> Future[RunRecord]:
        """Done when the record is written: as soon as it is made, also while this thread makes what another run needs."""
        kept: Future[RunRecord] = Future()

        def keep(done: Future[RunRecord]) -> None:
            try:
                record = done.result()
                self.records.check_data({**found, run: record})
                self.records.keep(run, record)
            except BaseException as error:  # for the thread that waits
                kept.set_exception(error)
            else:
                kept.set_result(record)

        made.add_done_callback(keep)
        return kept

    def _job(self, run: Run, rate: float | None) -> Job:
        """With what it needs made, if it is not there."""
        return Job(
            run=run,
            rate=rate,
            training=None if run.method is None else self._dataset(run.task, "train"),
            tests={split: self._dataset(run.task, split) for split in self._test_splits(run.task)},
            subspaces=() if run.subspaces is None else self._subspaces(run.subspaces),
            validation=self._validation(run.task) if run.method is not None else None,
            rate_from=msgspec.UNSET if run.method is None else self.records.tried_on(run),
        )

    def _test_splits(self, task: Task) -> list[Split]:
        return [split for other, split in self.records.plan.tests if other == task]

    def _dataset(self, task: Task, split: Split) -> Path:
        if (task, split) not in self._folders:
            folder = self.inputs.dataset(task, split)
            self.records.register(task, split, folder, self.inputs.sheet(folder))
            self._folders[task, split] = (folder,)
        return self._folders[task, split][0]

    def _validation(self, task: Task) -> Path | None:
        if self.records.plan.validate_on == "training":
            return None
        if task not in self._validations:
            self._validations[task] = self.inputs.validation(task)
        return self._validations[task]

    def _subspaces(self, wanted: Subspaces) -> tuple[Path, ...]:
        if wanted not in self._folders:
            self._folders[wanted] = self.inputs.subspaces(wanted)
        return self._folders[wanted]
