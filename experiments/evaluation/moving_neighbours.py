"""Nearest neighbours of points that move a little at a time, as in ICP: exact, without searching for most of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from experiments.evaluation.chunks import in_chunks

_KEPT = 8
"""Neighbours kept of each point. In ICP of dense clouds one point in five then needs a search at a step."""
_REACH = 1.25
"""How far is searched, in thresholds: a point without neighbour needs no search until it has moved by the rest."""


class MovingNeighbours:
    """What lies nearest to each of n points, wherever they move.

    A search keeps a few neighbours of the point, and how far off everything else was at least. The triangle inequality
    says that nothing else is nearest while the best of those kept is nearer than that, less the way since the search.

    Args:
        target: tree of the points among which neighbours are found.
        threshold: neighbours at this distance or further do not count.
        count: n.
    """

    def __init__(self, target: KDTree, threshold: float, count: int) -> None:
        self._target, self._threshold = target, threshold
        self._axes = np.ascontiguousarray(target.data.T)
        self._searched_at = np.full((count, 3), np.inf)
        self._kept = np.zeros((count, _KEPT), np.int64)
        self._others = np.full(count, -np.inf)
        """The least distance of what is not kept, when searched."""

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Distances of the nearest points, infinite where they do not count, and their numbers, arbitrary there.

        Args:
            points: where the points are now.
        """
        found = in_chunks(lambda chunk: self._find(points[chunk], chunk), len(points))
        distance, index = (np.concatenate(each) for each in zip(*found, strict=True))
        return np.where(distance < self._threshold, distance, np.inf), index

    def _find(
        self, points: Float[np.ndarray, "m 3"], chunk: slice
    ) -> tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        kept = self._kept[chunk]
        squares = np.zeros(kept.shape)
        for axis in range(3):
            away = self._axes[axis].take(kept)
            away -= points[:, axis, None]
            away *= away
            squares += away
        best = squares.argmin(axis=1)[:, None]
        distance = np.sqrt(np.take_along_axis(squares, best, axis=1)[:, 0])
        index = np.take_along_axis(kept, best, axis=1)[:, 0]
        way = np.linalg.norm(points - self._searched_at[chunk], axis=1)
        unsure = np.flatnonzero(np.minimum(distance, self._threshold) + way > self._others[chunk])
        if len(unsure):
            distances, neighbours = self._search(points[unsure])
            distance[unsure], index[unsure] = distances[:, 0], neighbours[:, 0]
            at = unsure + chunk.start
            self._searched_at[at], self._kept[at] = points[unsure], neighbours
            self._others[at] = np.minimum(distances[:, -1], _REACH * self._threshold)
        return distance, index

    def _search(self, points: Float[np.ndarray, "m 3"]) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
        distances, neighbours = self._target.query(points, k=_KEPT, distance_upper_bound=_REACH * self._threshold)
        # Where fewer are in reach SciPy numbers the rest n; any point may be kept in their place.
        return np.asarray(distances), np.where(np.isfinite(distances), neighbours, 0)
