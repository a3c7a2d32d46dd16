"""What tasks on other machines tell of themselves, shown by the one reporter of the process that began them."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from experiments.process.reporting import Reporter

_EVERY_S = 0.5
_PATIENCE_S = 60.0
"""For a board that may only just begin."""
_MOST_LINES = 10_000
"""That are kept for a process that does not ask for them."""


@dataclass(frozen=True)
class Line:
    """Something to read."""

    text: str
    """In one line."""
    warns: bool = False
    """Whether somebody should look at it."""


@dataclass(frozen=True)
class Bar:
    """How far some work is."""

    key: str
    """Tells it from other work."""
    description: str
    """What is done."""
    unit: str
    """What is counted."""
    total: int
    """Units in all."""
    done: int
    """Units that are done."""
    postfix: str = ""
    """What there is to say of it, such as the loss."""
    over: bool = False
    """Whether nothing more will come."""


class _Board:
    """An actor: where tasks leave messages, and their reader takes them. Of a bar only the newest state is kept."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=_MOST_LINES)
        self._bars: dict[str, Bar] = {}

    def tell(self, message: Line | Bar) -> None:
        if isinstance(message, Bar):
            self._bars[message.key] = message
        else:
            self._lines.append(message)

    def take(self) -> list[Line | Bar]:
        found = [*self._lines, *self._bars.values()]
        self._lines.clear()
        self._bars.clear()
        return found


def _deliver(board: Any, message: Line | Bar) -> None:
    """Returns when it is there, as what a task leaves on its way when it ends may come after the last look."""
    import ray
    from ray.exceptions import RayError

    with suppress(RayError):  # nobody listens any more
        ray.get(board.tell.remote(message), timeout=_PATIENCE_S)


class Relay(Reporter):
    """The reporter of a task: what it is told is shown where the task was begun.

    Args:
        board: what :attr:`Shown.board` was there.
        name: of the task, for its bars.
    """

    def __init__(self, board: Any, name: str):
        super().__init__()
        self._board, self._name = board, name

    def info(self, line: str) -> None:
        _deliver(self._board, Line(self._said(line)))

    def warning(self, line: str) -> None:
        _deliver(self._board, Line(self._said(line), warns=True))

    def _said(self, line: str) -> str:
        """With the task's name and host; a line that begins with what the task is about ("NAME, RATE") says it once."""
        what = self._name.partition(",")[0]
        return f"{self._name} on {socket.gethostname()}: {line.removeprefix(f'{what}: ')}"

    def planned(self, stages: Any) -> Reporter:
        return self

    @contextmanager
    def progress(self, total: int, unit: str, description: str | None = None, *, initial: int = 0) -> Iterator[tqdm]:
        with open(os.devnull, "w") as nowhere:
            what = f"{self._name} {description}" if description else self._name
            with _Told(self._board, what, total=total, initial=initial, unit=unit, file=nowhere) as bar:
                yield bar


class _Told(tqdm):
    """A bar that tells a board."""

    def __init__(self, board: Any, what: str, **options: Any):
        self._board, self._what, self._told, self._words = board, what, 0.0, ""
        self._key = f"{what} {os.getpid()} {time.monotonic()}"
        super().__init__(**options)

    def update(self, n: float | None = 1) -> bool | None:
        moved = super().update(n)
        if time.monotonic() > self._told + _EVERY_S:
            self._tell()
        return moved

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        self._words = s

    def close(self) -> None:
        if not self.disable:
            self._tell(over=True)
        super().close()

    def _tell(self, over: bool = False) -> None:
        self._told = time.monotonic()
        bar = Bar(self._key, self._what, self.unit, int(self.total or 0), int(self.n), self._words, over)
        if over:
            _deliver(self._board, bar)
        else:
            self._board.tell.remote(bar)


class Shown:
    """A context manager within which a reporter shows what tasks tell, whenever :func:`look` is called.

    Args:
        reporter: shows it.
    """

    def __init__(self, reporter: Reporter):
        import ray

        actor: Any = ray.remote(_Board)
        self.board: Any = actor.options(num_cpus=0).remote()
        """What tasks take for their :class:`Relay`."""
        self._reporter = reporter
        self._bars: dict[str, tqdm] = {}
        self._stack = ExitStack()
        self._next = 0.0

    def __enter__(self) -> Shown:
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import ray

        _open.remove(self)
        self._take(_PATIENCE_S if kind is None else _EVERY_S)
        self._stack.close()
        ray.kill(self.board)

    def look(self) -> None:
        """Show what there is to show, at most every half second."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _EVERY_S
            self._take(10 * _EVERY_S)

    def _take(self, seconds: float) -> None:
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):  # the board's node, or the cluster, is gone
            self._show(ray.get(self.board.take.remote(), timeout=seconds))

    def _show(self, messages: list[Line | Bar]) -> None:
        for message in messages:
            if isinstance(message, Bar):
                self._move(message)
            elif message.warns:
                self._reporter.warning(message.text)
            else:
                self._reporter.info(message.text)

    def _move(self, told: Bar) -> None:
        if told.key not in self._bars:
            shown = self._reporter.progress(told.total, told.unit, told.description, initial=told.done)
            self._bars[told.key] = self._stack.enter_context(shown)
        bar = self._bars[told.key]
        bar.set_postfix_str(told.postfix, refresh=False)
        bar.update(told.done - bar.n)
        if told.over:
            bar.close()


_open: list[Shown] = []


def look() -> None:
    """Show what tasks have told. Whoever waits for tasks calls it: a bar that another thread draws may hang this one."""
    for each in _open:
        each.look()
