"""Scenes on the nodes of a Ray cluster: a task renders one scene, with the worker of the process that it runs in."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec

from experiments.cluster import versions
from experiments.cluster.connection import alive_nodes, ask_all, connect
from experiments.cluster.settings import Ray
from experiments.cluster.stores import Stores
from experiments.cluster.tasks import Demand, LostError, Tasks, in_order
from experiments.data.inputs import InputFile
from experiments.data.scene_folder import SceneRecord, find_damage, read_record
from experiments.process.cores import claimed_core
from experiments.process.reporting import SILENT, Reporter
from experiments.rendering.blender_command import worker_command
from experiments.rendering.jobs import Failed, Renderer, RenderJob, RenderResult
from experiments.rendering.worker_process import WorkerLost, WorkerProcess
from experiments.scenes import schema
from experiments.storage import begun, files
from subspace.errors import InputError
from vggt_jax.reading import typed

BLENDER = "blender"
"""The resource of nodes that render, in a cluster that has nodes with it; otherwise all of them do."""
_IN_HAND = 2
"""Tasks for each core that renders, so that none waits for the next one."""
_LOOK_EVERY_S = 5.0
_SEEN_WITHIN_S = 60.0
"""A shared file system may take its time to show what another machine wrote."""


@dataclass(frozen=True)
class OfRun:
    """What all tasks of a run have in common."""

    blender: str | None
    """See :func:`experiments.rendering.blender_command.worker_command`."""
    versions: Mapping[str, str]
    """What every node must run."""


@dataclass(frozen=True)
class Parcel:
    """A job on its way to a node. Its scene is JSON, as pickling hundreds of small objects takes milliseconds."""

    scene: bytes
    """Of the job."""
    folder: Path
    """Of the job, absolute."""
    failures: tuple[str, ...]
    """Of the job."""
    renderer: str | None
    """Of the job."""
    inputs: dict[str, InputFile | None] | msgspec.UnsetType
    """Of the job."""
    stores: Stores
    """What the folder lies in copies of; then no file system need be shared."""

    @classmethod
    def of(cls, job: RenderJob, renderer: str | None) -> Parcel:
        """A job; ``renderer`` is what it is rendered with where it does not say so itself."""
        folder, own = Path(os.path.realpath(job.folder)), renderer if job.renderer is None else job.renderer
        return cls(schema.to_json(job.scene), folder, job.failures, own, job.inputs, Stores.of(folder))

    def open(self) -> RenderJob:
        """The job."""
        scene = typed.decode(self.scene, schema.Scene)
        return RenderJob(scene, self.folder, self.failures, self.renderer, self.inputs)


@dataclass(frozen=True)
class Work:
    """What nodes do; functions of a module."""

    renderer: Callable[[OfRun], str]
    """What the node renders with, called on each before the first scene."""
    render: Callable[[Parcel, OfRun], SceneRecord | Failed]
    """Leaves the job's folder."""


