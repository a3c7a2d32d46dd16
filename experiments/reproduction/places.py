"""Where jobs are done: in this process one after the other, or several at a time in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TypeVar

from experiments.models import Base, load_base
from experiments.presets import PRESETS, PresetName
from experiments.process.compilation_cache import keep_compiled
from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.records import Record
from experiments.reproduction.scale import Scale

R = TypeVar("R")


class Places:
    """Does jobs; a context manager, after which nothing runs any more.

    Args:
        at_once: 1 for this process, or the number of processes.
        preset, scale, weights, base, store, announce: as in :class:`experiments.reproduction.execution.Execution`; processes of
            their own announce nothing and show no progress.
    """

    def __init__(
        self,
        at_once: int,
        preset: PresetName,
        scale: Scale,
        weights: str,
        base: Base,
        store: Path,
        announce: Callable[[str], object],
    ):
        self._announce = announce
        self._here = Execution(preset, scale, weights, base, store, announce)
        self._processes = None
        if at_once > 1:
            # Read when tqdm is imported, which is too late in what the processes begin with.
            os.environ["TQDM_DISABLE"] = "1"
            context = get_context("spawn")  # JAX must not be forked
            self._processes = ProcessPoolExecutor(at_once, context, _begin, (preset, scale, weights, store))

    def validation_loss(self, job: Job) -> Future[float]:
        return self._submit(
            Execution.validation_loss, job, f"{job.run.name}: a learning rate of {job.rate}, to compare"
        )

    def record(self, job: Job) -> Future[Record]:
        return self._submit(Execution.record, job, f"{job.run.name}: begun")

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._processes is None:
            return
        if kind is not None:
            for process in list(self._processes._processes.values()):  # what is half done goes on the next time
                process.terminate()
        self._processes.shutdown(cancel_futures=True)

    def _submit(self, method: Callable[[Execution, Job], R], job: Job, line: str) -> Future[R]:
        if self._processes is not None:
            self._announce(line)
            return self._processes.submit(_do, method, job)
        done: Future[R] = Future()
        done.set_result(method(self._here, job))
        return done


_execution: Execution | None = None
"""Of a process of its own."""


def _begin(preset: PresetName, scale: Scale, weights: str, store: Path) -> None:
    global _execution
    Thread(target=_end_with_parent, daemon=True).start()
    keep_compiled()
    base = load_base(weights, PRESETS[preset].rendering.resolution, PRESETS[preset].training)
    _execution = Execution(preset, scale, weights, base, store, _silent)


def _end_with_parent() -> None:
    """However it ends, killed included: nobody would take the job's result. What is half done goes on the next time."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(method: Callable[[Execution, Job], R], job: Job) -> R:
    assert _execution is not None
    return method(_execution, job)


def _silent(_: str) -> None:
    pass
