"""How much memory is free, on a device or on this machine, and how much this process took."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

from subspace.errors import InputError

_MEMINFO, _STATM, _STATUS = Path("/proc/meminfo"), Path("/proc/self/statm"), Path("/proc/self/status")
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Limit and use of this container's memory, as version 2 and version 1 of control groups say them."""

_BYTES_A_TRAINED_NUMBER = 16
"""The number, its gradient and two averages, in float32."""


def free_memory(device: Any) -> int | None:
    """Bytes that a program may still take on ``device``, None where nothing says it."""
    if device.platform == "cpu":
        return free_on_host()
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def free_on_host() -> int | None:
    """The least of what the machine, the container and the process's own limit leave."""
    found = [_available(), *(_left_in_group(*files) for files in _GROUPS), _left_to_process()]
    return min((size for size in found if size is not None), default=None)


def most_resident() -> int:
    """The most memory that this process held at a time so far, in bytes."""
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux, whose ru_maxrss counts what the parent held when it started this one
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check_training_fits(numbers: int, free: int | None, argument: str) -> None:
    """Raises InputError if so many numbers cannot be trained in ``free`` bytes, whatever the pictures are.

    Args:
        numbers: how many are trained.
        free: bytes, None where that is not known.
        argument: whose value decides about the numbers.
    """
    needed = numbers * _BYTES_A_TRAINED_NUMBER
    if free is not None and needed > free:
        raise InputError(
            f"{numbers:,} trained numbers need {in_gib(needed)} with their gradients and Adam's averages, and {in_gib(free)} "
            f"are free; a smaller {argument} needs less",
            argument=argument,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy or XLA found too little memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def in_gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:,.1f} GiB"


def _available() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _left_in_group(limit: Path, used: Path) -> int | None:
    """What the group has left, with its cache of files, which it gives back."""
    try:
        total, taken = int(limit.read_text()), int(used.read_text())
        cached = dict(line.split() for line in used.with_name("memory.stat").read_text().splitlines())
        return total - taken + int(cached.get("inactive_file", 0)) + int(cached.get("active_file", 0))
    except (OSError, ValueError):  # "max" stands for no limit
        return None


def _left_to_process() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        return limit - int(_STATM.read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None
