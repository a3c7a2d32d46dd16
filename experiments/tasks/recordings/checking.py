"""Are the conventions of recorded scenes right? Views that see the same surface must agree about where it is.

Scenes whose views disagree are tried with other conventions; those with which they would agree are named. A principal point
far from the middle of the picture is a sign of its own, which scenes without poses and cameras that hardly move show too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from typing import get_args

import numpy as np

from experiments.data.agreement import Agreement, Geometry, cross_view_agreement
from experiments.data.recorded import RecordedView, about_the_first, convert_maps
from experiments.tasks.recordings.conventions import NORMALISED, Axes, Conventions, Pose

MOST_VIEWS = 12
"""Views of a scene that are compared, evenly spread over it."""
_RESOLUTION = 192
"""Largest width of the maps that are compared; they do not have more pixels than what was recorded."""
TRIED_VIEWS, _TRIED_RESOLUTION = 6, 96
"""The same where other conventions are tried, of which there are dozens."""
_FEWEST = 50
"""Co-visible pixels below which nothing can be said."""
_LITTLE_OVERLAP = 0.05
"""Share of pixels that another view sees below which other conventions are tried."""
_BAD, _GOOD = 0.6, 0.8
"""Share of co-visible pixels that agree roughly: of wrong conventions below the first, of right ones above the second."""
_BETTER = 3
"""Other conventions must make so many times as many pixels agree."""
_CLEARLY = 0.15
"""More of the co-visible pixels that must agree roughly with other conventions if most of them do with the given ones …"""
_PRECISELY = 0.25
"""… or that must agree closely, …"""
_RIGHT = 0.85
"""… and their share at least."""
_PARALLAX = 0.05
"""Distance between cameras, in median depths, below which views say nothing of units: they agree as if all stood together."""
_OFF_CENTRE = 0.15
"""Largest distance of a principal point from the middle of the picture, in widths and heights."""
_DEPTH_SCALES = (1.0, 1000.0, 4000.0, 5000.0, 10000.0)
"""Metres, millimetres, and what RealSense, TUM and others store."""
_POSE_SCALES = (1.0, 100.0, 1000.0)
_SIZES = (1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 4 / 3, 3 / 2, 2, 3, 4, 5, 6, 7.5, 8)
"""Sizes of pictures that intrinsics may be of, relative to the frames'."""
_PLAUSIBLE = (0.05, 200.0)
"""Median depth in metres."""
_STRANGE = (0.01, 100.0)
"""Median depth in metres outside of which something is said, even of scenes without poses."""


@dataclass(frozen=True)
class Check:
    """What a scene says about its conventions."""

    agreement: Agreement | None
    """Of its views; None of a scene without poses, or of one view."""
    median_depth: float | None
    """In metres, None if there is no depth."""
    principal_point: tuple[float, float]
    """Median over its views, in widths and heights of the picture."""
    spread: float = 0.0
    """Largest distance along an axis of the world between cameras, in metres."""

    @property
    def is_centred(self) -> bool:
        """Whether the principal point is near the middle, as it is in nearly every picture."""
        return max(abs(place - 0.5) for place in self.principal_point) <= _OFF_CENTRE

    @property
    def disagrees(self) -> bool:
        """Whether enough pixels say that something is wrong."""
        found = self.agreement
        return found is not None and found.co_visible >= _FEWEST and found.rough_share < _BAD

    @property
    def says_little(self) -> bool:
        """Whether few pixels are seen by two views, be it that they look elsewhere or that something is wrong."""
        found = self.agreement
        return found is not None and found.co_visible < max(_FEWEST, _LITTLE_OVERLAP * found.pixels)

    @property
    def is_wrong(self) -> bool:
        """Whether a convention is wrong, whichever it is."""
        return self.disagrees or not self.is_centred

    @property
    def may_be_better(self) -> bool:
        """Whether so few of the pixels agree that those of other conventions can clearly be more."""
        found = self.agreement
        return (
            found is not None
            and found.co_visible >= _FEWEST
            and (found.rough_share <= 1 - _CLEARLY or found.share <= 1 - _PRECISELY)
        )

    @property
    def depth_is_strange(self) -> bool:
        """Whether the median depth is one that captures hardly have, whatever else they say."""
        return self.median_depth is not None and not _STRANGE[0] <= self.median_depth <= _STRANGE[1]

    def is_surpassed_by(self, other: Check) -> bool:
        """Whether ``other``, of the same scene with other conventions, is right, and this one seems to be and is not.

        Of planes that are seen from nearly one side, three quarters of the pixels agree with a wrong convention. As few agree
        with the right one if depth is measured with noise; others then bring less, or fewer co-visible pixels, or cameras that
        stand together.
        """
        mine, found = self.agreement, other.agreement
        if not self.may_be_better or mine is None or found is None or not other.median_depth:
            return False
        return (
            other.is_centred
            and not other.says_little
            and _PLAUSIBLE[0] <= other.median_depth <= _PLAUSIBLE[1]
            and other.spread >= _PARALLAX * other.median_depth
            and found.co_visible >= mine.co_visible
            and found.share >= mine.share
            and found.rough_share >= mine.rough_share
            and (
                found.rough_share >= max(_RIGHT, mine.rough_share + _CLEARLY)
                or found.share >= max(_RIGHT, mine.share + _PRECISELY)
            )
        )

    def is_explained_by(self, other: Check) -> bool:
        """Whether ``other``, of the same scene with other conventions, is right beyond doubt, and this one is not."""
        if not other.is_centred or not _PLAUSIBLE[0] <= (other.median_depth or 0) <= _PLAUSIBLE[1]:
            return False
        if self.agreement is None or other.agreement is None:
            return not self.is_centred
        most = max(_FEWEST, _BETTER * self.agreement.roughly)
        return other.agreement.rough_share >= _GOOD and (
            other.agreement.roughly >= most or (not self.is_centred and not other.says_little)
        )


