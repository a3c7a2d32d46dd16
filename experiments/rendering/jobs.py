"""One scene, from its description to its folder, by a worker that is replaced when it is lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from experiments.data import passes
from experiments.data.inputs import InputFile
from experiments.data.scene_folder import SceneRecord, write_record, write_views
from experiments.rendering import region
from experiments.rendering.worker_process import RenderError, WorkerLost, WorkerProcess
from experiments.scenes import schema
from experiments.storage import files
from subspace.errors import InputError
from vggt_jax.disk_space import DiskFullError

_LEAST_FREE_BYTES = 32 * 2**20
_SECONDS_PER_PATH = 1e-5
"""A core traces about 10⁵ paths a second."""
RESTART_AFTER = 40
"""Scenes before a worker is replaced, because Blender's memory grows."""


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


class Renderer:
    """Renders scenes one after the other with a worker, which is started for the first one.

    A worker that crashes, hangs or speaks nonsense is replaced and its scene tried once more, as the fault may be the
    machine's; a scene that a worker reports as impossible is not.

    Args:
        start: starts a worker; raises WorkerLost if there is none.
        restart_after: scenes before a worker is replaced.
        seconds_limit: per scene; by default what :func:`time_limit` says.
    """

    def __init__(
        self,
        start: Callable[[], WorkerProcess],
        restart_after: int = RESTART_AFTER,
        seconds_limit: float | None = None,
    ):
        self._start, self._restart_after, self._seconds_limit = start, restart_after, seconds_limit
        self._worker: WorkerProcess | None = None
        self._closed = False

    @property
    def worker(self) -> WorkerProcess:
        """The worker, started if there is none; raises WorkerLost if that cannot be done."""
        if self._worker is None:
            self._worker = self._start()
            if self._closed:
                self._worker.kill()
        return self._worker

    def kill(self) -> None:
        """End the worker at once, and all that are to come; may be called from other threads."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """Kill the worker and free what it held."""
        self.kill()
        self._discard()

    def render(self, job: RenderJob) -> RenderResult | Failed:
        """Do a job.

        Raises:
            WorkerLost: after :meth:`kill`.
            InputError: the worker is not the renderer that the job asks for.
            OSError: the folder cannot be written.
        """
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
        worker = self.worker
        limit = time_limit(job.scene) if self._seconds_limit is None else self._seconds_limit
        try:
            record = finish_job(worker, job, limit)
        except WorkerLost:
            self._discard()
            raise
        if worker.scenes_rendered >= self._restart_after:
            self._discard()
        return RenderResult(job, record)

    def _discard(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _read_passes(raw: Path, scene: schema.Scene, view: int) -> passes.Passes:
    world_to_camera = np.reshape(scene.cameras.views[view].world_to_camera, (3, 4))
    try:
        return passes.read(raw / f"{view:06d}.exr", world_to_camera)
    except (OSError, InputError) as error:  # the worker's fault, unlike an OSError in writing
        raise RenderError(f"view {view} cannot be read: {error}") from None
