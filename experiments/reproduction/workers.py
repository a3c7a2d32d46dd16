"""Where jobs are done: in this process one after the other, in several of their own, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Any, TypeVar

from experiments.models import Base, load_base
from experiments.presets import PRESETS
from experiments.process.compilation_cache import keep_compiled
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.on_ray import Nodes
from experiments.reproduction.processes import Processes
from experiments.reproduction.records import RunRecord
from experiments.reproduction.settings import Settings

R = TypeVar("R")


class Workers:
    """Does jobs, :attr:`at_once` at a time; a context manager, after which nothing runs any more.

    Args:
        settings: what :class:`experiments.reproduction.execution.Execution` takes.
        base: the model that everything starts from.
        reporter: gets a line when a job begins; processes of their own report nothing else.
    """

    def __init__(self, settings: Settings, base: Base, reporter: Reporter = SILENT):
        self._reporter = reporter
        self._here = Execution(settings, base, reporter)
        self.at_once = settings.at_once
        """Number of jobs at a time."""
        self._processes, self._nodes = None, None
        if settings.executor is not None:
            self._nodes = Nodes(settings, settings.executor, reporter)
            self.at_once = self._nodes.at_once
        elif settings.at_once > 1:
            self._processes = Processes(settings.at_once, _begin, settings)

    def validation_loss(self, job: Job) -> Future[float]:
        """See :meth:`experiments.reproduction.execution.Execution.validation_loss`."""
        return self._submit(
            Execution.validation_loss, job, f"{job.run.name}: a learning rate of {job.rate}, to compare"
        )

    def record(self, job: Job) -> Future[RunRecord]:
        """See :meth:`experiments.reproduction.execution.Execution.record`."""
        return self._submit(Execution.record, job, f"{job.run.name}: begun")

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.__exit__(kind, error, traceback)
        if self._nodes is not None:
            self._nodes.close()

    def wait(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Those that are done, at least one."""
        return wait(futures, return_when=FIRST_COMPLETED).done if self._nodes is None else self._nodes.wait(futures)

    def _submit(self, method: Callable[[Execution, Job], R], job: Job, line: str) -> Future[R]:
        if self._nodes is not None:
            self._reporter.info(line)
            return self._nodes.submit(method, job)
        if self._processes is not None:
            self._reporter.info(line)
            return self._processes.submit(_do, method, job)
        done: Future[R] = Future()
        done.set_result(method(self._here, job))
        return done


_execution: Execution | None = None
"""Of a process of its own."""


def _begin(settings: Settings) -> None:
    global _execution
    keep_compiled()
    preset = PRESETS[settings.preset]
    base = load_base(settings.base_weights, preset.rendering.resolution, preset.training)
    _execution = Execution(settings, base)


def _do(method: Callable[[Execution, Job], R], job: Job) -> R:
    assert _execution is not None
    return method(_execution, job)
