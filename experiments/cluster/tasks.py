"""Many tasks on a cluster: plain data go in, plain data come back, and a task outlives the node that it began on.

Ray begins a task again elsewhere if its process or its node is lost, so that a task must find what an earlier try left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from experiments.cluster import messages
from experiments.cluster.connection import alive_nodes
from experiments.cluster.settings import Ray
from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError

J = TypeVar("J")
R = TypeVar("R")

_WAIT_S = 1.0
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Demand:
    """What a task needs of its node."""

    cpus: float = 1
    """Cores."""
    gpus: float = 0
    """Accelerators that Ray calls GPUs."""
    memory: int = 0
    """Bytes, 0 where that does not matter."""
    others: Mapping[str, float] = field(default_factory=dict)
    """Resources that nodes were started with, such as ``blender``."""

    @property
    def options(self) -> dict[str, Any]:
        """In Ray's words."""
        memory = {"memory": self.memory} if self.memory else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": dict(self.others), **memory}


class LostError(InputError):
    """A task whose node or process was lost as often as it may be."""


class Tasks:
    """Runs one function on many arguments; a context manager, after which none of its tasks runs any more.

    Args:
        cluster: that this process is connected to.
        function: of a module, with arguments and results that can be pickled.
        demand: what each call needs.
        reporter: is told of nodes that are lost.
    """

    def __init__(self, cluster: Ray, function: Callable[..., R], demand: Demand, reporter: Reporter = SILENT):
        import ray

        self._remote = ray.remote(function).options(max_retries=cluster.retries, **demand.options)
        self._retries, self._reporter = cluster.retries, reporter
        self._nodes = {str(node["NodeID"]): str(node["NodeManagerHostname"]) for node in alive_nodes()}
        self._looked = time.monotonic()
        self._running: dict[Any, Any] = {}
        self._futures: dict[Any, Future[Any]] = {}

    def __enter__(self) -> Tasks:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for reference in [*self._running, *self._futures]:
            ray.cancel(reference, force=True)
        self._running.clear()
        self._look(now=True)

    def __len__(self) -> int:
        """Number of tasks that have not come back."""
        return len(self._running)

    def begin(self, job: object, *arguments: object) -> None:
        """Have ``function(*arguments)`` called; what comes back is told apart by ``job``."""
        self._running[self._remote.remote(*arguments)] = job

    def submit(self, *arguments: object) -> Future[Any]:
        """The same, as a future, whose result or exception is the function's, or :class:`LostError`."""
        made: Future[Any] = Future()
        reference = self._remote.remote(*arguments)
        self._futures[reference] = made

        def settle(done: Future[Any]) -> None:
            self._futures.pop(reference, None)
            try:
                found = self._outcome(done.result)
            except BaseException as error:
                made.set_exception(error)
            else:
                if isinstance(found, LostError):
                    made.set_exception(found)
                else:
                    made.set_result(found)

        reference.future().add_done_callback(settle)
        return made

    def next(self, seconds: float | None = None) -> list[tuple[Any, Any]]:
        """(job, its result or :class:`LostError`) of the tasks that are back, at least one unless ``seconds`` have passed.

        What tasks tell is shown meanwhile. Raises what the function raised.
        """
        import ray

        self._look()
        messages.look()
        if not self._running:
            return []
        references = list(self._running)
        done, _ = ray.wait(references, num_returns=1, timeout=seconds, fetch_local=True)
        if done:  # others may have come back with it
            done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [(self._running.pop(each), self._outcome(partial(ray.get, each))) for each in done]

    def _look(self, now: bool = False) -> None:
        """Tell of nodes that are no more."""
        if not now and time.monotonic() < self._looked + _LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        nodes = {str(node["NodeID"]): str(node["NodeManagerHostname"]) for node in alive_nodes()}
        for lost in self._nodes.keys() - nodes.keys():
            self._reporter.warning(f"node {self._nodes[lost]} is lost; what it was at begins again elsewhere")
        self._nodes = nodes

    def _outcome(self, get: Callable[[], Any]) -> Any:
        """The result, or :class:`LostError`; raises what the function raised."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return get()
        except RayTaskError as error:
            if isinstance(error.cause, BaseException):
                raise error.cause from None
            raise
        except RayError as error:
            words = str(error).strip().splitlines()
            times = f"{self._retries + 1} times" if self._retries else "once"
            reason = f"{type(error).__name__}, {words[0] if words else 'no reason'}"
            return LostError(f"its node or process was lost {times}: {reason}", argument="executor")


def in_order(
    tasks: Tasks, calls: Iterable[tuple[J, tuple[object, ...]]], at_once: Callable[[], int]
) -> Iterator[tuple[J, Any]]:
    """(job, result or :class:`LostError`) as they come; calls are taken when there is room for them.

    Args:
        tasks: run them.
        calls: job and arguments.
        at_once: tasks that may run or wait at a time, asked now and then, as clusters grow.
    """
    calls = iter(calls)
    more = True
    while more or len(tasks):
        most = max(1, at_once())
        while more and len(tasks) < most:
            call = next(calls, None)
            if call is None:
                more = False
            else:
                tasks.begin(call[0], *call[1])
        yield from tasks.next(_WAIT_S)
