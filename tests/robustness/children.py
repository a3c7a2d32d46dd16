"""Processes that have loaded everything already: they are forked from one that did, before JAX begins to compute.

A command's own work takes a second or so at these sizes, and what it loads several.
"""

import contextlib
import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import quick_compilation

MODULES = (
    "experiments.analysis.pipeline", "experiments.evaluation.pipeline", "experiments.extraction.pipeline",
    "experiments.finetuning.pipeline", "experiments.loras.mining", "experiments.loras.merging",
    "experiments.loras.writing", "experiments.pretraining.pipeline", "experiments.reconstruction.pipeline",
    "experiments.rendering.runs", "experiments.reproduction.pipeline", "experiments.synthetic.generator",
    "experiments.tasks.makers", "experiments.data.contact_sheet", "experiments.reports.drawings",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf",
    "weights_convert.convert", "orbax.checkpoint", "grain", "tests.experiments.command_of_a_job",
    "tests.experiments.loras.made", "tests.experiments.pretraining.small", "tests.experiments.reproduction.planted",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    """As shells have it, negative after a signal that it did not handle."""
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """Those of stderr, without progress bars."""
        return [line for line in self.stderr.split("\n") if line.strip() and "\r" not in line]


class Child:
    """A process that calls ``work``; what it prints is in files beside its folder."""

    def __init__(self, work: Callable[[], object], folder: Path):
        self._files = files_beside(folder)
        self.begun = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                _stand_alone()
                _print_to(self._files)
                status = status_of(work)
            finally:
                os._exit(status)

    def wait(self, seconds: float = 600) -> Ended:
        """Raises TimeoutError if it does not end; its group is killed then."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.begun > seconds:
                self.end()
                raise TimeoutError(f"not ended after {seconds} s: {self._files[1].read_text()[-500:]}")
            time.sleep(0.01)
        return _ended(os.waitstatus_to_exitcode(status), self._files, self.begun)

    def end(self) -> None:
        """Kill it and its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def descendants(self) -> list[int]:
        """Processes of its group, and of the groups of its children, that live."""
        listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        parents = {int(pid): int(parent) for pid, parent, stat in rows if not stat.startswith("Z")}
        found = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {self.pid})

    def zombies(self) -> int:
        """Its children that have ended and that it has not noticed."""
        listed = subprocess.run(["ps", "-o", "stat=", "--ppid", str(self.pid)], capture_output=True, text=True).stdout
        return sum(line.startswith("Z") for line in listed.split())


class Worker:
    """A process that does one piece of work after the other, so that what is compiled for the first is there for the next."""

    def __init__(self, work: Callable[[str, str], object]):
        """``work`` is given the two words of :meth:`do`."""
        to_child, self._asks = os.pipe()
        self._answers, from_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _stand_alone()
                os.close(self._asks)
                os.close(self._answers)
                for line in open(to_child):
                    folder, *words = line.rstrip("\n").split("\t")
                    _print_to(files_beside(Path(folder)))
                    os.write(from_child, f"{status_of(lambda words=words: work(*words))}\n".encode())
            finally:
                os._exit(0)
        os.close(to_child)
        os.close(from_child)

    def do(self, folder: Path, words: tuple[str, str], seconds: float = 600) -> Ended:
        """How the work ended, as if it had been a process; raises TimeoutError if it does not end, as this worker does then."""
        begun = time.monotonic()
        os.write(self._asks, "\t".join([str(folder), *words]).encode() + b"\n")
        if not select.select([self._answers], [], [], seconds)[0]:
            self.end()
            raise TimeoutError(f"not ended after {seconds} s")
        answer = os.read(self._answers, 100)
        return _ended(int(answer) if answer else -1, files_beside(folder), begun)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._asks)
        os.close(self._answers)


def files_beside(folder: Path) -> tuple[Path, Path]:
    """Where what is printed goes, and errors."""
    return folder.parent / f"{folder.name}.out", folder.parent / f"{folder.name}.err"


def _stand_alone() -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # which whoever runs this may ignore
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def _print_to(files: tuple[Path, Path]) -> None:
    for descriptor, file in zip((1, 2), files, strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout, sys.stderr = (open(d, "w", 1, closefd=False) for d in (1, 2))


def status_of(work: Callable[[], object]) -> int:
    """The exit status of a process that does this alone."""
    try:
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def _ended(status: int, files: tuple[Path, Path], begun: float) -> Ended:
    out, err = (file.read_text(errors="replace") for file in files)
    return Ended(status, out, err, time.monotonic() - begun)


def load() -> None:
    """Import what all commands need; nothing is computed, and no thread started that a fork would lose."""
    os.environ.update(JAX_PLATFORMS="cpu", GLIBC_TUNABLES="", OPENBLAS_NUM_THREADS="1")
    if quick_compilation.FLAGS not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick_compilation.FLAGS}".strip()
    for name in MODULES:
        importlib.import_module(name)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
