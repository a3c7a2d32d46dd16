"""``python -m experiments.benchmark rendering``: what a rendered image costs, and where the time goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from experiments.benchmarks import machine
from experiments.process.cores import available_cores
from experiments.rendering.blender_command import worker_command
from experiments.rendering.jobs import Failed, RenderJob, RenderResult
from experiments.rendering.pool import LocalPool
from experiments.scenes.schema import Scene, Setting
from experiments.synthetic.generator import make_scene
from subspace.errors import InputError

SIZES = {112: (2, 8), 224: (1, 6), 518: (1, 2)}
"""Scenes and views for each resolution: few, so that all of it takes less than three minutes."""
SAMPLES = 4


def report(blender: str | None) -> Iterator[str]:
    """The tables, line by line as they fill.

    Raises:
        OSError: no Blender.
        InputError: a scene could not be rendered.
    """
    yield machine.describe()
    command = worker_command(blender)
    with tempfile.TemporaryDirectory() as folder, LocalPool(command, 1) as pool:
        (warm,) = _render(pool, [_scene("object_centric", 0, 1, 28)], Path(folder) / "warm")
        yield f"{warm.record.renderer}, {SAMPLES} paths per pixel and denoising, geometry varies\n"
        yield "one core          images/s   of a scene's time: specification  building  rendering  writing   peak memory so far"
        for setting in get_args(Setting):
            for size in SIZES:
                yield _row(pool, Path(folder) / f"{setting}{size}", setting, size)
    cores = len(available_cores())
    with tempfile.TemporaryDirectory() as folder:
        rates = {count: _steady_rate(command, count, Path(folder) / str(count)) for count in sorted({1, cores})}
    yield (
        f"\nmicro_baseline, 112², specifications in hand: {rates[1]:.2f} images/s on one core, "
        f"{rates[cores]:.2f} on {cores}: {rates[cores] / rates[1] / cores:.0%} of linear"
    )


def _row(pool: LocalPool, folder: Path, setting: Setting, size: int) -> str:
    count, views = SIZES[size]
    start = time.perf_counter()
    scenes = [_scene(setting, number, views, size) for number in range(count)]
    specifying = time.perf_counter() - start
    records = [result.record for result in _render(pool, scenes, folder)]
    building = sum(record.build_seconds for record in records)
    rendering = sum(record.seconds for record in records) - building
    writing = sum(record.writing_seconds for record in records)
    parts = (specifying, building, rendering, writing)
    shares = "  ".join(f"{part / sum(parts):9.1%}" for part in parts)
    rate = count * views / (building + rendering + writing)  # specifications are made while others are rendered
    memory = max(record.peak_memory_gb for record in records)
    return f"{setting:<14} {size:3}² {rate:7.2f}   {'':16}{shares}   {memory:.2f} GB"


def _steady_rate(command: Sequence[str], workers: int, folder: Path) -> float:
    """Images a second with all workers busy from the first to the last: each has equally many scenes of equal cost."""
    views = SIZES[112][1]
    scene = _scene("micro_baseline", 0, views, 112)
    with LocalPool(command, workers) as pool:
        _render(pool, [_scene("object_centric", 0, 1, 28)] * 2 * workers, folder / "warm")
        start = time.perf_counter()
        _render(pool, [scene] * 2 * workers, folder / "steady")
        return 2 * workers * views / (time.perf_counter() - start)


def _scene(setting: Setting, number: int, views: int, size: int) -> Scene:
    return make_scene(
        "geometry", setting, seed=0, dataset=0, scene=number, views=views, width=size, height=size, samples=SAMPLES
    )


def _render(pool: LocalPool, scenes: Sequence[Scene], folder: Path) -> list[RenderResult]:
    folder.mkdir(parents=True)
    results = []
    for result in pool.render(RenderJob(scene, folder / str(i)) for i, scene in enumerate(scenes)):
        if isinstance(result, Failed):
            raise InputError(f"a scene could not be rendered: {result.error}")
        results.append(result)
    return results
