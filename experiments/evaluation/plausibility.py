"""Do stored predictions mean what they should? Other programs have other conventions, and some give believable figures.

What can be told: whether the predicted depth and cameras agree across views, whether the principal point is near the middle
of the picture, whether the poses would fit the truth if they were read in another way, and whether depths and poses have the
same unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from experiments.data.agreement import Geometry, cross_view_agreement
from experiments.evaluation.poses import PoseMetrics, centres, pose_metrics
from experiments.evaluation.scene import Reconstruction
from experiments.evaluation.similarity import fit_similarity
from experiments.tasks.recordings.checking import Check
from experiments.tasks.recordings.conventions import Axes, Conventions, Pose
from subspace.errors import InputError

STATED = Conventions(pose="world_to_camera")
"""What predictions should be."""
_FITS, _BETTER = 0.5, 0.3
"""AUC@30 of poses that were read in the right way at least, and by how much it is better than in a wrong way."""
_SAME_UNIT = 1.5
"""Largest factor between the scales of depths and of poses that a bad prediction may have whose views disagree."""
_ANY_UNIT = 8.0
"""The same where the views agree, as those of cameras that hardly move do whatever the unit of their poses."""


@dataclass(frozen=True)
class Plausibility:
    """What the prediction of a scene says about its conventions."""

    check: Check
    """Whether depth and cameras agree across views, and where the principal point lies."""
    poses: PoseMetrics
    """Of the poses as they should be read."""
    likely: Conventions | None
    """How the poses fit the truth much better; None if they do not."""
    likely_poses: PoseMetrics
    """Of the poses read in that way, or as they should be read."""
    unit_ratio: float
    """Unit of the poses in units of the depths, 1 in a good prediction; NaN where it cannot be told."""

    @property
    def has_two_units(self) -> bool:
        """Whether depths and poses have different units; NaN is no sign of that."""
        most = _SAME_UNIT if self.check.disagrees or self.check.says_little else _ANY_UNIT
        return not 1 / most <= np.nan_to_num(self.unit_ratio, nan=1.0) <= most


def plausibility(predicted: Reconstruction, truth: Reconstruction, has_poses: bool = True) -> Plausibility:
    """Of a scene's prediction, whose depths are 0 where there is none.

    Args:
        predicted: in any world and unit.
        truth: of the same views.
        has_poses: whether it is known where the true cameras stood; otherwise the predicted poses do not matter.
    """
    if not has_poses:
        unknown = PoseMetrics.unknown()
        return Plausibility(_check(predicted, has_poses=False), unknown, None, unknown, float("nan"))
    poses = pose_metrics(predicted.extrinsics, truth.extrinsics)
    likely, likely_poses = None, poses
    for pose, axes in product(get_args(Pose), get_args(Axes)):
        other = Conventions(pose=pose, axes=axes)
        read = np.stack([other.world_to_camera(each) for each in predicted.extrinsics])
        found = pose_metrics(read, truth.extrinsics)
        if found.auc_30 > likely_poses.auc_30 and found.auc_30 >= max(_FITS, poses.auc_30 + _BETTER):
            likely, likely_poses = other, found
    can_be_told = likely is None and poses.auc_30 >= _FITS
    return Plausibility(
        check=_check(predicted),
        poses=poses,
        likely=likely,
        likely_poses=likely_poses,
        unit_ratio=_unit_ratio(predicted, truth) if can_be_told else float("nan"),
    )


def _check(predicted: Reconstruction, has_poses: bool = True) -> Check:
    depths, seen = predicted.depths, None
    size = np.array(depths.shape[:0:-1])
    if has_poses:
        seen = cross_view_agreement(Geometry.of_depths(depths, predicted.extrinsics, predicted.intrinsics))
    principal = np.median((predicted.intrinsics[:, :2, 2] + 0.5) / size, axis=0)
    known = depths[depths > 0]
    return Check(seen, float(np.median(known)) if known.size else None, (float(principal[0]), float(principal[1])))


def _unit_ratio(predicted: Reconstruction, truth: Reconstruction) -> float:
    both = (predicted.depths > 0) & (truth.depths > 0)
    try:
        of_poses = fit_similarity(centres(predicted.extrinsics), centres(truth.extrinsics)).scale
    except InputError:  # two views, or cameras on a line
        return float("nan")
    return float(of_poses / np.median(truth.depths[both] / predicted.depths[both])) if both.any() else float("nan")
