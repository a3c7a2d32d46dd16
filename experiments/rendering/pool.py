"""Many scenes on the cores of one machine.

An :class:`Executor` turns jobs into results and knows nothing of data sets; another one could hand the same jobs, which are
plain data, to many machines, each of which calls :func:`finish_job` with a worker of its own.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from experiments.data import passes
from experiments.data.inputs import InputFile
from experiments.data.scene_folder import SceneRecord, write_record, write_views
from experiments.process.cores import available_cores
from experiments.process.memory import in_gib
from experiments.rendering import region
from experiments.rendering.worker_process import RenderError, WorkerLost, WorkerProcess
from experiments.scenes import schema
from experiments.storage import files
from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError

_LEAST_FREE_BYTES = 32 * 2**20
_BYTES_A_WORKER, _BYTES_A_PIXEL = 250_000_000, 100
"""Of a Blender process: at least, and for each pixel of the passes of a picture."""
_TEMPORARY = "blender"
"""Between the dot and the rest of the name of the hidden folder with the workers' temporary files."""
_SECONDS_PER_PATH = 1e-5
"""A core traces about 10⁵ paths a second."""


@dataclass(frozen=True)
class RenderJob:
    """A scene and the folder that is to hold it; the folder's parent exists."""

    scene: schema.Scene
    """The scene to render."""
    folder: Path
    """The folder to be."""
    failures: tuple[str, ...] = ()
    """Errors of earlier attempts, for the record."""
    renderer: str | None = None
    """What the data set's other scenes were rendered by; another version would give other images."""
    inputs: dict[str, InputFile | None] | msgspec.UnsetType = msgspec.UNSET
    """The user's files that the scene is made from, for the record."""


@dataclass(frozen=True)
class RenderResult:
    """A scene that is rendered."""

    job: RenderJob
    """The job that is done."""
    record: SceneRecord
    """The record of the scene's folder."""


@dataclass(frozen=True)
class Failed:
    """A scene that could not be rendered, or not even be specified."""

    dataset: int
    """Number of the data set."""
    scene: int
    """Number of the scene in it."""
    error: str
    """What was wrong, in one line."""
    final: bool = False
    """No other specification of the scene would be better."""


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


def check_memory(workers: int | None, scenes: int, resolution: int, free: int | None) -> None:
    """Raises InputError if Blender processes that render such pictures need more than ``free`` bytes, where that is known.

    Args:
        workers: number of processes, None for one for each core; no more are started than there are scenes.
        scenes: to render.
        resolution: width and height of the pictures in pixels.
        free: bytes of memory.
    """
    each = _BYTES_A_WORKER + resolution**2 * _BYTES_A_PIXEL
    count = min(len(available_cores()) if workers is None else workers, scenes)
    if free is not None and count * each > free:
        raise InputError(
            f"{count} Blender process(es) with pictures of {resolution}×{resolution} pixels need {in_gib(count * each)} of "
            f"memory, {in_gib(free)} are free",
            argument="resolution" if each > free or workers is None else "workers",
        )


def time_limit(scene: schema.Scene) -> float:
    """Seconds after which a worker counts as hung: ten times what rendering should take, and a minute."""
    cameras = scene.cameras
    paths = cameras.width * cameras.height * len(cameras.views) * scene.render.samples
    return 60 + 10 * _SECONDS_PER_PATH * paths


def finish_job(worker: WorkerProcess, job: RenderJob, seconds_limit: float) -> SceneRecord:
    """Have a job's scene rendered and put its folder into place.

    Raises:
        RenderError: the scene could not be rendered, or its passes are unusable.
        WorkerLost: while rendering.
        InputError: the worker is not the renderer that the job asks for.
        OSError: the folder cannot be written.
    """
    if job.renderer not in (None, worker.renderer):
        raise InputError(
            f"{job.folder.parent} was begun with {job.renderer}, this is {worker.renderer}", argument="blender"
        )
    with files.new_folder(job.folder) as folder:
        raw = folder / "raw"
        raw.mkdir()
        spec = raw / "spec.json"
        spec.write_bytes(schema.to_json(job.scene))
        rendered = worker.render(spec.absolute(), raw.absolute(), seconds_limit)
        start = time.perf_counter()
        try:
            write_views(folder, job.scene, lambda view: _read_passes(raw, job.scene, view), region.mask_of(job.scene))
        except InputError as error:
            raise RenderError(str(error)) from None
        shutil.rmtree(raw)
        return write_record(
            folder,
            attempt=job.scene.provenance.attempt,
            renderer=worker.renderer,
            seconds=rendered.seconds,
            build_seconds=rendered.build_seconds,
            writing_seconds=time.perf_counter() - start,
            peak_memory_gb=rendered.peak_memory_gb,
            failures=job.failures,
            inputs=job.inputs,
        )


