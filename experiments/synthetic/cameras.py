"""Camera paths: cubic splines through a few control points, within stated ranges.

The splines are monotone between control points (PCHIP), so that a path never leaves the box of its control points and
every stated range holds exactly. A path does not depend on the number of views: they sample it evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import distance
from experiments.synthetic.cluster import RADIUS
from experiments.synthetic.draws import Range, inner_range, pick, uniform
from experiments.synthetic.rooms import CAMERA_ZONE

FIELD_OF_VIEW: Range = (45.0, 70.0)
"""Along the longer side of the picture, degrees: MegaSynth's, one for each data set."""


@dataclass(frozen=True)
class MicroRanges:
    """A hand-held camera that means to stand still."""

    azimuth: Range
    """Azimuth of the camera about the stage, degrees from -y."""
    distance: Range
    """Distance of the camera from the stage's axis, metres."""
    height: Range
    translation: Range
    """Largest distance between any two of a path's cameras, metres. The scene is about 3 m away."""
    rotation: Range
    """Largest angle between any two of a path's cameras, degrees."""
    roll: float


MICRO_EXTREME = MicroRanges(
    azimuth=(-26, 26),
    distance=(1.65, 2.6),
    height=(0.95, 1.75),
    translation=(0.02, 0.08),
    rotation=(1.0, 6.0),
    roll=12.0,
)
MICRO_MODERATE = MicroRanges(
    azimuth=(-15, 15), distance=(1.7, 2.3), height=(1.1, 1.6), translation=(0.03, 0.06), rotation=(2.0, 4.0), roll=3.0
)
MICRO_CONTROL_POINTS = 5
MICRO_TARGET = np.array([[-0.5, -0.2, 0.3], [0.5, 1.0, 1.0]])
"""Corners of the box that a path's middle looks at, metres."""


@dataclass(frozen=True)
class OrbitRanges:
    """A full circle about the origin."""

    elevation: Range
    """Degrees above the horizon."""
    distance: Range
    """Distance of the camera from the origin, as a share of that at which a cluster's bounding sphere just fills the
    picture."""
    width: Range
    """Share of the ranges of elevation and distance that one data set uses."""
    uneven: float
    """How far an azimuth control point lies from its even place, as a share of the step between two."""
    roll: float
    """Largest roll, degrees."""
    aim: float
    """Largest distance of the point looked at from the origin along each axis, metres."""


ORBIT_EXTREME = OrbitRanges(elevation=(-25, 70), distance=(0.6, 1.5), width=(0.35, 0.9), uneven=0.3, roll=15.0, aim=0.2)
ORBIT_MODERATE = OrbitRanges(elevation=(5, 40), distance=(0.65, 0.9), width=(0.3, 0.6), uneven=0.1, roll=3.0, aim=0.05)
ORBIT_CONTROL_POINTS = 8
AZIMUTH_GAP = 2.2
"""Between neighbouring cameras on the circle, at most so many times the even gap of 360° / views."""


@dataclass(frozen=True)
class WalkRanges:
    """A camera that walks about in the open half of a room, towards things on its stage."""

    zone: Range
    """Share of the camera zone, in each direction and about its middle, that one data set uses."""
    target: Range
    """Largest distance of what it looks at from the stage's middle, as a share of :data:`WALK_TARGET`'s."""
    roll: float
    """Largest roll, degrees."""


WALK_EXTREME = WalkRanges(zone=(0.5, 1.0), target=(0.4, 1.0), roll=15.0)
WALK_MODERATE = WalkRanges(zone=(0.8, 0.95), target=(0.6, 0.9), roll=3.0)
WALK_CONTROL_POINTS = 8
WALK_TARGET = np.array([[-1.4, -0.4, 0.2], [1.4, 1.4, 1.2]])
"""Corners of the box of everything that is looked at, metres."""
CLOSEST = 0.35
"""No camera is nearer to any object's bounding box, metres."""


CLOSEST_ORBIT = RADIUS[1] + CLOSEST + 0.05
"""No orbit comes nearer to the origin, metres."""


@dataclass(frozen=True)
class Shared:
    """What all scenes of a data set have in common, even if the cameras vary: the range that their paths lie in."""

    field_of_view: float
    elevation: Range = (0.0, 0.0)
    distance: Range = (0.0, 0.0)
    """Distance of the camera, metres."""
    translation: float = 0.0
    rotation: float = 0.0
    zone: float = 0.0
    target: float = 0.0


Ranges = MicroRanges | OrbitRanges | WalkRanges
EXTREME: Mapping[schema.Setting, Ranges] = {
    "micro_baseline": MICRO_EXTREME,
    "object_centric": ORBIT_EXTREME,
    "wide_baseline": WALK_EXTREME,
}
MODERATE: Mapping[schema.Setting, Ranges] = {
    "micro_baseline": MICRO_MODERATE,
    "object_centric": ORBIT_MODERATE,
    "wide_baseline": WALK_MODERATE,
}


def shared(rng: np.random.Generator, ranges: Ranges) -> Shared:
    field_of_view = uniform(rng, FIELD_OF_VIEW)
    if isinstance(ranges, MicroRanges):
        return Shared(
            field_of_view,
            distance=inner_range(rng, ranges.distance, (0.4, 0.9)),
            translation=uniform(rng, ranges.translation),
            rotation=uniform(rng, ranges.rotation),
        )
    if isinstance(ranges, WalkRanges):
        return Shared(field_of_view, zone=uniform(rng, ranges.zone), target=uniform(rng, ranges.target))
    filling = RADIUS[1] / np.sin(np.radians(field_of_view) / 2)
    near, far = (max(filling * share, CLOSEST_ORBIT) for share in inner_range(rng, ranges.distance, ranges.width))
    return Shared(field_of_view, elevation=inner_range(rng, ranges.elevation, ranges.width), distance=(near, far))


