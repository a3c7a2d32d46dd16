"""What this process may use of the machine."""

from __future__ import annotations

import os
import socket
import sys
import zlib
from functools import cache

_NAME = "attribute-subspaces: core"
_claims: list[socket.socket] = []
"""Names of a machine's sockets, which nobody else can have until this process ends, however it ends."""


def available_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@cache
def claimed_core() -> int | None:
    """A core that no other process of this machine has claimed, until this one ends; None where none is left, or off Linux."""
    if sys.platform != "linux":
        return None
    cores = available_cores()
    first = zlib.crc32(socket.gethostname().encode()) % len(
        cores
    )  # containers of one machine see each other's cores alone
    for core in cores[first:] + cores[:first]:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0{_NAME} {core}")
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return core
    return None
