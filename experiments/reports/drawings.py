"""Figures as files for a paper and for the page: PNG, PDF and SVG, several figures at a time.

What costs is Python's part of the drawing, which keeps one core busy. So further processes draw too, as soon as there is
something to draw; in the end this process takes what none of them has begun, which is everything where there is one core.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import subprocess
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import BinaryIO

from matplotlib.figure import Figure

from experiments.process.cores import available_cores

DPI = 200
"""Of the PNG files."""


class Drawings:
    """A context manager, within which figures are added and saved."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}
        self._waiting: dict[str, Future[_Drawn]] = {}
        helpers = len(available_cores()) - 1
        self._helpers = _Helpers()
        self._threads = ThreadPoolExecutor(helpers, "drawing") if helpers else None

    def __enter__(self) -> Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._helpers.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._helpers.stop()

    def add(self, figures: Mapping[str, Figure]) -> None:
        """Begin to draw, where there is another core; ``figures`` are file name → figure and do not change any more."""
        self._figures |= figures
        if self._threads is not None:
            self._waiting |= {name: self._threads.submit(self._helpers.draw, each) for name, each in figures.items()}

    def save(self, folder: Path) -> dict[str, str]:
        """Write ``NAME.png`` and ``NAME.pdf`` of every figure, whose layout is settled then.

        Args:
          folder: where to; it exists.

        Returns:
          The figures' names → SVG, for :func:`experiments.reports.page.plot`.

        Raises:
          OSError: a file cannot be written.
        """
        drawn = {
            name: _draw(figure)
            for name, figure in reversed(self._figures.items())
            if name not in self._waiting or self._waiting[name].cancel()
        }
        for name in self._figures:
            drawing = drawn[name] if name in drawn else self._waiting[name].result()
            (folder / f"{name}.png").write_bytes(drawing.png)
            (folder / f"{name}.pdf").write_bytes(drawing.pdf)
            drawn[name] = drawing
        return {name: drawn[name].svg for name in self._figures}


def save_drawings(folder: Path, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Draw and save figures that there are already, see :meth:`Drawings.save`."""
    with Drawings() as drawings:
        drawings.add(figures)
        return drawings.save(folder)


def drawn_name(name: str) -> str:
    """A name of the user's as a label: $ is no mathematics, and bytes that are no text are escaped."""
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def svg(drawing: Figure) -> str:
    """The figure as SVG."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class _Drawn:
    png: bytes
    pdf: bytes
    svg: str


def _draw(figure: Figure) -> _Drawn:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of users' names; it is drawn as a box
        return _drawn(figure)


def _drawn(figure: Figure) -> _Drawn:
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # the layout, once for three files: solving it takes longer than drawing
        figure.set_layout_engine("none")
    return _Drawn(_file(figure, "png"), _file(figure, "pdf"), svg(figure))


class _Helpers:
    """Processes that draw; started one by one where all are busy.

    They are programs of their own. ``multiprocessing`` would run the user's script again in each, and a fork would copy the
    locks of JAX's threads in any state.
    """

    def __init__(self) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []
        self._killed = False
        self._lock = Lock()

    def draw(self, figure: Figure) -> _Drawn:
        """Let a process draw a figure. Raises what it raised, and RuntimeError if it ended."""
        try:
            helper = self._idle.get_nowait()
        except Empty:
            with self._lock:
                if self._killed:
                    raise RuntimeError("nothing is drawn any more") from None
                helper = _start()
                self._all.append(helper)
        assert helper.stdin is not None and helper.stdout is not None
        try:
            pickle.dump(figure, helper.stdin)
            helper.stdin.flush()
            found = pickle.load(helper.stdout)
        except (OSError, EOFError) as error:
            raise RuntimeError(f"a process that drew a figure ended with status {helper.wait()}") from error
        self._idle.put(helper)
        if isinstance(found, BaseException):
            raise found
        return found

    def kill(self) -> None:
        """End the processes at once, whatever they are at."""
        with self._lock:
            self._killed = True
            for helper in self._all:
                helper.kill()

    def stop(self) -> None:
        """End the processes, all of which are idle or have been killed."""
        if self._killed:
            for helper in self._all:
                helper.wait()
            return
        while not self._idle.empty():
            self._idle.get().communicate()


def _start() -> subprocess.Popen[bytes]:
    code = f"from {__name__} import _serve; _serve()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        process_group=0,  # a terminal's Ctrl-C is for the command, with which it ends
    )


def _serve() -> None:
    """Draw figures from standard input until it ends."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed must not come between the results
    Thread(target=_end_without_reader, args=[results.fileno()], daemon=True).start()
    while (figure := _next(sys.stdin.buffer)) is not None:
        try:
            found: _Drawn | Exception = _draw(figure)
        except Exception as error:
            found = error
        try:
            pickle.dump(found, results)
            results.flush()
        except BrokenPipeError:  # nobody waits for it any longer
            os._exit(1)


def _end_without_reader(descriptor: int) -> None:
    """End this process as soon as nobody waits for its results any longer, whatever it is at."""
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are always reported
    poll.poll()
    os._exit(1)


def _next(stream: BinaryIO) -> Figure | None:
    try:
        return pickle.load(stream)
    except EOFError:
        return None


def _file(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    undated = {"CreationDate": None} if form == "pdf" else {}  # equal figures are equal files
    figure.savefig(buffer, format=form, dpi=DPI, metadata=undated)
    return buffer.getvalue()
