"""``python -m experiments.benchmark cluster``: what it costs to have Ray between a command and its scenes."""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from experiments.benchmarks import machine
from experiments.cluster.settings import Ray
from experiments.data.scene_folder import SceneRecord
from experiments.process.cores import available_cores
from experiments.rendering.blender_command import worker_command
from experiments.rendering.jobs import Failed, RenderJob
from experiments.rendering.on_ray import OfRun, Parcel, RayPool, Work
from experiments.rendering.pool import Executor, LocalPool
from experiments.scenes.schema import Scene
from experiments.synthetic.generator import make_scene
from subspace.errors import InputError

SIZE, SAMPLES = 112, 4
"""Of the scenes that are rendered."""
_SCENES_A_CORE = {8: 4, 40: 2}
"""Views of a scene, nano's and more → scenes in a round, so that the cores' waiting for the last one counts in both alike."""
_IN_A_DATA_SET = 200
_VIEWS_OF_A_JOB = 100
"""The paper's numbers: what is scheduled is as large as its scenes."""
_LOOK_EVERY_S = 0.5
_NICENESS = "RAY_worker_niceness"
"""Variable of the environment: of Ray's tasks, 15 by default, with which others on the machine would come first."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int = 6
    """In each of which the same scenes are rendered without Ray and through it; 0 leaves this out."""
    jobs: int = 100_000
    """That are scheduled and do nothing; 0 leaves this out."""


def report(sizes: Sizes, blender: str | None) -> Iterator[str]:
    """The figures, as they are known.

    Raises:
        OSError: no Blender.
        InputError: Ray is missing, or a scene could not be rendered.
    """
    os.environ.setdefault(_NICENESS, "0")  # as without Ray
    yield machine.in_own_process(machine.describe)  # JAX would be here to stay
    if sizes.rounds:
        for views, scenes in _SCENES_A_CORE.items():
            yield from _paired(sizes.rounds, views, scenes * len(available_cores()), blender)
    if sizes.jobs:
        yield from _scheduled(sizes.jobs)


def _paired(rounds: int, views: int, count: int, blender: str | None) -> Iterator[str]:
    """Both keep their workers from the first round to the last, and either begins in every other round."""
    scene = _scene(views, SIZE)
    took: dict[str, list[tuple[float, float]]] = {"LocalPool": [], "Ray": []}
    yield f"{count} scenes of {views} views of {SIZE}², on {len(available_cores())} cores"
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalPool(worker_command(blender), len(available_cores())) as local,
        RayPool(Ray(), blender) as ray,
    ):
        pools: dict[str, Executor] = {"LocalPool": local, "Ray": ray}
        for name, pool in pools.items():
            _render(pool, scene, count, Path(folder) / f"warm_{name}")
        for number in range(rounds):
            for name in sorted(pools, reverse=number % 2 == 1):
                took[name].append(_render(pools[name], scene, count, Path(folder) / f"{number}_{name}"))
            rates = {name: count * views / times[-1][0] for name, times in took.items()}
            yield f"  round {number + 1}: LocalPool {rates['LocalPool']:.2f} images/s, Ray {rates['Ray']:.2f}"
    images = rounds * count * views
    whole = {name: images / sum(seconds for seconds, _ in times) for name, times in took.items()}
    cpu = {name: sum(cpu for _, cpu in times) / images for name, times in took.items()}
    yield (
        f"  together: LocalPool {whole['LocalPool']:.2f} images/s, Ray {whole['Ray']:.2f}: "
        f"{whole['Ray'] / whole['LocalPool']:.1%} of LocalPool"
    )
    more = (1 / whole["Ray"] - 1 / whole["LocalPool"]) * views * len(available_cores())
    yield f"  difference for each scene: {more:+.2f} seconds of a core"
    yield f"  CPU-seconds an image: LocalPool {cpu['LocalPool']:.3f}, Ray {cpu['Ray']:.3f}, all processes of either"


def _render(pool: Executor, scene: Scene, count: int, folder: Path) -> tuple[float, float]:
    """Seconds, and CPU-seconds of this process and all below it."""
    folder.mkdir(parents=True)
    start, cpu = time.perf_counter(), _cpu_seconds()
    for result in pool.render(RenderJob(_numbered(scene, i), folder / str(i)) for i in range(count)):
        if isinstance(result, Failed):
            raise InputError(f"a scene could not be rendered: {result.error}")
    return time.perf_counter() - start, _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    """Of this process and all below it, those that have ended included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)], ticks[int(stat.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    own = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(ticks[process] for process in own if process in ticks) / os.sysconf("SC_CLK_TCK")


def _scheduled(jobs: int) -> Iterator[str]:
    """As many scenes as that, by a renderer that does nothing but make their folders."""
    yield f"{jobs:,} scenes of {_VIEWS_OF_A_JOB} views, which nobody renders, as `generate --executor=ray` schedules them"
    scene = _scene(_VIEWS_OF_A_JOB, SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with RayPool(Ray(), None, work=Work(_nothing_here, _render_nothing)) as pool, _Peak() as peak:
            start, cpu = time.perf_counter(), _cpu_seconds()
            done = 0
            for result in pool.render(_jobs(scene, jobs, folder)):
                if isinstance(result, Failed):
                    raise InputError(f"a job failed: {result.error}")
                done += 1
                if done % max(1, jobs // 5) == 0:
                    yield f"  {done:9,}: {done / (time.perf_counter() - start):.0f} jobs/s so far, {peak}"
            seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    each = 1000 * cpu / done
    yield f"  {done / seconds:.0f} jobs/s ({seconds:.0f} s, {each:.1f} CPU-ms a job of all processes); at most {peak}"


def _jobs(scene: Scene, jobs: int, folder: Path) -> Iterator[RenderJob]:
    for number in range(jobs):
        dataset, place = divmod(number, _IN_A_DATA_SET)
        parent = folder / f"dataset_{dataset:03d}"
        if place == 0:
            parent.mkdir()
        yield RenderJob(_numbered(scene, place, dataset), parent / f"scene_{place:04d}")


def _nothing_here(_: OfRun) -> str:
    return "nothing"


def _render_nothing(parcel: Parcel, _: OfRun) -> SceneRecord:
    job = parcel.open()
    job.folder.mkdir()
    files = {f"images/{view:06d}.png": "0" * 64 for view in range(len(job.scene.cameras.views))}
    return SceneRecord(
        attempt=0,
        renderer="nothing",
        seconds=0.0,
        build_seconds=0.0,
        writing_seconds=0.0,
        peak_memory_gb=0.0,
        failures=(),
        files=files,
    )


def _scene(views: int, size: int) -> Scene:
    return make_scene(
        "geometry", "object_centric", seed=0, dataset=0, scene=0, views=views, width=size, height=size, samples=SAMPLES
    )


def _numbered(scene: Scene, number: int, dataset: int = 0) -> Scene:
    provenance = msgspec.structs.replace(scene.provenance, scene=number, dataset=dataset)
    return msgspec.structs.replace(scene, provenance=provenance)


class _Peak:
    """The most memory of the command and of Ray's head while it is looked at."""

    def __init__(self) -> None:
        import ray._private.worker as worker

        node = worker._global_node
        started = {} if node is None else node.all_processes
        self._processes = {"the command": os.getpid()}
        for kind, name in (("gcs_server", "Ray's head"), ("raylet", "its raylet")):
            if processes := started.get(kind):
                self._processes[name] = processes[0].process.pid
        self._most = dict.fromkeys(self._processes, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            for name, process in self._processes.items():
                with suppress(OSError):  # it has ended
                    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
                    self._most[name] = max(self._most[name], pages * resource.getpagesize())
            if self._over.wait(_LOOK_EVERY_S):
                return

    def __str__(self) -> str:
        return ", ".join(f"{name} {most / 1e9:.2f} GB" for name, most in self._most.items())
