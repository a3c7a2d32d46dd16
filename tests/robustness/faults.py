"""A disk that fails at the nth change below a folder, or a process that dies at it: a shim of the C library (faults.c).

The process that tries this out has to be started with the shim: :func:`started_with_shim` does that.
"""

import ctypes
import hashlib
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
_PATH, _KEPT = 4096, 256
_NUMBERS = struct.Struct("liiiilll")
"""After the folder: at, code, once, owner, no_semaphores, count, failed, renamed; then paths of both."""


def shim() -> Path:
    """The shim, compiled once for each state of its source. Raises OSError where there is no C compiler."""
    name = f"faults-{os.getuid()}-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    made = Path(tempfile.gettempdir()) / name
    if not made.exists():
        new = made.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(new), str(SOURCE), "-ldl"], check=True)
        new.rename(made)
    return made


def started_with_shim(module: str, arguments: Sequence[str]) -> None:
    """Start this program once more, with the shim, unless that was done."""
    preloaded = str(shim())
    if os.environ.get("LD_PRELOAD") != preloaded:
        os.environ["LD_PRELOAD"] = preloaded
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@dataclass(frozen=True)
class Seen:
    """What the shim has counted."""

    changes: int
    failed: tuple[str, ...]
    """The first 256 paths that failed."""
    renamed: tuple[str, ...]
    """The first 256 paths that something got by renaming."""


class Faults:
    """Of one process and those that it starts. :meth:`install` is called in it, once, before anything is written."""

    def __init__(
        self, folder: Path, at: int = 0, code: int = 0, *, once: bool = False, no_semaphores: int = 0, control: Path
    ):
        """``code`` is the error of change ``at`` (from 1) below ``folder``, if not ``once`` of all later ones too; 0 kills.

        ``no_semaphores`` is the error of what needs /dev/shm. ``control`` is a file that is made for the shim.
        """
        self._control = control
        numbers = _NUMBERS.pack(at, code, once, 0, no_semaphores, 0, 0, 0)
        content = os.fsencode(os.path.realpath(folder)).ljust(_PATH, b"\0") + numbers
        control.write_bytes(content.ljust(ctypes.CDLL(None).faults_size(), b"\0"))

    @property
    def control(self) -> Path:
        return self._control

    def install(self) -> None:
        arm(self._control)

    def seen(self) -> Seen:
        content = self._control.read_bytes()
        *_, changes, failed, renamed = _NUMBERS.unpack_from(content, _PATH)
        start = _PATH + _NUMBERS.size

        def paths(first: int, count: int) -> tuple[str, ...]:
            places = (start + (first + i) * _PATH for i in range(min(count, _KEPT)))
            return tuple(os.fsdecode(content[place : place + _PATH].split(b"\0")[0]) for place in places)

        return Seen(changes, paths(0, failed), paths(_KEPT, renamed))


def arm(control: Path) -> None:
    """Let happen in this process, and in those that it starts, what a file of :class:`Faults` says."""
    with control.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        numbers = list(_NUMBERS.unpack_from(mapped, _PATH))
        numbers[3] = os.getpid()
        _NUMBERS.pack_into(mapped, _PATH, *numbers)
    os.environ["FAULTS_CONTROL"] = str(control)
    ctypes.CDLL(None).faults_arm(os.fsencode(control))


def disarm() -> None:
    os.environ.pop("FAULTS_CONTROL", None)
    ctypes.CDLL(None).faults_disarm()
