"""Jobs of a plan on the nodes of a Ray cluster: each takes all accelerators of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from experiments.cluster.connection import connect
from experiments.cluster.elsewhere import Where, of_one_node, slots
from experiments.cluster.messages import Relay, Shown, look
from experiments.cluster.settings import Ray
from experiments.cluster.tasks import Tasks
from experiments.models import Base, load_base
from experiments.presets import PRESETS
from experiments.process.reporting import SILENT, Reporter
from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.settings import Settings

R = TypeVar("R")

_LOOK_EVERY_S = 1.0


class Nodes:
    """Does jobs on nodes.

    Args:
        settings: what :class:`~experiments.reproduction.execution.Execution` takes.
        cluster: where.
        reporter: is told of progress.
    """

    def __init__(self, settings: Settings, cluster: Ray, reporter: Reporter = SILENT):
        connect(cluster, reporter)
        self._settings, self._where = replace(settings, executor=None), Where.here(settings)
        self._stack = ExitStack()
        self._shown = self._stack.enter_context(Shown(reporter))
        demand = of_one_node()
        self.at_once = max(settings.at_once, slots(demand))
        """Number of jobs at a time."""
        self._tasks = self._stack.enter_context(Tasks(cluster, _do, demand, reporter))

    def submit(self, method: Callable[[Execution, Job], R], job: Job) -> Future[R]:
        """``method`` on a node that is free; LostError if its node was lost too often."""
        rate = "" if job.rate is None else f", {job.rate:g}"
        name = f"{job.run.name}{rate}"
        return self._tasks.submit(self._where, self._settings, method, job, self._shown.board, name)

    def wait(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Those that are done, at least one; what tasks tell is shown meanwhile."""
        while not (done := wait(futures, _LOOK_EVERY_S, FIRST_COMPLETED).done):
            look()
        return done

    def close(self) -> None:
        """Cancel what still runs."""
        self._stack.close()


def _do(where: Where, settings: Settings, method: Callable[[Execution, Job], R], job: Job, board: Any, name: str) -> R:
    where.enter()
    settings = where.stores.here(settings)
    return method(Execution(settings, _base(settings), Relay(board, name)), where.stores.here(job))


@cache
def _base(settings: Settings) -> Base:
    """Of this process, which may do several jobs."""
    preset = PRESETS[settings.preset]
    return load_base(settings.base_weights, preset.rendering.resolution, preset.training)
