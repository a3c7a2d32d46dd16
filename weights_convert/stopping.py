"""How a command ends when it is asked to: by Ctrl-C, by SIGTERM (``timeout``, Slurm), by SIGHUP (its terminal was closed).

All three end it in the same way: an exception unwinds what the command does, so that half-written files and workers go away,
one line says how to go on, and the exit status is that of shells, 128 + the signal's number. Python drops exceptions that are
raised inside of callbacks (of garbage collection, say): it is raised again then. Libraries turn it into others, which count as
the same. While a module is loaded, the process ends at once. Compiled code cannot be interrupted: a thread that the signal
wakes at once ends the process a moment later, whatever it does then, so that no more than two seconds pass on a busy machine
either.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import NoReturn

GRACE_S = 1.5
"""What a command has for its own end; with seven processes for each core, up to half a second more passed until it was over."""
_AGAIN_S = 0.01
"""Until a dropped exception is raised again, by when the callback that it was raised in is over."""
_IMPORT = "<frozen importlib._bootstrap>"
"""Where the code of ``import`` comes from."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def listening(tell: Callable[[], None]) -> Iterator[None]:
    """Raise :class:`Stopped` inside of the block when a signal comes, and end the process where that does not end it.

    Signals that whoever started the command has them ignored (``nohup``, a shell's background) stay ignored. Only the main
    thread of Python can listen; in another one nothing changes.

    Args:
        tell: says that the command was interrupted; called where the process ends by force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping: list[int] = []
    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping or _is_in(dropped.__code__, frame):
            return  # a second signal must not end the cleaning up after the first
        if _loads_a_module(frame):
            tell()
            end(number)
        stopping.append(number)
        raise Stopped(number)

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            stopping.clear()
            threading.Thread(target=send_again, args=(unraisable.exc_value.number,), daemon=True).start()
        else:
            say_dropped(unraisable)

    def send_again(number: int) -> None:
        while not over.wait(_AGAIN_S) and not stopping:
            os.kill(os.getpid(), number)

    def end_late() -> None:
        while (number := os.read(reader, 1)) and number[0] not in heard:
            pass
        if number and not over.wait(GRACE_S):
            tell()
            end(number[0])

    heard = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, stop) for number in heard}
    watcher = threading.Thread(target=end_late, name="stopping", daemon=True)
    say_dropped, sys.unraisablehook = sys.unraisablehook, dropped
    watcher.start()
    try:
        yield
    except Exception as error:
        if not stopping:
            raise
        raise Stopped(stopping[0]) from error
    finally:
        over.set()
        sys.unraisablehook = say_dropped
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writer)
        watcher.join()
        os.close(reader)


def end_without_words() -> None:
    """Until :func:`listening`, Ctrl-C ends the process without a traceback: it loads what it needs, and has begun nothing."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _loads_a_module(frame: FrameType | None) -> bool:
    """Whether ``frame`` is below an import: an exception there leaves compiled modules half loaded, which then may crash."""
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None


def _is_in(code: CodeType, frame: FrameType | None) -> bool:
    """Whether ``frame`` is one of a function, or below one."""
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def end(number: int) -> NoReturn:
    """End the process and those of its pools at once: interpreters that end while XLA computes may hang or crash."""
    if multiprocessing := sys.modules.get("multiprocessing"):  # it takes long to load, and is used by few commands
        for child in multiprocessing.active_children():
            child.terminate()
    os._exit(128 + number)
