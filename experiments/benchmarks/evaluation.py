"""``python -m experiments.benchmark evaluation``: the metrics of one scene of 8 views of 518²."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from experiments.benchmarks import machine
from experiments.evaluation.affine_depth import fit_scale_shift, spread
from experiments.evaluation.cloud import Cloud
from experiments.evaluation.point_metrics import align, choose, compare
from experiments.evaluation.scene import QUERIES, Reconstruction, evaluate_scene

R = TypeVar("R")
VIEWS, SIZE = 8, 518
NOISE = 0.01
"""Standard deviation of the predicted depths, relative."""


def report() -> Iterator[str]:
    """The table, line by line as it fills."""
    yield machine.describe()
    truth = _room()
    predicted = _distorted(truth)
    mask = np.ones(truth.depths.shape, bool)
    yield f"\n{VIEWS} views of {SIZE}², {mask.size:,} points in each cloud, {QUERIES:,} looked up"
    rng = np.random.default_rng(0)
    queries = choose(mask.size, QUERIES, rng), choose(mask.size, QUERIES, rng)

    predicted_cloud, line = _timed("cloud of the prediction", lambda: Cloud(predicted.points[mask]))
    yield line
    cloud, line = _timed("cloud of the truth", lambda: Cloud(truth.points[mask]))
    yield line
    (similarity, registration), line = _timed("Umeyama, then ICP", lambda: align(predicted_cloud, cloud, queries[0]))
    yield line
    yield f"    ICP took {registration.iterations} iterations, converged: {registration.converged}"
    aligned = predicted_cloud.place(similarity)
    yield _timed("accuracy, completeness, normals", lambda: compare(aligned, cloud, *queries))[1]
    some = spread(np.arange(SIZE**2))
    own = [x.camera_points(0, some) for x in (predicted, truth)]
    yield _timed("alignment of one depth map", lambda: fit_scale_shift(*own))[1]
    sampled, line = _timed("the scene as a whole", lambda: evaluate_scene(predicted, truth, mask))
    yield line
    whole, line = _timed("the same, all points looked up", lambda: evaluate_scene(predicted, truth, mask, exact=True))
    yield line
    for name, value in whole.metrics.points.__dict__.items():
        share = sampled.metrics.points.__dict__[name] / value - 1
        yield f"    {name:<28} {value:.6f}, of the sample {share:+.2%}"
    yield f"  peak memory {machine.peak_memory() / 1e9:.2f} GB"


def _timed(what: str, function: Callable[[], R]) -> tuple[R, str]:
    """The result, and a line that says how long it took."""
    start = time.perf_counter()
    result = function()
    return result, f"  {what:<34} {time.perf_counter() - start:6.2f} s"


def _room() -> Reconstruction:
    """A wavy wall behind a step, seen from an arc."""
    u = np.linspace(-0.9, 0.9, SIZE)
    x, y = np.meshgrid(u, u)
    focal = (SIZE - 1) / 1.8
    intrinsics = np.array([[focal, 0, (SIZE - 1) / 2], [0, focal, (SIZE - 1) / 2], [0, 0, 1]])
    depths, extrinsics = [], []
    for view in range(VIEWS):
        angle = np.radians(4 * view)
        depths.append(3 + 0.4 * np.sin(3 * x + 0.2 * view) * np.cos(2 * y) + (x > 0.3 - 0.05 * view))
        turn = [[np.cos(angle), 0, -np.sin(angle), 0.1 * view], [0, 1, 0, 0], [np.sin(angle), 0, np.cos(angle), 0]]
        extrinsics.append(turn)
    return Reconstruction(np.array(depths), np.array(extrinsics), np.broadcast_to(intrinsics, (VIEWS, 3, 3)))


def _distorted(truth: Reconstruction) -> Reconstruction:
    """In another unit, with smooth and independent errors of depth and a slightly wrong focal length."""
    rng = np.random.default_rng(0)
    smooth = np.sin(np.linspace(0, 7, SIZE))[:, None] * np.cos(np.linspace(0, 5, SIZE))
    depths = truth.depths * (1 + 0.02 * smooth + NOISE * rng.normal(size=truth.depths.shape))
    extrinsics = truth.extrinsics.copy()
    extrinsics[..., 3] += 0.01 * rng.normal(size=(VIEWS, 3))
    extrinsics[..., 3] /= 2.5
    intrinsics = truth.intrinsics * np.array([1.02, 1.02, 1])[:, None]
    return Reconstruction(depths / 2.5, extrinsics, intrinsics)