class RayPool:
    """An :class:`~experiments.rendering.pool.Executor`; the folders of its jobs lie where all nodes see them, or in a store.

    Args:
        cluster: where.
        blender: on the nodes: an installed Blender or a Python with bpy; by default each has an environment made.
        workers: scenes at a time; None for as many as there are cores, and one more for each.
        memory: bytes that rendering a scene takes.
        reporter: is told what there is.
        work: what nodes do, by default with Blender.
    """

    def __init__(
        self,
        cluster: Ray,
        blender: str | None,
        workers: int | None = None,
        memory: int = 0,
        reporter: Reporter = SILENT,
        work: Work | None = None,
    ):
        self._cluster, self._workers, self._memory, self._reporter = cluster, workers, memory, reporter
        self._work = work or Work(renderer_here, render_scene)
        self._run = OfRun(blender, versions.here())
        self._renderer: str | None = None
        self._tasks: Tasks | None = None
        self._asked, self._size = 0.0, 0

    def __enter__(self) -> RayPool:
        """Has every node that renders start its Blender, so that one that does not work is found before anything is written."""
        connect(self._cluster, self._reporter)  # says in words that Ray is not installed
        import ray

        nodes = [node for node in alive_nodes() if node["Resources"].get(BLENDER)]
        others = {BLENDER: 1.0} if nodes else {}
        nodes = nodes or [node for node in alive_nodes() if node["Resources"].get("CPU")]
        if not nodes:
            raise InputError("no node of the Ray cluster has a CPU to render with", argument="executor")
        found = ask_all(ray.remote(self._work.renderer), nodes, self._run)
        host, self._renderer = found[0]
        for other, renderer in found:
            if renderer != self._renderer:
                raise InputError(
                    f"{other} has {renderer}, {host} has {self._renderer}; all nodes need the same", argument="blender"
                )
        demand = Demand(1, memory=self._memory, others=others)
        self._tasks = Tasks(self._cluster, self._work.render, demand, self._reporter)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what still runs."""
        if self._tasks is not None:
            self._tasks.__exit__()

    def render(self, jobs: Iterable[RenderJob | Failed]) -> Iterator[RenderResult | Failed]:
        """See :class:`~experiments.rendering.pool.Executor`."""
        assert self._tasks is not None
        failed: list[Failed] = []

        def calls() -> Iterator[tuple[RenderJob, tuple[object, ...]]]:
            for job in jobs:
                if isinstance(job, Failed):
                    failed.append(job)
                else:
                    yield job, (Parcel.of(job, self._renderer), self._run)

        for job, found in in_order(self._tasks, calls(), self._at_once):
            yield from failed
            failed.clear()
            yield self._result(job, found)
        yield from failed

    def _result(self, job: RenderJob, found: SceneRecord | Failed | LostError) -> RenderResult | Failed:
        provenance = job.scene.provenance
        if isinstance(found, Failed):
            return found
        if isinstance(found, LostError):
            return Failed(provenance.dataset, provenance.scene, str(found), final=True)
        if not begun.fetch(job.folder.parent, job.folder.name, job.folder):
            _wait_until_seen(job.folder)
        return RenderResult(job, found)

    def _at_once(self) -> int:
        if self._workers is not None:
            return self._workers
        if time.monotonic() > self._asked + _LOOK_EVERY_S or not self._size:
            import ray

            self._asked = time.monotonic()
            resources = ray.cluster_resources()
            slots = min(resources.get("CPU", 1), resources.get(BLENDER, float("inf")))
            self._size = _IN_HAND * max(1, int(slots))
        return self._size


def render_scene(parcel: Parcel, run: OfRun) -> SceneRecord | Failed:
    """A task: the record of the job's scene. An earlier try may have finished it before its node was lost."""
    versions.check(run.versions)
    job = parcel.open()
    if (place := parcel.stores.place(job.folder)) is not None:
        return _into_store(job, run, place)
    if not job.folder.parent.is_dir():
        raise InputError(
            f"{socket.gethostname()} does not see {job.folder.parent}: it must lie on a file system that all nodes share",
            argument="output",
        )
    if (left := _left(job)) is not None:
        return left
    found = _renderer(run.blender).render(job)
    return found if isinstance(found, Failed) else found.record


def _into_store(job: RenderJob, run: OfRun, folder: Path) -> SceneRecord | Failed:
    """The same, if the folder that the scene is for lies in copies of a store, of which this node has its own."""
    with files.hidden_folder(folder) as hidden:
        own = replace(job, folder=hidden / folder.name)
        if begun.fetch(folder.parent, folder.name, own.folder) and (left := _left(own)) is not None:
            files.remove(own.folder)
            return left
        found = _renderer(run.blender).render(own)
        if isinstance(found, Failed):
            return found
        begun.publish(folder.parent, folder.name, files.everything_below(own.folder), whole=own.folder)
        files.remove(own.folder)
        return found.record


def renderer_here(run: OfRun) -> str:
    """What this node renders with; its worker stays for the scenes to come."""
    versions.check(run.versions)
    return _renderer(run.blender).worker.renderer


def _left(job: RenderJob) -> SceneRecord | None:
    """The record of this very scene, if it is there and whole."""
    if not job.folder.exists():
        return None
    try:
        record = read_record(job.folder)
        same = (job.folder / "spec.json").read_bytes() == schema.to_json(job.scene)
        return record if same and find_damage(job.folder, record, everything=True) is None else None
    except (OSError, InputError):
        return None


@cache
def _renderer(blender: str | None) -> Renderer:
    """The one of this process, which Ray gives one task after the other; its worker ends with the process."""
    try:
        command = worker_command(blender)
    except InputError as error:
        raise InputError(f"{socket.gethostname()}: {error}", argument=error.argument) from None
    ever: list[bool] = []

    def start() -> WorkerProcess:
        try:
            worker = WorkerProcess(command, claimed_core())  # on any core Blender needs 40 % more of it
        except WorkerLost as error:
            if ever:
                raise
            raise InputError(
                f"{socket.gethostname()}: Blender's worker does not start: {error}", argument="blender"
            ) from None
        ever.append(True)
        return worker

    return Renderer(start)


def _wait_until_seen(folder: Path) -> None:
    """Raises InputError if this machine does not see what a node has written."""
    end = time.monotonic() + _SEEN_WITHIN_S
    while not folder.exists() and folder.name not in os.listdir(folder.parent):  # listing makes NFS look again
        if time.monotonic() > end:
            raise InputError(
                f"a node has written {folder}, which is not seen here: it must lie on a file system that all nodes share",
                argument="output",
            )
        time.sleep(0.1)
