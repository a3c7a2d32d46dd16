"""Many scenes on the cores of one machine.

An :class:`Executor` turns jobs into results and knows nothing of data sets; :mod:`experiments.rendering.on_ray` hands the same
jobs, which are plain data, to many machines.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from experiments.process.cores import available_cores
from experiments.process.memory import in_gib
from experiments.rendering.jobs import RESTART_AFTER, Failed, Renderer, RenderJob, RenderResult
from experiments.rendering.worker_process import WorkerLost, WorkerProcess
from experiments.storage import files
from subspace.errors import InputError

_BYTES_A_WORKER, _BYTES_A_PIXEL = 250_000_000, 100
"""Of a Blender process: at least, and for each pixel of the passes of a picture."""
_TEMPORARY = "blender"
"""Between the dot and the rest of the name of the hidden folder with the workers' temporary files."""


class Executor(Protocol):
    """Where scenes are rendered."""

    def render(self, jobs: Iterable[RenderJob | Failed]) -> Iterator[RenderResult | Failed]:
        """Results in any order. Jobs are taken from the iterable when there is a worker for them.

        A scene that its maker could not specify comes as :class:`Failed` and goes as it came, among the results.

        Raises:
            OSError: no worker can be started, or nothing can be written; other jobs may be done.
            InputError: the workers are not the renderer that a job asks for.
        """
        ...


def memory_of_worker(resolution: int) -> int:
    """Bytes that a Blender process takes for pictures of so many pixels in width and height."""
    return _BYTES_A_WORKER + resolution**2 * _BYTES_A_PIXEL


def check_memory(workers: int | None, scenes: int, resolution: int, free: int | None) -> None:
    """Raises InputError if Blender processes that render such pictures need more than ``free`` bytes, where that is known.

    Args:
        workers: number of processes, None for one for each core; no more are started than there are scenes.
        scenes: to render.
        resolution: width and height of the pictures in pixels.
        free: bytes of memory.
    """
    each = memory_of_worker(resolution)
    count = min(len(available_cores()) if workers is None else workers, scenes)
    if free is not None and count * each > free:
        raise InputError(
            f"{count} Blender process(es) with pictures of {resolution}×{resolution} pixels need {in_gib(count * each)} of "
            f"memory, {in_gib(free)} are free",
            argument="resolution" if each > free or workers is None else "workers",
        )


class LocalPool:
    """An :class:`Executor` with one single-threaded worker for each core, pinned to it.

    Workers are replaced when they are lost, see :class:`~experiments.rendering.jobs.Renderer`, and now and then in any case.
    They end with this process, however it ends.

    Args:
        command: starts a worker, see :mod:`experiments.rendering.worker_process`.
        workers: how many; more than there are cores share them.
        restart_after: scenes before a worker is replaced.
        seconds_limit: per scene; by default what :func:`~experiments.rendering.jobs.time_limit` says.
        scratch: folder for the workers' temporary files, in a hidden folder that is gone afterwards; what killed processes
            left there goes, too. By default the system's temporary folder, where killed workers leave theirs.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        restart_after: int = RESTART_AFTER,
        seconds_limit: float | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._command, self._restart_after, self._seconds_limit = list(command), restart_after, seconds_limit
        self._scratch, self._size = scratch, workers
        self._temporary: Path | None = None
        self._stack = ExitStack()
        cores = available_cores()
        self._free_cores: queue.SimpleQueue[int] = queue.SimpleQueue()
        for worker in range(workers):
            self._free_cores.put(cores[worker % len(cores)])
        self._own = threading.local()  # each thread has a core and a renderer
        self._lock = threading.Lock()
        self._renderers: list[Renderer] = []
        self._closed = False
        self._ever_ready = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="render")

    def __enter__(self) -> LocalPool:
        """Starts the first worker, so that a Blender that does not work is found before anything is written."""
        if self._scratch is not None:
            self._temporary = self._stack.enter_context(files.hidden_folder(self._scratch / _TEMPORARY))
        try:
            self._threads.submit(lambda: self._renderer().worker).result()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers, drop what they were at, and wait for the threads."""
        with self._lock:
            self._closed = True
            for renderer in self._renderers:
                renderer.kill()
        self._threads.shutdown(cancel_futures=True)
        for renderer in self._renderers:
            renderer.close()
        self._renderers.clear()
        self._stack.close()

    def render(self, jobs: Iterable[RenderJob | Failed]) -> Iterator[RenderResult | Failed]:
        """See :class:`Executor`."""
        jobs = iter(jobs)
        pending: set[Future[RenderResult | Failed]] = set()
        while True:
            while len(pending) <= self._size:  # one in hand, so that no worker waits for a specification
                job = next(jobs, None)
                if job is None:
                    break
                if isinstance(job, Failed):
                    yield job
                else:
                    pending.add(self._threads.submit(self._run, job))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()

    def _run(self, job: RenderJob) -> RenderResult | Failed:
        return self._renderer().render(job)

    def _renderer(self) -> Renderer:
        """This thread's."""
        if not hasattr(self._own, "renderer"):
            core = self._free_cores.get_nowait()
            renderer = Renderer(lambda: self._start(core), self._restart_after, self._seconds_limit)
            with self._lock:
                self._renderers.append(renderer)
                if self._closed:
                    renderer.kill()
            self._own.renderer = renderer
        return self._own.renderer

    def _start(self, core: int) -> WorkerProcess:
        try:
            worker = WorkerProcess(self._command, core, self._temporary)
        except WorkerLost as error:
            if self._ever_ready or self._closed:
                raise
            raise InputError(f"Blender's worker does not start: {error}", argument="blender") from None
        self._ever_ready = True
        return worker
