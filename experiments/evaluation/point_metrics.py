"""Accuracy, completeness and normal consistency of a point cloud against the true one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from experiments.evaluation.icp import Registration, register
from experiments.evaluation.similarity import Similarity, fit_similarity

NEIGHBOURS = 30
"""Points, itself included, that a point's normal is estimated from."""


class Cloud:
    """Points with a search tree, which is built when it is first needed."""

    def __init__(self, points: Float[np.ndarray, "n 3"]) -> None:
        self.points = np.ascontiguousarray(points, np.float64)

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def tree(self) -> KDTree:
        # Splitting cells at their middle builds in a third of the time and answers as fast.
        return KDTree(self.points, balanced_tree=False, compact_nodes=False)

    def normals(self, index: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m 3"]:
        """Unit normals, of either sign, of the points numbered ``index``.

        A normal is the direction in which the point's :data:`NEIGHBOURS` nearest points of the cloud vary least, as
        Open3D's ``estimate_normals`` has it.
        """
        count = min(NEIGHBOURS, len(self))
        _, around = self.tree.query(self.points[index], k=count, workers=-1)
        near = self.points[np.reshape(around, (len(index), count))]
        near -= near.mean(axis=1, keepdims=True)
        return np.linalg.eigh(near.transpose(0, 2, 1) @ near)[1][..., 0]


@dataclass(frozen=True)
class PointMetrics:
    """Lengths in the truth's unit."""

    accuracy: float
    """Mean distance of a predicted point from the nearest true one."""
    accuracy_median: float
    completeness: float
    """Mean distance of a true point from the nearest predicted one."""
    completeness_median: float
    normal_consistency: float
    """Mean of |n · n'| between a point and the nearest of the other cloud; mean of the two directions."""
    normal_consistency_median: float


def align(
    predicted: Float[np.ndarray, "n 3"], truth: Cloud, queries: Int[np.ndarray, " m"]
) -> tuple[Similarity, Registration]:
    """Umeyama's similarity over corresponding points, then ICP.

    Args:
        predicted: points.
        truth: the true point of each.
        queries: numbers of the predicted points that ICP looks up, from :func:`choose`.

    Returns:
        What brings the prediction onto the truth, and how ICP went.

    Raises:
        ValueError: see :func:`fit_similarity`.
    """
    first = fit_similarity(predicted, truth.points)
    refined = register(first(predicted[queries]), truth.tree)
    return refined.motion.after(first), refined


def compare(
    predicted: Cloud, truth: Cloud, from_predicted: Int[np.ndarray, " n"], from_truth: Int[np.ndarray, " m"]
) -> PointMetrics:
    """Metrics between two aligned clouds.

    Args:
        predicted: aligned.
        truth: the true points.
        from_predicted: numbers of the predicted points whose nearest true points are looked up, from :func:`choose`.
        from_truth: numbers of true points likewise. Neighbours and normals always come from whole clouds.
    """
    accuracy, accuracy_index = truth.tree.query(predicted.points[from_predicted], workers=-1)
    completeness, completeness_index = predicted.tree.query(truth.points[from_truth], workers=-1)
    agreement = (
        _agreement(predicted, from_predicted, truth, np.asarray(accuracy_index)),
        _agreement(truth, from_truth, predicted, np.asarray(completeness_index)),
    )
    return PointMetrics(
        accuracy=float(np.mean(accuracy)),
        accuracy_median=float(np.median(accuracy)),
        completeness=float(np.mean(completeness)),
        completeness_median=float(np.median(completeness)),
        normal_consistency=float(np.mean([np.mean(each) for each in agreement])),
        normal_consistency_median=float(np.mean([np.median(each) for each in agreement])),
    )


def choose(total: int, most: int | None, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Numbers below ``total``: all of them, or ``most`` different ones drawn at random, ascending."""
    if most is None or total <= most:
        return np.arange(total)
    return np.sort(rng.choice(total, most, replace=False))


def _agreement(
    cloud: Cloud, index: Int[np.ndarray, " n"], other: Cloud, nearest: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """|n · n'| of each point and its nearest."""
    unique, place = np.unique(nearest, return_inverse=True)
    return np.abs(np.einsum("ni,ni->n", cloud.normals(index), other.normals(unique)[place]))
