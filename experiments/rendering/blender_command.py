"""How a worker is started: the command for an installed Blender, a Python with bpy, or an environment that uv makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from experiments.process.reporting import SILENT, Reporter
from subspace.errors import InputError

WORKER = Path(__file__).with_name("blender") / "worker.py"
_VERSION_SECONDS = 60


def worker_command(
    blender: str | None, reporter: Reporter = SILENT, meanwhile: Callable[[], object] = lambda: None
) -> list[str]:
    """The command that starts a worker.

    Args:
        blender: an installed Blender, or a Python that has bpy: a path or a name on PATH. By default uv makes the
            environment that the worker's script asks for, the first time from the package index (about 0.4 GB).
        reporter: is told before something is downloaded; on a terminal uv's own bars follow.
        meanwhile: is called before something is downloaded, to begin other work.

    Raises:
        InputError: ``blender`` is neither or cannot be run, or uv is missing or cannot make the environment.
    """
    if blender is None:
        return [_uv_python(reporter, meanwhile), str(WORKER)]
    program = shutil.which(blender)
    if program is None:
        raise InputError(f"blender={blender} is no program that can be run", argument="blender")
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"blender={blender} cannot be run: {error}", argument="blender") from None
    if said.stdout.startswith("Blender"):
        return [program, "--background", "--factory-startup", "--python", str(WORKER), "--"]
    if said.stdout.startswith("Python"):
        return [program, str(WORKER)]
    raise InputError(
        f"blender={blender} is neither Blender nor Python: as its version it says {said.stdout[:80].strip()!r}",
        argument="blender",
    )


def _uv_python(reporter: Reporter, meanwhile: Callable[[], object]) -> str:
    """The Python of the worker's environment. Not ``uv run``, which would stand between us and the worker."""
    try:
        from uv import find_uv_bin

        uv = find_uv_bin()
    except (ImportError, FileNotFoundError):
        uv = shutil.which("uv")
    if uv is None:
        raise InputError(
            "uv is missing, which makes Blender's environment: pip install uv, or name a Blender", argument="blender"
        )
    python = _find_python(uv)
    if python is None:
        reporter.info("making Blender's environment with uv, once: about 0.4 GB to download …")
        meanwhile()
        seen = reporter.on_terminal
        synced = _uv(uv, "sync", "--script", str(WORKER), seen=seen)
        python = _find_python(uv)
        if synced.returncode or python is None:
            reason = "as it says above" if seen else _last_line(synced.stderr)
            raise InputError(f"uv cannot make Blender's environment: {reason}; or name a Blender", argument="blender")
    return python


def _find_python(uv: str) -> str | None:
    """The environment's Python if it has the right bpy. `uv sync --check` is not asked, as it reinstalls bpy each time."""
    found = _uv(uv, "python", "find", "--script", str(WORKER))
    required = re.search(r"bpy==([\d.]+)", WORKER.read_text(encoding="utf-8"))
    if found.returncode or required is None:
        return None
    python = found.stdout.strip()
    bpy = subprocess.run(
        [python, "-Ic", "import importlib.metadata as m; print(m.version('bpy'))"], capture_output=True
    )
    return python if bpy.stdout.decode().strip() == required[1] else None


def _uv(*command: str, seen: bool = False) -> subprocess.CompletedProcess[str]:
    """``seen`` lets the user see on the terminal what uv says, which is not caught then."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=None if seen else subprocess.PIPE, text=True, encoding="utf-8"
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