def cameras(
    rng: np.random.Generator, common: Shared, ranges: Ranges, views: int, width: int, height: int
) -> schema.Cameras:
    """A path's cameras."""
    if isinstance(ranges, MicroRanges):
        poses = _micro_path(rng, common, ranges, views)
    elif isinstance(ranges, WalkRanges):
        poses = _walk(rng, common, ranges, views)
    else:
        poses = _orbit(rng, common, ranges, views)
    return from_poses(poses, common.field_of_view, width, height)


def from_poses(
    poses: list[tuple[np.ndarray, np.ndarray]], field_of_view: float, width: int, height: int
) -> schema.Cameras:
    """Cameras with one field of view (degrees, along the longer side), given rotations from the world and centres."""
    focal = max(width, height) / 2 / np.tan(np.radians(field_of_view) / 2)
    made = [
        schema.View(
            fx=float(focal), fy=float(focal), cx=width / 2, cy=height / 2,
            world_to_camera=tuple(float(v) for v in np.column_stack([turn, -turn @ center]).ravel()),
        )
        for turn, center in poses
    ]  # fmt: skip
    return schema.Cameras(width=width, height=height, views=tuple(made))


def centers(seen: schema.Cameras) -> Float[np.ndarray, "views 3"]:
    """Camera positions in the world, metres."""
    poses = np.array([view.world_to_camera for view in seen.views]).reshape(-1, 3, 4)
    return -np.einsum("vji,vj->vi", poses[:, :, :3], poses[:, :, 3])


def too_near(seen: schema.Cameras, objects: tuple[schema.Object, ...]) -> str | None:
    """The first object that a camera is in or nearer to than :data:`CLOSEST`, in words, or None."""
    places = centers(seen)
    for index, thing in enumerate(objects):
        nearest = float(distance(places, thing).min())
        if nearest < CLOSEST:
            return f"objects[{index}] ({thing.name}) is {nearest:.3f} m from a camera"
    return None


def look_at(center: np.ndarray, target: np.ndarray, roll: float) -> Float[np.ndarray, "3 3"]:
    """World-to-camera rotation (x right, y down, z forward), rolled by degrees about the optical axis."""
    forward = target - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    level = np.stack([right, np.cross(forward, right), forward])
    return Rotation.from_euler("z", roll, degrees=True).as_matrix() @ level


def _micro_path(
    rng: np.random.Generator, common: Shared, ranges: MicroRanges, views: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    azimuth, reach = np.radians(uniform(rng, ranges.azimuth)), uniform(rng, common.distance)
    home = np.array([np.sin(azimuth) * reach, -np.cos(azimuth) * reach, uniform(rng, ranges.height)])
    middle = look_at(home, rng.uniform(*MICRO_TARGET), uniform(rng, (-ranges.roll, ranges.roll)))
    # Cubes whose diagonals are the largest translation and rotation: no two points are farther apart.
    half = np.array([common.translation, np.radians(common.rotation)]) / (2 * np.sqrt(3))
    corners = rng.choice([-1.0, 1.0], (MICRO_CONTROL_POINTS, 2, 3)) * rng.uniform(
        0.4, 1.0, (MICRO_CONTROL_POINTS, 2, 3)
    )
    spline = PchipInterpolator(np.linspace(0, 1, MICRO_CONTROL_POINTS), corners * half[:, None])
    offsets = spline(np.linspace(0, 1, views))
    low, high = CAMERA_ZONE
    return [
        (Rotation.from_rotvec(turn).as_matrix() @ middle, np.clip(home + shift, low, high)) for shift, turn in offsets
    ]


def _walk(
    rng: np.random.Generator, common: Shared, ranges: WalkRanges, views: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    number = WALK_CONTROL_POINTS
    places, targets = (
        box.mean(axis=0) + share * rng.uniform(-0.5, 0.5, (number, 3)) * (box[1] - box[0])
        for box, share in ((CAMERA_ZONE, common.zone), (WALK_TARGET, common.target))
    )
    rolls = rng.uniform(-ranges.roll, ranges.roll, (number, 1))
    path = PchipInterpolator(np.linspace(0, 1, number), np.hstack([places, targets, rolls]))
    return [(look_at(p[:3], p[3:6], p[6]), p[:3]) for p in path(np.linspace(0, 1, views))]


def _orbit(
    rng: np.random.Generator, common: Shared, ranges: OrbitRanges, views: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    number = ORBIT_CONTROL_POINTS
    step = 360.0 / number
    even = np.arange(number) + rng.uniform(-0.5, 0.5, number) * ranges.uneven
    azimuth = uniform(rng, (0, 360)) + pick(rng, [-1.0, 1.0]) * step * np.append(even, even[0] + number)
    lowest, highest = np.sin(np.radians(common.elevation))
    sines = rng.uniform(lowest, highest, number)  # uniform on the sphere
    others = np.column_stack(
        [
            np.degrees(np.arcsin(sines)),
            rng.uniform(*common.distance, number),
            rng.uniform(-ranges.roll, ranges.roll, number),
            rng.uniform(-ranges.aim, ranges.aim, (number, 3)),
        ]
    )
    t = np.linspace(0, 1, number + 1)
    path = PchipInterpolator(t, np.column_stack([azimuth, np.vstack([others, others[:1]])]))
    poses = []
    for angle, elevation, reach, roll, *aim in path(np.arange(views) / views):
        a, e = np.radians(angle), np.radians(elevation)
        center = reach * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        poses.append((look_at(center, np.array(aim), roll), center))
    return poses
