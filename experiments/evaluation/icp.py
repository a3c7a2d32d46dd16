"""Point-to-point ICP between clouds that are nearly aligned.

The loop, its stopping rule and its defaults are those of Open3D's ``registration_icp``, which the field's evaluations
call, so that results agree with published ones to rounding. Open3D is not a dependency (0.3 GB, and system libraries);
light libraries iterate or stop differently, which shows in accuracies where ICP has not converged after 30 iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from experiments.evaluation.moving_neighbours import MovingNeighbours
from experiments.evaluation.similarity import Similarity, fit_similarity

THRESHOLD = 0.1
"""Points further than this from their neighbour, in the target's unit, do not count."""
ITERATIONS = 30
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Registration:
    """Where ICP ended."""

    motion: Similarity
    """Rigid, of the source onto the target."""
    fitness: float
    """Share of the source's points that have a neighbour."""
    rmse: float
    """Root mean square of these points' distances; 0 where there are none."""
    iterations: int
    """Number of iterations."""
    converged: bool
    """Whether it stopped by itself."""


def register(
    source: Float[np.ndarray, "n 3"],
    target: KDTree,
    threshold: float = THRESHOLD,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Registration:
    """Move ``source`` rigidly onto ``target``, starting where it is.

    Args:
        source: points.
        target: tree of the target's points.
        threshold: see :data:`THRESHOLD`.
        iterations: at most so many.
        tolerance: stop when an iteration changes both fitness and rmse (in the target's unit) by less.
    """
    motion, moved, converged, done = Similarity.identity(), source, False, 0
    neighbours = MovingNeighbours(target, threshold, len(source))
    distance, index = neighbours(moved)
    fitness, rmse = _quality(distance)
    for done in range(1, iterations + 1):
        near = np.isfinite(distance)
        try:
            update = fit_similarity(moved[near], target.data[index[near]], with_scale=False)
        except ValueError:  # fewer than three neighbours, or all on a line: nothing to go by
            done -= 1
            break
        motion = update.after(motion)
        moved = motion(source)
        before = fitness, rmse
        distance, index = neighbours(moved)
        fitness, rmse = _quality(distance)
        if abs(fitness - before[0]) < tolerance and abs(rmse - before[1]) < tolerance:
            converged = True
            break
    return Registration(motion, fitness, rmse, done, converged)


def _quality(distance: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Fitness and rmse."""
    near = distance[np.isfinite(distance)]
    return len(near) / len(distance), float(np.sqrt(np.mean(near**2))) if len(near) else 0.0
