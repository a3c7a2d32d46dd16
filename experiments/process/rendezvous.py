"""The processes of a job meet before JAX starts: all are there, there are as many as each expects, and they were told the same.

JAX ends a process that waits in vain, without an exception, and does not ask what the others were told.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from subspace.errors import InputError

_LONGEST_LINE = 4096
_PATIENCE_S = 5.0
"""What somebody who connects has to say who he is."""


@dataclass(frozen=True)
class Job:
    """Where the processes of a job meet.

    Raises InputError for numbers that contradict each other.
    """

    coordinator: str
    """Address of the first process, ``HOST:PORT``, which all others can reach; the port must be free there."""
    processes: int
    """Number of processes."""
    process: int
    """Which of them this one is, from 0."""
    timeout: float = 300
    """Seconds after which a process no longer waits for the others."""

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise InputError(
                f"coordinator must be HOST:PORT, such as node0:12345, got {self.coordinator!r}", argument="coordinator"
            )
        if self.processes < 1:
            raise InputError(f"processes must be at least 1, got {self.processes}", argument="processes")
        if not 0 <= self.process < self.processes:
            raise InputError(
                f"process is a number from 0 to {self.processes - 1}, got {self.process}", argument="process"
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def meet(job: Job, told: str = "") -> None:
    """Returns when all processes of the job are there.

    Args:
        job: where.
        told: what all of them must have been told, as text.

    Raises InputError if they do not come in time, or expect another number, or were told something else.
    """
    end = time.monotonic() + job.timeout
    if job.process == 0:
        _receive(job, told, end)
    else:
        _go(job, told, end)


def _receive(job: Job, told: str, end: float) -> None:
    """Wait for the others, and tell all of them how it went."""
    _, port = job.address
    with ExitStack() as stack:
        try:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            server = stack.enter_context(socket.create_server(("", port), family=family, dualstack_ipv6=both))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"coordinator: port {port} of this host cannot be had ({reason}); name another one",
                argument="coordinator",
            ) from None
        come: dict[int, socket.socket] = {}
        guests: list[socket.socket] = []
        problem = None
        while problem is None and len(come) < job.processes - 1:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                other, _ = server.accept()
            except TimeoutError:
                missing = ", ".join(str(number) for number in range(1, job.processes) if number not in come)
                problem = f"process {missing} did not come to {job.coordinator} within {job.timeout:g} s"
                break
            stack.enter_context(other)
            introduction = _introduction(other)
            if introduction is None:  # a stranger
                continue
            processes, process, their = introduction
            if processes != job.processes:
                problem = (
                    f"process {process} was told that there are {processes} processes, process 0 that {job.processes}"
                )
            elif process in come or process == 0:
                problem = f"two processes were told that they are process {process}"
            elif their != told:
                problem = f"process {process} was given other arguments than process 0; all must have the same ones"
            come[process] = other
            guests.append(other)
        for other in guests:
            with suppress(OSError):
                other.sendall(json.dumps(problem).encode() + b"\n")
                other.recv(1)  # until it has hung up, so that JAX can have the port
        if problem is not None:
            raise InputError(problem, argument="coordinator")


def _introduction(other: socket.socket) -> tuple[int, int, str] | None:
    other.settimeout(_PATIENCE_S)
    try:
        content = json.loads(_line(other))
        return int(content["processes"]), int(content["process"]), str(content["told"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _go(job: Job, told: str, end: float) -> None:
    """Go to the first process, say who this is, and hear how it went."""
    why = "not yet tried"
    while True:
        with suppress(InterruptedError):
            try:
                with socket.create_connection(job.address, timeout=_PATIENCE_S) as first:
                    introduction = {"processes": job.processes, "process": job.process, "told": told}
                    first.sendall(json.dumps(introduction).encode() + b"\n")
                    first.settimeout(max(0.01, end - time.monotonic()) + _PATIENCE_S)
                    answer = _line(first)
                problem = json.loads(answer)
                if problem is None:
                    return
                raise InputError(str(problem), argument="coordinator")
            except InputError:
                raise
            except ValueError:
                why = "what answers there is no process 0"
            except OSError as error:
                why = error.strerror or str(error)
        if time.monotonic() > end:
            raise InputError(
                f"the coordinator {job.coordinator} has not answered within {job.timeout:g} s ({why}): is process 0 running "
                "there, and may this host connect to its port?",
                argument="coordinator",
            )
        time.sleep(0.3)


def _line(connection: socket.socket) -> str:
    """What is sent up to the end of a line."""
    found = b""
    while not found.endswith(b"\n") and len(found) < _LONGEST_LINE:
        part = connection.recv(_LONGEST_LINE)
        if not part:
            break
        found += part
    return found.decode(errors="replace")