def some_views(count: int, most: int = MOST_VIEWS) -> list[int]:
    """The numbers of the views that are compared, of ``count``."""
    return sorted({int(view) for view in np.linspace(0, count - 1, min(count, most)).round()})


def check(views: Sequence[RecordedView], resolution: int) -> Check:
    """Convert maps and cameras of some views of a scene, and compare them.

    Raises InputError as :func:`experiments.data.recorded.convert_maps`.
    """
    size = min(resolution, _RESOLUTION, *(min(view.depth.shape) for view in views))
    converted = [convert_maps(view, size) for view in views]
    depths = np.stack([arrays["depth"] for arrays, _ in converted])
    cameras = {name: np.array([camera[name] for _, camera in converted]) for name in ("intrinsics", "world_to_camera")}
    agreement, spread = None, 0.0
    if len(views) > 1 and all(view.world_to_camera is not None for view in views):
        near, centres = about_the_first(cameras["world_to_camera"])
        spread = float(np.ptp(centres, axis=0).max())
        agreement = cross_view_agreement(Geometry.of_depths(depths, near, cameras["intrinsics"]))
    known = depths[depths > 0]
    principal = np.median([(view.intrinsics[:2, 2] + 0.5) / view.size for view in views], axis=0)
    median = float(np.median(known)) if known.size else None
    return Check(agreement, median, (float(principal[0]), float(principal[1])), spread)


def likeliest(
    views: Callable[[Conventions], Sequence[RecordedView]],
    present: Conventions,
    depth_size: tuple[int, int],
    resolution: int,
) -> Conventions | None:
    """Other conventions with which a scene would agree with itself beyond doubt, those nearest to the present ones.

    Where most of its pixels agree as it is, only one mistake is looked for, which takes less than a second.

    Args:
        views: some of the scene's views by conventions; :data:`TRIED_VIEWS` are enough.
        present: that it was read with.
        depth_size: width and height of the depth maps.
        resolution: as in :func:`check`.
    """
    resolution = min(resolution, _TRIED_RESOLUTION)
    as_it_is = views(present)
    found = check(as_it_is, resolution)
    everything = product(
        dict.fromkeys([present.depth_scale, *_DEPTH_SCALES]),
        get_args(Pose),
        get_args(Axes),
        dict.fromkeys([present.pose_scale, *_POSE_SCALES]),
        {present.intrinsics_size, *_sizes(found, as_it_is[0].size, present.intrinsics_size, depth_size)},
    )
    others = [Conventions(*each) for each in everything]
    for changes in (1, 2) if found.is_wrong or found.says_little else (1,):
        tried = [(other, check(views(other), resolution)) for other in others if _changes(present, other) == changes]
        right = [each for each in tried if found.is_explained_by(each[1]) or found.is_surpassed_by(each[1])]
        if right:
            return max(right, key=lambda each: each[1].agreement.roughly if each[1].agreement else 0)[0]
    return None


def _changes(present: Conventions, other: Conventions) -> int:
    """How many conventions differ; poses that are the other way round and have other axes are often one mistake."""
    differing = other.differing(present).keys()
    return len(differing) - ({"pose", "axes"} <= differing)


def _sizes(
    found: Check, size: tuple[int, int], present: tuple[int, int] | None, depth_size: tuple[int, int]
) -> Iterator[tuple[int, int] | None]:
    """Sizes of pictures in whose middle the principal point would be."""
    if found.is_centred:
        return
    yield None
    yield NORMALISED
    yield depth_size
    width, height = size if present is None else present
    factor = min(_SIZES, key=lambda each: abs(log(each / (2 * max(found.principal_point[0], 1e-9)))))
    yield round(factor * width), round(factor * height)
