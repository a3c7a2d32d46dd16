"""Accuracy, completeness and normal consistency of a point cloud against the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from experiments.evaluation.cloud import Cloud
from experiments.evaluation.icp import Registration, register
from experiments.evaluation.similarity import Similarity, fit_similarity


@dataclass(frozen=True)
class PointMetrics:
    """Lengths in the truth's unit."""

    accuracy: float
    """Mean distance of a predicted point from the nearest true one."""
    accuracy_median: float
    """Median distance of a predicted point from the nearest true one."""
    completeness: float
    """Mean distance of a true point from the nearest predicted one."""
    completeness_median: float
    """Median distance of a true point from the nearest predicted one."""
    normal_consistency: float
    """Mean of |n · n'| between a point and the nearest of the other cloud; mean of the two directions."""
    normal_consistency_median: float
    """Median of |n · n'| between a point and the nearest of the other cloud; mean of the two directions."""


def align(predicted: Cloud, truth: Cloud, queries: Int[np.ndarray, " m"]) -> tuple[Similarity, Registration]:
    """Umeyama's similarity over corresponding points, then ICP.

    Args:
        predicted: where it was predicted.
        truth: the true point of each, given in the same order.
        queries: the predicted points, as numbered when given, that ICP looks up; from :func:`choose`.

    Returns:
        What brings the prediction onto the truth, and how ICP went.

    Raises:
        InputError: see :func:`fit_similarity`.
    """
    first = fit_similarity(predicted.points(), truth.points(truth.numbers(predicted.order)))
    moved = predicted.place(first.after(predicted.placed))
    refined = register(moved.points(np.sort(moved.numbers(queries))), truth.tree)
    return refined.motion.after(first), refined


def compare(
    predicted: Cloud, truth: Cloud, from_predicted: Int[np.ndarray, " n"], from_truth: Int[np.ndarray, " m"]
) -> PointMetrics:
    """Metrics between two aligned clouds.

    Args:
        predicted: aligned.
        truth: the true points.
        from_predicted: the predicted points, as numbered when given, whose nearest true points are looked up; from
            :func:`choose`.
        from_truth: true points likewise. Neighbours and normals always come from whole clouds.
    """
    of_predicted, of_truth = np.sort(predicted.numbers(from_predicted)), np.sort(truth.numbers(from_truth))
    accuracy, next_to_predicted = truth.nearest(predicted.points(of_predicted))
    completeness, next_to_truth = predicted.nearest(truth.points(of_truth))
    normals = _normals(predicted, of_predicted, next_to_truth), _normals(truth, next_to_predicted, of_truth)
    agreement = [np.abs(np.einsum("ni,ni->n", *pair)) for pair in zip(*normals, strict=True)]
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


def _normals(cloud: Cloud, *indices: Int[np.ndarray, " n"]) -> list[Float[np.ndarray, "n 3"]]:
    """Normals of several lists of a cloud's points; each point's is estimated once."""
    used = np.zeros(len(cloud), bool)
    for index in indices:
        used[index] = True
    place = np.cumsum(used) - 1
    normals = cloud.normals(np.flatnonzero(used))
    return [normals[place[index]] for index in indices]
