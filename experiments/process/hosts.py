"""One job of several processes, usually on several hosts: how they find each other, and who writes.

All of them run the same command on the same files. Devices of all of them work together in training; what is done once (data
sets, results) is done by the first process, while the others wait for it. A job of one process needs none of this, and JAX
is not loaded for it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from experiments.process.rendezvous import Job, meet
from experiments.process.reporting import SILENT, Reporter, console
from subspace.errors import InputError

T = TypeVar("T")

_LONGEST_WORK = 7 * 24 * 3600
"""Seconds that the others wait for what the first process does, such as the rendering of data sets."""


def _number_in(variable: str) -> int:
    text = os.environ.get(variable, "1")
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"the variable {variable} must be the number of processes, got {text!r}")
    return int(text)


_STARTED_BY: Mapping[str, Callable[[], int]] = {
    "Slurm": lambda: _number_in("SLURM_STEP_NUM_TASKS"),
    "Open MPI": lambda: _number_in("OMPI_COMM_WORLD_SIZE"),
    "a TPU slice of GKE": lambda: len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")),
}
"""What starts the processes of a job in a way that JAX knows → their number."""
_joined: list[bool] = []


def join(job: Job | None, told: str = "") -> None:
    """Meet the other processes of the job; to be called before JAX looks for devices.

    Args:
        job: where; None for what Slurm, Open MPI or GKE say in the environment, or else a job of this process alone.
        told: what all processes must have been told, as text.

    Raises InputError if the others do not come in time, are of another number, or were told something else.
    """
    if job is None:
        started_by = next((name for name, count in _STARTED_BY.items() if count() > 1), None)
        if started_by is not None:
            _initialize(f"the processes that {started_by} started")
            check_agreement("their arguments", told)
    elif job.processes > 1:
        meet(job, hashlib.sha256(told.encode()).hexdigest())
        _initialize(
            f"all {job.processes} processes at {job.coordinator}",
            coordinator_address=job.coordinator,
            num_processes=job.processes,
            process_id=job.process,
        )


def _initialize(others: str, **settings: Any) -> None:
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM from ending the process
    try:
        jax.distributed.initialize(**settings, shutdown_timeout_seconds=30)
    except Exception as error:  # of many kinds, with the reason in words
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{others} did not come together: {reason}", argument="coordinator") from error
    _joined.append(True)


def is_joined() -> bool:
    """Whether this process is one of several."""
    return bool(_joined) or _is_initialized()


def _is_initialized() -> bool:
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    if not is_joined():
        return True
    import jax

    return jax.process_index() == 0


def first_console() -> Reporter:
    """:func:`~experiments.process.reporting.console` in the first process; the others say nothing."""
    return console() if is_first() else SILENT


def wait_for_all(what: str) -> None:
    """Returns when all processes are here."""
    if is_joined():
        from orbax.checkpoint import multihost

        multihost.get_barrier_sync_fn()(key=what, timeout_ms=1000 * _LONGEST_WORK)


def after_first(what: str, work: Callable[[], T]) -> T:
    """``work`` done by the first process, and then by the others, which find what it left.

    Raises what ``work`` raises, and InputError in the others if it failed in the first.
    """
    if not is_joined():
        return work()
    if not is_first():
        _hear_of_first(what)
        return work()
    return _tell_others(what, work)


def only_first(what: str, work: Callable[[], object]) -> None:
    """``work`` done by the first process alone; the others go on when it is done. Raises as :func:`after_first`."""
    if not is_joined():
        work()
    elif is_first():
        _tell_others(what, work)
    else:
        _hear_of_first(what)


def _tell_others(what: str, work: Callable[[], T]) -> T:
    try:
        found = work()
    except BaseException:
        _is_well(what, False)
        raise
    _is_well(what, True)
    return found


def _hear_of_first(what: str) -> None:
    if not _is_well(what, True):
        raise InputError(f"the first process of this job has stopped ({what}), and says why")


def _is_well(what: str, own: bool) -> bool:
    """What the first process says, in all of them."""
    from jax.experimental import multihost_utils

    wait_for_all(what)
    return bool(multihost_utils.broadcast_one_to_all(np.array(own)))


def check_agreement(what: str, content: str) -> None:
    """Raises InputError where ``content`` is not the same in all processes."""
    if not is_joined():
        return
    from jax.experimental import multihost_utils

    own = np.frombuffer(hashlib.sha256(content.encode()).digest()[:8], np.uint8).astype(np.int32)
    if (np.asarray(multihost_utils.process_allgather(own)) != own).any():
        raise InputError(f"the processes of this job differ in {what}: give all of them the same arguments and files")


def on_host(tree: Any) -> Any:
    """A tree of arrays as NumPy's, in every process, wherever the arrays live."""
    import jax

    if not is_joined():
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(_whole_of(multihost_utils), tree)


def _whole_of(multihost_utils: Any) -> Callable[[Any], np.ndarray]:
    def whole(leaf: Any) -> np.ndarray:
        if getattr(leaf, "is_fully_addressable", True) or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return whole


def shared_out(items: list[T]) -> list[T]:
    """This process's share of some work."""
    if not is_joined():
        return items
    import jax

    return items[jax.process_index() :: jax.process_count()]


def gathered(own: bytes) -> list[bytes]:
    """What every process gives, in all of them, in their order."""
    if not is_joined():
        return [own]
    from jax.experimental import multihost_utils

    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(own)], np.int32))).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    found = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(found, sizes, strict=True)]
