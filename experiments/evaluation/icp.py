"""Point-to-point ICP between clouds that are nearly aligned.

The loop, its stopping rule and its defaults are those of Open3D's ``registration_icp``, which the field's evaluations
call, so that results agree with published ones to rounding. Open3D is not a dependency (0.3 GB, and system libraries);
light libraries iterate or stop differently, which shows in accuracies where ICP has not converged after 30 iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

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
    converged: bool


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
    neighbours = _Neighbours(target, len(source))
    near, index, fitness, rmse = neighbours.within(threshold, moved)
    for done in range(1, iterations + 1):
        try:
            update = fit_similarity(moved[near], target.data[index], with_scale=False)
        except ValueError:  # fewer than three neighbours, or all on a line: nothing to go by
            done -= 1
            break
        motion = update.after(motion)
        moved = motion(source)
        before = fitness, rmse
        near, index, fitness, rmse = neighbours.within(threshold, moved)
        if abs(fitness - before[0]) < tolerance and abs(rmse - before[1]) < tolerance:
            converged = True
            break
    return Registration(motion, fitness, rmse, done, converged)


class _Neighbours:
    """Nearest points of the target, looked up again only for points that may have got another one.

    Let a point's nearest neighbours have been at distances d₁ ≤ d₂ when it was looked up. While it has moved by less than
    (d₂ − d₁) / 2 since, the first is still the nearest. ICP's later steps are small, so most of the look-ups are saved.
    """

    def __init__(self, target: KDTree, count: int) -> None:
        self._target = target
        self._index = np.zeros(count, np.intp)
        self._looked_up_at = np.zeros((count, 3))
        self._reach = np.full(count, -1.0)

    def within(
        self, threshold: float, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Bool[np.ndarray, " n"], Int[np.ndarray, " m"], float, float]:
        """Which points have a neighbour so near, the neighbours' numbers, fitness and rmse."""
        stale = np.linalg.norm(points - self._looked_up_at, axis=1) >= self._reach
        distances, index = self._target.query(points[stale], k=[1, 2], workers=-1)
        self._index[stale], self._looked_up_at[stale] = index[:, 0], points[stale]
        self._reach[stale] = (distances[:, 1] - distances[:, 0]) / 2
        squares = np.sum((points - self._target.data[self._index]) ** 2, axis=1)
        near = squares < threshold**2
        rmse = float(np.sqrt(np.mean(squares[near]))) if near.any() else 0.0
        return near, self._index[near], float(near.mean()), rmse
