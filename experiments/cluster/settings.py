"""Where tasks run."""

from __future__ import annotations

from dataclasses import dataclass

from subspace.errors import InputError

DEFAULT_RETRIES = 3
"""Times that a task begins again after its node was lost."""


@dataclass(frozen=True)
class Ray:
    """Tasks run on the nodes of a Ray cluster, which share the file system of the store and of the output.

    Raises InputError for an address that is none.
    """

    address: str | None = None
    """``HOST:PORT`` of the cluster's head; None for that of ``RAY_ADDRESS``, or else for a cluster of this machine alone, which
    ends with this process."""
    retries: int = DEFAULT_RETRIES
    """Times that a task whose node is lost begins again elsewhere."""
    processes: int = 1
    """Nodes that train and evaluate together, as one job."""

    def __post_init__(self) -> None:
        if self.address is not None:
            host_and_port(self.address)


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of ``HOST:PORT``. Raises InputError for anything else."""
    host, _, port = address.rpartition(":")
    if not host or "//" in host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise InputError(
            f"the address of a Ray cluster is HOST:PORT of its head, such as node0:6379, got {address!r}",
            argument="executor",
        )
    return host.strip("[]"), int(port)
