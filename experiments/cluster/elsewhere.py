"""The work of a whole pipeline, done by one node of a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from experiments.cluster import versions
from experiments.cluster.connection import alive_nodes, connect
from experiments.cluster.gangs import together
from experiments.cluster.messages import Relay, Shown
from experiments.cluster.settings import Ray
from experiments.cluster.stores import Stores
from experiments.cluster.tasks import Demand, LostError, Tasks
from experiments.process.hosts import is_first
from experiments.process.reporting import SILENT, Reporter
from subspace import environment
from subspace.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """Where results lie."""

    path: Path
    """Their folder."""


class _Ready(Protocol):
    @property
    def results(self) -> Any: ...

    def run(self) -> Any: ...

    def run_if_new(self) -> Any: ...


@dataclass(frozen=True)
class Where:
    """What a task needs to know of the process that began it."""

    folder: Path
    """That relative paths begin in."""
    versions: Mapping[str, str]
    """What every node must run."""
    stores: Stores
    """What the task's paths lie in; with any, no file system need be shared."""

    @classmethod
    def here(cls, *values: object) -> Where:
        """This process, with the stores of some values."""
        return cls(Path.cwd(), versions.here(), Stores.of(*values))

    def enter(self) -> None:
        """Go there in a task's process, and get JAX ready as commands do.

        Raises InputError for other versions or another file system.
        """
        versions.check(self.versions)
        if not self.folder.is_dir() and not self.stores.folders:
            raise InputError(
                f"{socket.gethostname()} does not see {self.folder}: it must lie on a file system that all nodes share",
                argument="executor",
            )
        with suppress(FileNotFoundError):
            os.chdir(self.folder)
        from experiments.process.compilation_cache import keep_compiled

        environment.restore_pool()
        keep_compiled()


def of_one_node() -> Demand:
    """All accelerators of a node that trains; without any in the cluster, all cores of a node."""
    nodes = [node["Resources"] for node in alive_nodes()]
    for kind in ("GPU", "TPU"):
        if each := [node[kind] for node in nodes if node.get(kind)]:
            return Demand(1, gpus=min(each)) if kind == "GPU" else Demand(1, others={kind: min(each)})
    return Demand(min((node["CPU"] for node in nodes if node.get("CPU")), default=1))


def slots(demand: Demand) -> int:
    """Tasks that the nodes can do at a time, at least 1."""
    wanted = {"CPU": demand.cpus, "GPU": demand.gpus, **demand.others}
    resources = [node["Resources"] for node in alive_nodes()]
    return max(1, sum(min(int(own.get(kind, 0) / n) for kind, n in wanted.items() if n) for own in resources))


class Elsewhere(Generic[T]):
    """What a pipeline is about to do on a node, with all accelerators there; used as a pipeline's ``Ready``.

    Args:
        cluster: where.
        ready: of the pipeline, a function of a module.
        settings: of the pipeline, which can be pickled.
        name: what is told of it begins with this.
        reporter: is told of progress.
    """

    def __init__(
        self,
        cluster: Ray,
        ready: Callable[[Any, Reporter], _Ready],
        settings: Any,
        name: str,
        reporter: Reporter = SILENT,
    ):
        self._cluster, self._ready, self._settings = cluster, ready, settings
        self._name, self._reporter = name, reporter
        self._results: Results | None = None

    @property
    def results(self) -> Results:
        """Where they are, once they are there."""
        assert self._results is not None
        return self._results

    def run(self) -> T:
        """What the pipeline makes; raises what it raises, and InputError if its node was lost too often."""
        return self._done(only_if_new=False)

    def run_if_new(self) -> T | None:
        """The same, or None where the results are there and stay."""
        return self._done(only_if_new=True)

    def _done(self, only_if_new: bool) -> Any:
        connect(self._cluster, self._reporter)
        where = Where.here(self._settings)
        with Shown(self._reporter) as shown:
            found = self._done_by_nodes(
                (where, self._ready, self._settings, shown.board, self._name, only_if_new), where.stores
            )
        if isinstance(found, LostError):
            raise LostError(f"{self._name}: {found}", argument="executor")
        made, results = where.stores.arrived(found)
        if not results.path.exists():
            raise InputError(
                f"the results are in {results.path} of a node, which is not seen here: it must lie on a file system that "
                "all nodes share",
                argument="output",
            )
        self._results = results
        return made

    def _done_by_nodes(self, call: tuple[object, ...], stores: Stores) -> Any:
        demand = of_one_node()
        if self._cluster.processes > 1:
            check_one_file_system(stores)
            return together(self._cluster, _do, call, demand, self._reporter)
        with Tasks(self._cluster, _do, demand, self._reporter) as tasks:
            tasks.begin(self._name, *call)
            while not (done := tasks.next(1.0)):
                pass
        return done[0][1]


def check_one_file_system(stores: Stores) -> None:
    """InputError for a store by its address, where processes of one job write and read the same checkpoints."""
    if stores.folders:
        raise InputError(
            "processes of one job work in one folder that all of them see: name such a folder as the store, not an address",
            argument="store",
        )


def relay(board: Any, name: str) -> Reporter:
    """The reporter of a task; of several processes of one job the first one reports."""
    return Relay(board, name) if is_first() else SILENT


def _do(
    where: Where,
    ready: Callable[[Any, Reporter], _Ready],
    settings: Any,
    board: Any,
    name: str,
    only_if_new: bool,
) -> tuple[Any, Results]:
    where.enter()
    work = ready(where.stores.here(settings), relay(board, name))
    made = work.run_if_new() if only_if_new else work.run()
    return where.stores.there((made, Results(Path(work.results.path))))
