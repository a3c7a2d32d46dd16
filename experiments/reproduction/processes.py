"""Python processes that do jobs for this one, and that never outlive it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Thread
from types import TracebackType
from typing import TypeVar

from subspace import environment
from subspace.errors import InputError

R = TypeVar("R")


class Processes:
    """A context manager; after an exception, or if this process is killed, its processes end at once, whatever they do.

    Args:
        count: number of processes.
        begin: called with ``arguments`` in each of them before the first job.
        arguments: anything that can be pickled.

    Raises InputError on a machine without shared memory, and at the end if one of the processes was ended from outside.
    """

    def __init__(self, count: int, begin: Callable[..., object], *arguments: object):
        context = get_context("spawn")  # JAX must not be forked
        self._count, self._others = count, active_children()
        # The other end closes with this process, however it ends, and every process sees that.
        listening, self._life_line = context.Pipe(duplex=False)
        try:
            self._pool = ProcessPoolExecutor(count, context, _begin, (listening, begin, arguments))
        except OSError as error:  # semaphores live in /dev/shm
            raise InputError(
                f"at_once={count}: several processes need shared memory (/dev/shm), which cannot be had here "
                f"({error.strerror or error}); at_once=1 needs none",
                argument="at_once",
            ) from error

    def submit(self, function: Callable[..., R], *arguments: object) -> Future[R]:
        """``function(*arguments)`` in the next process that is free."""
        return self._pool.submit(function, *arguments)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._life_line.close()
            for process in self._children():  # the line alone would wait for compiled code that keeps Python's lock
                process.kill()
        self._pool.shutdown(cancel_futures=True)
        self._life_line.close()
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                f"at_once={self._count}: a process was ended, most likely by the system for lack of memory; with fewer at once "
                "less is needed, and the same command goes on with what is finished",
                argument="at_once",
            ) from error

    def _children(self) -> list[BaseProcess]:
        return [child for child in active_children() if child not in self._others]


def _begin(life_line: Connection, begin: Callable[..., object], arguments: tuple[object, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's are for the command, with which this process ends
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with, args=(life_line,), daemon=True).start()
    environment.restore_pool()  # as in the command
    begin(*arguments)


def _end_with(life_line: Connection) -> None:
    try:
        life_line.recv_bytes()
    except (EOFError, OSError):  # nothing is ever sent
        os._exit(1)
