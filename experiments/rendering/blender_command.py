"""How a worker is started: the command for an installed Blender, a Python with bpy, or an environment that uv makes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from experiments.process.reporting import SILENT, Reporter
from experiments.storage.locks import alone
from subspace.errors import InputError

WORKER = Path(__file__).with_name("blender") / "worker.py"
PINNED = WORKER.with_name("requirements.txt")
"""What the environment consists of, with the hash of every file: uv installs nothing else."""
_COMPLETE = ".complete"
_VERSION_SECONDS = 60


def worker_command(
    blender: str | None, reporter: Reporter = SILENT, meanwhile: Callable[[], object] = lambda: None
) -> list[str]:
    """The command that starts a worker.

    Args:
        blender: an installed Blender, or a Python that has bpy: a path or a name on PATH. By default uv makes the
            environment of :data:`PINNED`, the first time from the package index (about 0.4 GB).
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
    folder = environment()
    if not _is_complete(folder):
        with alone(folder, reporter):
            if not _is_complete(folder):  # nobody else has made it meanwhile
                reporter.info("making Blender's environment with uv, once: about 0.4 GB to download …")
                meanwhile()
                _make(uv, folder, seen=reporter.on_terminal)
    return str(_python(folder))


def environment() -> Path:
    """The folder of the environment that uv makes; another one for other versions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attribute-subspaces"
    return cache / f"blender-{hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12]}"


def _python(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def _is_complete(folder: Path) -> bool:
    return (folder / _COMPLETE).is_file() and _python(folder).exists()


def _make(uv: str, folder: Path, *, seen: bool) -> None:
    """Raises InputError with uv's reason, such as a file whose hash is another."""
    version = re.search(r"requires-python = \"==([\d.]+)\.\*\"", WORKER.read_text(encoding="utf-8"))
    assert version is not None
    install = (
        "pip",
        "sync",
        "--python",
        str(_python(folder)),
        "--require-hashes",
        "--only-binary",
        ":all:",
        str(PINNED),
    )
    for command in (("venv", "--no-project", "--clear", "--python", version[1], str(folder)), install):
        done = _uv(uv, *command, seen=seen)
        if done.returncode:
            reason = "as it says above" if seen else _last_line(done.stderr)
            raise InputError(f"uv cannot make Blender's environment: {reason}; or name a Blender", argument="blender")
    (folder / _COMPLETE).touch()


def _uv(*command: str, seen: bool = False) -> subprocess.CompletedProcess[str]:
    """``seen`` lets the user see on the terminal what uv says, which is not caught then."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=None if seen else subprocess.PIPE, text=True, encoding="utf-8"
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
