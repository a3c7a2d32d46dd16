"""One renderer in a process of its own, and the lines that are spoken with it.

The protocol, one JSON object a line: the worker begins with ``{"ready": true, "blender": version}`` or ``{"ready": false,
"error": line}``. It is sent ``{"spec": path, "output": folder}`` and answers ``{"ok": true, "seconds": …, "build_seconds":
…, "peak_memory_gb": …}`` or ``{"ok": false, "error": line}``. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vggt_jax.reading import typed

_START_SECONDS = 120.0
"""Within which a worker must be ready; a cold disk takes its time over Blender's 0.8 GB."""
_QUOTED = 300
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
"""Variables of the environment that say where temporary files go."""
_PINNED = Path(__file__).with_name("pinned.py")
_ANY_CORE = "any"


class RenderError(Exception):
    """A scene could not be rendered; the worker goes on."""


class WorkerLost(Exception):
    """The worker crashed, hung or spoke nonsense, and is gone."""


class Rendered(msgspec.Struct, frozen=True):
    """What a worker says about a scene."""

    seconds: float
    """Duration in seconds of building and rendering the scene."""
    build_seconds: float
    """Part of ``seconds`` that was spent on building the scene."""
    peak_memory_gb: float
    """Largest memory of the worker so far, in gigabytes."""


class WorkerProcess:
    """A running worker.

    Args:
        command: program and arguments.
        core: of the machine, to which the worker is pinned; None for any.
        temporary: folder for its temporary files, which it leaves there, as it is always killed; by default the system's.

    Raises:
        WorkerLost: it did not start, or says that it cannot work.
    """

    def __init__(self, command: Sequence[str], core: int | None, temporary: Path | None = None) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-IS", str(_PINNED), _ANY_CORE if core is None else str(core), str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **({} if temporary is None else dict.fromkeys(_TEMPORARY, str(temporary.absolute())))},
            process_group=0,  # a terminal's Ctrl-C is for the command, which then ends its workers
        )
        self.scenes_rendered = 0
        try:
            with self._time_limit(_START_SECONDS):
                hello = self._read_greeting()
            if not hello.get("ready"):
                raise WorkerLost(str(hello.get("error", f"not ready: {hello}")))
        except BaseException:
            self.kill()
            raise
        self.renderer = f"Blender {hello.get('blender')}"

    def render(self, spec: Path, output: Path, time_limit: float) -> Rendered:
        """Have a scene rendered into a folder, within ``time_limit`` seconds.

        Raises:
            RenderError: the worker says that it could not.
            WorkerLost: and must be replaced.
        """
        with self._time_limit(time_limit):
            self._write({"spec": str(spec), "output": str(output)})
            answer = self._read()
        self.scenes_rendered += 1
        if answer.get("ok") is False:
            raise RenderError(str(answer.get("error")))
        try:
            return typed.convert(answer, Rendered)
        except msgspec.ValidationError as error:
            raise self._lost(f"answered {str(answer)[:_QUOTED]}: {error}") from None

    def kill(self) -> None:
        """End the process and its children at once; harmless if it has ended. May be called from other threads."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the worker and free what it held."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was still buffered for the dead
                stream.close()  # pyright: ignore[reportOptionalMemberAccess]

    @contextlib.contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except WorkerLost:
            if expired.is_set():
                raise WorkerLost(f"no answer within {seconds:.0f} s") from None
            raise
        finally:
            timer.cancel()

    def _write(self, job: dict[str, str]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._lost("ended") from None

    def _read_greeting(self) -> dict[str, Any]:
        """The first line that is the worker's own: an installed Blender says its version before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                return self._decode(line)
        raise self._lost("ended")

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._lost("ended")
        return self._decode(line)

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            return typed.decode(line, dict[str, Any])
        except msgspec.DecodeError:
            raise self._lost(f"answered {line[:_QUOTED].decode(errors='replace').strip()!r}") from None

    def _lost(self, what: str) -> WorkerLost:
        """The error for a worker of no more use, with its exit status and last words."""
        if what == "ended":
            status = self._process.wait()
            what = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.kill()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return WorkerLost(f"the worker {what}" + (f": {words[-1].strip()[:_QUOTED]}" if words else ""))
