"""What whoever reads the figures of an evaluation should know about them, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.evaluation.plausibility import STATED, Plausibility
from experiments.evaluation.results import Results
from experiments.tasks.recordings.conventions import shown

LITTLE_OVERLAP = 0.3
"""Share of points that ICP finds near the truth, below which distances are those of clouds that were not aligned."""

_FLAT = 1e-3
"""Relief of a prediction that is taken to be the same everywhere."""


def remarks(results: Results) -> list[str]:
    """What was left out, what was not aligned, and what in stored predictions looks like another convention."""
    found = []
    if results.without_poses:
        names = ", ".join(results.without_poses)
        found.append(f"Only depth was evaluated of {names}: it is not known where the cameras stood.")
    scenes = list(results.scenes.values())
    if missing := sum(metrics.missing for metrics in scenes):
        pixels = missing + sum(metrics.pixels for metrics in scenes)
        found.append(f"{missing:,} of {pixels:,} pixels have no prediction and were left out.")
    if apart := sum(metrics.icp_fitness < LITTLE_OVERLAP for metrics in scenes):
        found.append(
            f"In {apart} of {len(scenes)} scene(s) less than {LITTLE_OVERLAP:.0%} of the points came near the truth "
            "(icp_fitness): these clouds could not be aligned, and their distances say little."
        )
    if flat := sum(metrics.relief < _FLAT for metrics in scenes):
        found.append(
            f"In {flat} of {len(scenes)} scene(s) the same depth is predicted everywhere (relief). Such a prediction "
            "sees nothing, and can still have good figures where the truth is flat."
        )
    stored = list(results.plausible.values())
    return [*found, *_other_poses(stored), *_other_intrinsics(stored), *_two_units(stored), *_unexplained(stored)]


def facts(found: Plausibility) -> dict[str, Any]:
    """The same of one prediction, for ``summary.json``."""
    seen = found.check.agreement
    return {
        "principal_point": list(found.check.principal_point),
        "co_visible": 0 if seen is None else seen.co_visible,
        "agreeing": 0 if seen is None else seen.agreeing,
        "agreeing_roughly": 0 if seen is None else seen.roughly,
        "fits_better": {} if found.likely is None else found.likely.differing(STATED),
        "unit_ratio": None if np.isnan(found.unit_ratio) else found.unit_ratio,
    }


def _other_poses(scenes: Sequence[Plausibility]) -> Iterator[str]:
    ways = [shown(scene.likely.differing(STATED)) for scene in scenes if scene.likely is not None]
    for way in dict.fromkeys(ways):
        alike = [scene for scene in scenes if scene.likely is not None and shown(scene.likely.differing(STATED)) == way]
        now = np.mean([scene.poses.auc_30 for scene in alike])
        then = np.mean([scene.likely_poses.auc_30 for scene in alike])
        yield (
            f"The stored poses of {len(alike)} of {len(scenes)} scene(s) fit the truth if they are read with {way} "
            f"(AUC@30 {then:.2f} in place of {now:.2f}): store them world to camera, with OpenCV's axes."
        )


def _other_intrinsics(scenes: Sequence[Plausibility]) -> Iterator[str]:
    if aside := [scene.check.principal_point for scene in scenes if not scene.check.is_centred]:
        x, y = np.median(aside, axis=0)
        yield (
            f"The stored principal points of {len(aside)} of {len(scenes)} scene(s) lie at {x:.0%} of the width and {y:.0%} "
            "of the height: are the intrinsics in pixels of the depth maps?"
        )


def _two_units(scenes: Sequence[Plausibility]) -> Iterator[str]:
    if ratios := [scene.unit_ratio for scene in scenes if scene.has_two_units]:
        yield (
            f"Depths and poses of {len(ratios)} of {len(scenes)} scene(s) have different units: that of the poses is "
            f"{np.median(ratios):.3g} times that of the depths."
        )


def _unexplained(scenes: Sequence[Plausibility]) -> Iterator[str]:
    shares = [
        scene.check.agreement.rough_share
        for scene in scenes
        if scene.check.disagrees and scene.check.agreement is not None
        if scene.likely is None and scene.check.is_centred and not scene.has_two_units
    ]
    if shares:
        yield (
            f"Stored depths and cameras of {len(shares)} of {len(scenes)} scene(s) do not fit each other: "
            f"{np.median(shares):.0%} of the pixels that two views see agree within 5%."
        )
