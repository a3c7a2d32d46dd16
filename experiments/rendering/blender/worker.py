# /// script
# requires-python = "==3.11.*"
# dependencies = ["bpy==4.5.15"]
# ///
"""Renders scenes inside Blender, one after another.

Started by any Python that has bpy (``requirements.txt`` beside this file pins one with hashes; ``uv run --script`` works too,
but pins no hashes and reinstalls bpy at every start, whose wheel misstates its Python), or by
``blender --background --factory-startup --python worker.py``.

The first line on standard output is ``{"ready": true, "blender": "4.5.15 LTS"}``, or ``{"ready": false, "error": "one
line"}`` and exit code 2; an installed Blender prints a line of its own before it. After that each line of standard input is
a job, ``{"spec": path, "output": folder}``. It is answered by one line: ``{"ok": true, "seconds": ..., "build_seconds":
..., "peak_memory_gb": ...}`` once the folder, made if need be, holds ``000000.exr`` and so on, one for each view (see
:mod:`.rendering`), or ``{"ok": false, "error": "one line"}``. A spec is the full JSON of
:class:`experiments.scenes.schema.Scene`, defaults written out.

It renders on one thread, draws nothing at random, and ends with standard input, or at once, rendering or not, when nobody
reads its answers any longer.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

DEBIAN_PACKAGES = (
    "libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libxext6 libgl1 libxt6"  # that bpy's own need
)


def main() -> int:
    answers = _take_standard_output()

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    threading.Thread(target=_end_without_reader, args=[answers.fileno()], daemon=True).start()
    try:
        import bpy  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        hint = f"apt-get install {DEBIAN_PACKAGES}" if ".so" in str(error) else "pip install bpy==4.5.15 on Python 3.11"
        message = f"this Python cannot import bpy ({_one_line(error)}); try: {hint}"
        answer(ready=False, error=message)
        print(message, file=sys.stderr)
        return 2
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # makes this folder the package `blender`
    from blender import rendering  # pyright: ignore[reportMissingImports]

    answer(ready=True, blender=bpy.app.version_string)
    for line in sys.stdin:
        try:
            job = json.loads(line)
            start = time.perf_counter()
            scene = json.loads(Path(job["spec"]).read_bytes())
            build_seconds = rendering.render(scene, Path(job["output"]))
        except KeyError as error:
            answer(ok=False, error=f"the field {_one_line(error)} is missing")
        except Exception as error:  # whatever is wrong with one scene, the next may be fine
            answer(ok=False, error=f"{type(error).__name__}: {_one_line(error)}")
        else:
            seconds = time.perf_counter() - start
            answer(ok=True, seconds=seconds, build_seconds=build_seconds, peak_memory_gb=_peak_memory_gb())
    return 0


def _take_standard_output() -> TextIO:
    """Standard output for the answers alone; what Blender prints there is thrown away."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)
    return answers


def _peak_memory_gb() -> float:
    """The largest resident memory of this process so far, in GiB."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux, whose ru_maxrss would count what the parent held
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 2**20


def _end_without_reader(descriptor: int) -> None:
    """Wait until a pipe's other end is closed, then end the process; for ever if it is no pipe."""
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are always reported
    while not poll.poll():
        pass
    os._exit(1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Blender's own way out takes long and prints
