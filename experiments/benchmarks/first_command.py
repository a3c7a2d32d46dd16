"""``python -m experiments.benchmark first_command``: what a newcomer waits for, done for real in an empty place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmarks import machine
from experiments.extraction.results import STAGES
from experiments.mining.folder import SUMMARY
from experiments.process.stages import StageTime
from experiments.storage.files import read_json
from subspace.errors import InputError

INSTALL = "pip install -e ."
EXTRACT = "python -m experiments.extract --attribute="
"""README's commands."""
INSTALLATION, START, IN_ALL = "installation", "start and end", "in all"
PREDECESSOR: Mapping[str, float] = {
    INSTALLATION: 57,
    "rendering": 70,
    "compiling": 20,
    "training": 602,
    "mining": 8,
    "report": 7,
    IN_ALL: 760,
}
"""Seconds of version 0.2.0 (74d983c) on two 2.5 GHz cores of a quiet machine; mining, report and all that is left took 15."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    seconds: float
    """Duration."""
    cpu_seconds: float
    """Processor time of it and of everything that it waited for."""


def report(second: str | None, install: bool, options: Sequence[str] = ()) -> Iterator[str]:
    """The tables, line by line as they fill.

    Args:
        second: a second attribute, for which caches are warm; None for none.
        install: into a fresh environment; otherwise this Python is used.
        options: further ones of the command.

    Raises:
        InputError: the project does not lie in a checkout, or a command fails.
        OSError: the disk is full.
    """
    yield machine.describe()
    yield f"float32 matrix product: {machine.matmul_gflops():.0f} GFLOP/s"
    with tempfile.TemporaryDirectory(prefix="first_command-") as folder:
        place = Path(folder)
        environment = _nothing_cached(place)
        if install:
            checkout = _copy_of_checkout(place / "checkout")
            environment |= _environment(place / "environment", environment)
            installed = run(INSTALL, checkout, environment)
        else:
            checkout, installed = place, None
            environment |= {"PYTHONPATH": str(_ROOT), "PATH": _before(Path(sys.executable).parent, environment)}
        yield from _extraction("geometry", checkout, environment, options, installed)
        if second is not None:
            yield from _extraction(second, checkout, environment, options)


def run(command: str, folder: Path, environment: Mapping[str, str]) -> Finished:
    """Run a command line of README's; what it says goes to stderr, its bars included. Raises InputError if it fails."""
    print(f"$ {command}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, shell=True, cwd=folder, env=dict(environment), stdout=sys.stderr.fileno())
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"{command} ends with status {process.returncode}")
    return Finished(time.perf_counter() - start, used.ru_utime + used.ru_stime)


def table(stages: Sequence[StageTime], before: Mapping[str, float]) -> Iterator[str]:
    """The stages, their sum, and their shares of it, beside the seconds of ``before`` where that has them."""
    whole = sum(stage.seconds for stage in stages)
    yield "  {:<16} {:>8} {:>6} {:>8} {:>10} {:>9} {:>7}   {}".format(
        "", "seconds", "share", "CPU", "cores busy", "compiled", "found", "predecessor" if before else ""
    ).rstrip()
    total = StageTime(
        IN_ALL,
        whole,
        *(sum(getattr(each, name) for each in stages) for name in ("cpu_seconds", "compiled", "found")),
    )
    for stage in [*stages, total]:
        busy = stage.cpu_seconds / max(stage.seconds, 1e-9)
        known = f"{before[stage.name]:>8.0f} s" if stage.name in before else ""
        yield (
            f"  {stage.name:<16} {stage.seconds:>8.1f} {stage.seconds / whole:>6.1%} {stage.cpu_seconds:>8.1f} "
            f"{busy:>10.2f} {stage.compiled:>9} {stage.found:>7}   {known}"
        ).rstrip()


def _extraction(
    attribute: str,
    checkout: Path,
    environment: Mapping[str, str],
    options: Sequence[str],
    installed: Finished | None = None,
) -> Iterator[str]:
    """The table of one attribute, with the installation before it where there was one."""
    begun = time.time()
    took = run(" ".join([EXTRACT + attribute, *options]), checkout, environment)
    results = checkout / "runs" / "extract" / "latest"
    recorded = [StageTime(**stage) for stage in read_json(results / SUMMARY)[STAGES]]
    rest = StageTime(
        START,
        took.seconds - sum(stage.seconds for stage in recorded),
        max(0.0, took.cpu_seconds - sum(stage.cpu_seconds for stage in recorded)),
        0,
        0,
    )
    stages = [*recorded, rest]
    first = installed is not None
    if installed is not None:
        stages = [StageTime(INSTALLATION, installed.seconds, installed.cpu_seconds, 0, 0), *stages]
    yield f"\n{attribute}, {'nothing cached' if first or attribute == 'geometry' else 'caches warm'}"
    yield from table(stages, PREDECESSOR if attribute == "geometry" and not options else {})
    sheets = (checkout / "runs" / "data").glob(f"{attribute}_*/*/contact_sheet.png")
    seen = min(sheet.stat().st_mtime for sheet in sheets) - begun
    yield f"  the first contact sheet could be seen {seen:.0f} s after extract began"


def _copy_of_checkout(to: Path) -> Path:
    """The files that git knows, as they are now; the installation changes nothing in the checkout itself."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=_ROOT, capture_output=True)
    if listed.returncode or not listed.stdout:
        raise InputError(f"first_command installs a checkout, and {_ROOT} is none; measure without the installation")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (_ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / name, to / name)
    return to


def _nothing_cached(place: Path) -> dict[str, str]:
    """This process's environment, with caches of pip, uv, JAX and Matplotlib in the place."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR")
    }
    own = {"XDG_CACHE_HOME": "cache", "PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "MPLCONFIGDIR": "matplotlib"}
    return inherited | {name: str(place / folder) for name, folder in own.items()}


def _environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a new virtual environment of this Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, env=dict(environment))
    return {"VIRTUAL_ENV": str(folder), "PATH": _before(folder / "bin", environment)}


def _before(folder: Path, environment: Mapping[str, str]) -> str:
    return os.pathsep.join([str(folder), environment.get("PATH", os.defpath)])