class LocalPool:
    """An :class:`Executor` with one single-threaded worker for each core, pinned to it.

    A worker that crashes, hangs or speaks nonsense is replaced and its scene tried once more, as the fault may be the
    machine's; a scene that a worker reports as impossible is not. Workers are replaced now and then in any case, because
    Blender's memory grows. They end with this process, however it ends.

    Args:
        command: starts a worker, see :mod:`experiments.rendering.worker_process`.
        workers: how many; more than there are cores share them.
        restart_after: scenes before a worker is replaced.
        seconds_limit: per scene; by default what :func:`time_limit` says.
        scratch: folder for the workers' temporary files, in a hidden folder that is gone afterwards; what killed processes
            left there goes, too. By default the system's temporary folder, where killed workers leave theirs.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        restart_after: int = 40,
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
        self._own = threading.local()  # each thread has a core and a worker
        self._lock = threading.Lock()
        self._workers: set[WorkerProcess] = set()
        self._closed = False
        self._ever_ready = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="render")

    def __enter__(self) -> LocalPool:
        """Starts the first worker, so that a Blender that does not work is found before anything is written."""
        if self._scratch is not None:
            self._temporary = self._stack.enter_context(files.hidden_folder(self._scratch / _TEMPORARY))
        try:
            self._threads.submit(self._worker).result()
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
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._workers.clear()
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
        try:
            try:
                return self._attempt(job)
            except WorkerLost:
                if self._closed:
                    raise
                return self._attempt(job)
        except (RenderError, WorkerLost) as error:
            if shutil.disk_usage(job.folder.parent).free < _LEAST_FREE_BYTES:  # which a worker may not be able to tell
                raise DiskFullError(job.folder.parent) from None
            provenance = job.scene.provenance
            return Failed(provenance.dataset, provenance.scene, " ".join(str(error).split()))

    def _attempt(self, job: RenderJob) -> RenderResult:
        worker = self._worker()
        limit = time_limit(job.scene) if self._seconds_limit is None else self._seconds_limit
        try:
            record = finish_job(worker, job, limit)
        except WorkerLost:
            self._discard(worker)
            raise
        if worker.scenes_rendered >= self._restart_after:
            self._discard(worker)
        return RenderResult(job, record)

    def _worker(self) -> WorkerProcess:
        """This thread's worker, started if there is none."""
        worker = getattr(self._own, "worker", None)
        if worker is not None:
            return worker
        if not hasattr(self._own, "core"):
            self._own.core = self._free_cores.get_nowait()
        try:
            worker = WorkerProcess(self._command, self._own.core, self._temporary)
        except WorkerLost as error:
            if self._ever_ready or self._closed:
                raise
            raise InputError(f"Blender's worker does not start: {error}", argument="blender") from None
        with self._lock:
            self._workers.add(worker)
            if self._closed:
                worker.kill()
        self._ever_ready = True
        self._own.worker = worker
        return worker

    def _discard(self, worker: WorkerProcess) -> None:
        self._own.worker = None
        with self._lock:
            self._workers.discard(worker)
        worker.close()


def _read_passes(raw: Path, scene: schema.Scene, view: int) -> passes.Passes:
    world_to_camera = np.reshape(scene.cameras.views[view].world_to_camera, (3, 4))
    try:
        return passes.read(raw / f"{view:06d}.exr", world_to_camera)
    except (OSError, InputError) as error:  # the worker's fault, unlike an OSError in writing
        raise RenderError(f"view {view} cannot be read: {error}") from None
