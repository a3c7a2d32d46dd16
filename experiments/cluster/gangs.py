"""Several nodes that do one job together, as processes that ``jax.distributed`` joins; Ray places them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from experiments.cluster import messages
from experiments.cluster.connection import alive_nodes
from experiments.cluster.settings import Ray
from experiments.cluster.tasks import Demand, LostError
from experiments.process import hosts
from experiments.process.rendezvous import Job
from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError

R = TypeVar("R")

_WAIT_S = 1.0
_SETTLE_S = 15.0
"""After the first member has failed: those whose partner died fail, too, and who died is what counts."""
_JOIN_S = 300.0


class _Member:
    """An actor: one process of the job, new, as JAX must hear of the others before it looks for devices."""

    def address(self) -> str:
        """Of a port that is free here."""
        import ray

        with socket.create_server(("", 0)) as server:
            return f"{ray.util.get_node_ip_address()}:{server.getsockname()[1]}"

    def work(self, job: Job, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
        hosts.join(job)
        return function(*arguments)


def check_nodes(cluster: Ray, demand: Demand) -> None:
    """Raises InputError unless there are as many nodes as a job is to have."""
    if (able := _able(demand)) < cluster.processes:
        raise InputError(
            f"processes={cluster.processes} need a node each, and the Ray cluster has {able} that can take one",
            argument="processes",
        )


def together(
    cluster: Ray, function: Callable[..., R], arguments: tuple[object, ...], demand: Demand, reporter: Reporter = SILENT
) -> R:
    """What a function returns in the first of ``cluster.processes`` processes, which all call it, each on a node of its own.

    If one of them is lost, all begin again, at most ``cluster.retries`` times. What they tell is shown meanwhile.

    Args:
        cluster: that this process is connected to.
        function: of a module.
        arguments: and its result can be pickled.
        demand: of each process.
        reporter: is told of losses.

    Raises what the function raises, LostError after too many losses, and InputError if there are too few nodes.
    """
    lost: Exception | None = None
    for attempt in range(cluster.retries + 1):
        if attempt:
            reporter.warning(f"a process of the job was lost ({_reason(lost)}); all of them begin again")
        check_nodes(cluster, demand)
        try:
            return _try(cluster.processes, function, arguments, demand)
        except _Loss as error:
            lost = error
    raise LostError(f"a process of the job was lost {cluster.retries + 1} times: {_reason(lost)}", argument="executor")


class _Loss(Exception):
    """A process or its node is no more."""


def _reason(error: Exception | None) -> str:
    return str(error).strip().partition("\n")[0]


def _able(demand: Demand) -> int:
    wanted: Mapping[str, float] = {"CPU": demand.cpus, "GPU": demand.gpus, **demand.others}
    return sum(all(node["Resources"].get(kind, 0) >= n for kind, n in wanted.items()) for node in alive_nodes())


def _try(processes: int, function: Callable[..., R], arguments: tuple[object, ...], demand: Demand) -> R:
    import ray
    from ray.exceptions import RayError
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    bundle = {"CPU": demand.cpus, **({"GPU": demand.gpus} if demand.gpus else {}), **demand.others}
    group = placement_group([bundle] * processes, strategy="STRICT_SPREAD")
    members: list[Any] = []
    try:
        while not group.wait(_WAIT_S):
            messages.look()
            if _able(demand) < processes:
                raise _Loss("a node is gone")
        actor: Any = ray.remote(_Member)
        for number in range(processes):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            options = {**demand.options, "max_restarts": 0, "scheduling_strategy": place}
            members.append(actor.options(**options).remote())
        coordinator: Any = ray.get(members[0].address.remote())
        running = [
            member.work.remote(Job(coordinator, processes, number, _JOIN_S), function, arguments)
            for number, member in enumerate(members)
        ]
        return _result(running)
    except RayError as error:
        raise _Loss(str(error)) from error
    finally:
        for member in members:
            ray.kill(member)
        remove_placement_group(group)


def _result(running: list[Any]) -> Any:
    """The first one's, once all are done."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    failed: dict[int, Exception] = {}
    waiting = list(running)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=_SETTLE_S if failed else _WAIT_S)
        messages.look()
        if failed and not done:
            break
        for each in done:
            try:
                ray.get(each)
            except RayError as error:
                failed[running.index(each)] = error
    for error in failed.values():
        if not isinstance(error, RayTaskError):
            raise error
    if failed:
        error = failed[min(failed)]
        assert isinstance(error, RayTaskError)
        if isinstance(error.cause, BaseException):
            raise error.cause from None
        raise RuntimeError(str(error))
    return ray.get(running[0])
