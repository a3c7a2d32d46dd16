"""The shell of a room: floor, ceiling, three walls, a window; and the place that is kept for cameras.

The room's frame: z = 0 is the floor, the stage that the cameras look at is about the origin, the cameras stand at
negative y and the back wall is at positive y. Behind the cameras the room is open, as a film set is, so that suns and
environment light it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import bounds, extreme
from experiments.synthetic.draws import Count, Range, chance, count, pick, uniform
from experiments.synthetic.placement import BACK_WALL, CEILING, FLOOR, PANE, SIDE_WALL, UP, at, solid, transformed
from experiments.synthetic.shapes import relief
from experiments.synthetic.things import slot

FRONT = 3.2
"""Distance of the open side from the origin, metres."""
CAMERA_ZONE = np.array([[-1.3, -2.7, 0.9], [1.3, -1.4, 1.8]])
"""Lower and upper corner of the box that holds every camera in a room of every data set, metres."""
CLEARANCE = 0.4
"""No object's bounding box comes nearer to the camera zone, metres."""
SMALLEST = np.array([[-2.0, -FRONT, 0.0], [2.0, 1.4, 2.5]])
"""Every room holds this box, metres: lights within it are inside every room."""


@dataclass(frozen=True)
class RoomRanges:
    """Metres and counts."""

    width: Range
    back: Range
    """Distance of the back wall from the origin."""
    height: Range
    relief: float
    """Probability that a wall or the ceiling is a height field."""
    relief_height: Range
    low: Count
    """Furniture in the middle."""
    at_wall: Count
    clutter: Count
    on_walls: Count
    hanging: Count
    leaning: Count
    thin: Count
    """Wires from wall to wall, pipes, poles and cages."""
    clutter_size: Range


EXTREME = RoomRanges(
    width=(4.0, 6.5),
    back=(1.4, 3.2),
    height=(2.5, 4.0),
    relief=0.35,
    relief_height=(0.1, 0.4),
    low=(2, 9),
    at_wall=(1, 6),
    clutter=(12, 60),
    on_walls=(2, 11),
    hanging=(0, 6),
    leaning=(0, 4),
    thin=(0, 5),
    clutter_size=(0.12, 0.8),
)
MODERATE = RoomRanges(
    width=(4.2, 5.4),
    back=(1.4, 2.2),
    height=(2.6, 3.2),
    relief=0.15,
    relief_height=(0.05, 0.2),
    low=(4, 7),
    at_wall=(2, 4),
    clutter=(30, 50),
    on_walls=(4, 8),
    hanging=(1, 3),
    leaning=(1, 2),
    thin=(1, 3),
    clutter_size=(0.2, 0.6),
)
SEEN_FROM = -0.9
"""Side walls are decorated from here (y, metres) to the back wall: cameras see little of the rest."""
MAX_OBJECTS = 120
MAX_FURNITURE = 60
"""No more furniture is brought in once a room has so many objects: the rest is for clutter."""


@dataclass(frozen=True)
class Wall:
    """A vertical plane: ``base`` is the middle of its lower edge, x runs along it, y up, z into the room."""

    base: Float[np.ndarray, "3"]
    inward: Float[np.ndarray, "3"]
    length: float
    height: float
    relief: float
    """How far its height field comes into the room, metres; 0 if it is flat."""

    @property
    def seen(self) -> Range:
        """The part of it that cameras see, metres along it from its middle."""
        half = self.length / 2 - 0.05
        reach = SEEN_FROM - float(self.base[1])
        match round(float(self.along[1])):
            case 1:
                return reach, half
            case -1:
                return -half, -reach
        return -half, half

    @property
    def along(self) -> Float[np.ndarray, "3"]:
        return np.cross(UP, self.inward)

    @property
    def turn(self) -> Rotation:
        """From the wall's frame to the world's."""
        return Rotation.from_matrix(np.stack([self.along, UP, self.inward], axis=1))

    def point(self, along: float, up: float, out: float = 0.0) -> Float[np.ndarray, "3"]:
        return self.base + along * self.along + up * UP + out * self.inward


class Room:
    """A room that fills: what stands in it, and where there is still space."""

    def __init__(self, ranges: RoomRanges, rng: np.random.Generator):
        self.ranges = ranges
        self.width, self.back = uniform(rng, ranges.width), uniform(rng, ranges.back)
        self.height = uniform(rng, ranges.height)
        self.objects: list[schema.Object] = []
        self._taken: list[Float[np.ndarray, "2 3"]] = []
        depth, middle = self.back + FRONT, (self.back - FRONT) / 2
        self.walls = tuple(
            Wall(np.array(base), np.array(inward), length, self.height, self._relief_height(rng))
            for base, inward, length in (
                ((0.0, self.back, 0.0), (0.0, -1.0, 0.0), self.width),
                ((-self.width / 2, middle, 0.0), (1.0, 0.0, 0.0), depth),
                ((self.width / 2, middle, 0.0), (-1.0, 0.0, 0.0), depth),
            )
        )
        size = (self.width, depth, 0.0)
        self.objects.append(solid("floor", schema.Rectangle(), size, FLOOR, (0, middle, 0), role="room"))
        self._ceiling(rng, size, middle)
        window = count(rng, (0, 3))  # 3: no window
        for index, wall in enumerate(self.walls):
            self._wall(rng, wall, BACK_WALL if index == 0 else SIDE_WALL, window == index)

    @property
    def inside(self) -> Float[np.ndarray, "2 3"]:
        """The free box between the reliefs, metres."""
        back, left, right = (wall.relief for wall in self.walls)
        low = [-self.width / 2 + left, -FRONT, 0.0]
        return np.array([low, [self.width / 2 - right, self.back - back, self.height - self.ceiling_relief]])

    def fits(self, box: Float[np.ndarray, "2 3"], margin: float = 0.02) -> bool:
        """Whether a bounding box lies in the room, clear of the cameras and of what is there."""
        inside = np.all(box[0] >= self.inside[0] - 1e-6) and np.all(box[1] <= self.inside[1] + 1e-6)
        return bool(inside) and self.clear_of_cameras(box) and not any(_overlap(box, t, margin) for t in self._taken)

    def clear_of_cameras(self, box: Float[np.ndarray, "2 3"]) -> bool:
        return not _overlap(box, CAMERA_ZONE, CLEARANCE)

    def some_wall(self, rng: np.random.Generator) -> Wall:
        """Most often the back wall, which every camera sees."""
        return pick(rng, self.walls, (2.0, 1.0, 1.0))

    def add(self, *things: schema.Object, headroom: float = 0.0) -> None:
        """Takes their place, and ``headroom`` metres above it for what will stand on them."""
        self.objects.extend(things)
        box = bounds(*things)
        box[1, 2] += headroom
        self._taken.append(box)

    @property
    def full(self) -> bool:
        return len(self.objects) >= MAX_OBJECTS - 6

    def _relief_height(self, rng: np.random.Generator) -> float:
        amplitude, wanted = uniform(rng, self.ranges.relief_height), chance(rng, self.ranges.relief)
        return amplitude if wanted else 0.0

    def _ceiling(self, rng: np.random.Generator, size: schema.Vec3, middle: float) -> None:
        amplitude = self._relief_height(rng)
        self.ceiling_relief = amplitude
        shape: schema.Shape = relief(rng, rng.random()) if amplitude else schema.Rectangle()
        down = Rotation.from_euler("x", 180, degrees=True)
        extent = (*size[:2], 2 * amplitude)
        self.objects.append(solid("ceiling", shape, extent, CEILING, (0, middle, self.height), down, role="room"))

    def _wall(self, rng: np.random.Generator, wall: Wall, material: int, window: bool) -> None:
        if wall.relief and not window:
            field = solid("wall", relief(rng, rng.random()), (wall.length, wall.height, 2 * wall.relief), material,
                          wall.point(0, wall.height / 2), wall.turn, role="room")  # fmt: skip
            self.objects.append(field)
            return
        hole = self._window(rng, wall) if window else None
        for low, high in _panels(wall.length, wall.height, hole):
            middle, extent = (low + high) / 2, high - low
            panel = solid(
                "wall", schema.Rectangle(), (*extent, 0.0), material, wall.point(*middle), wall.turn, role="room"
            )
            self.objects.append(panel)

    def _window(self, rng: np.random.Generator, wall: Wall) -> Float[np.ndarray, "2 2"]:
        """A hole with a frame, a cross of bars and perhaps a pane, in the part of the wall that cameras see."""
        half = rng.uniform((0.35, 0.3), (0.8, 0.6))
        shift = uniform(rng, (wall.seen[0] + half[0], wall.seen[1] - half[0]))
        center = np.array([shift, uniform(rng, (half[1] + 0.7, wall.height - half[1] - 0.2))])
        bar, material = uniform(rng, (0.03, 0.07)), slot(rng)
        beams = [
            ((0, half[1]), (2 * half[0] + bar, bar)),
            ((0, -half[1]), (2 * half[0] + bar, bar)),
            ((half[0], 0), (bar, 2 * half[1] - bar)),
            ((-half[0], 0), (bar, 2 * half[1] - bar)),
        ]
        if chance(rng, 0.6):
            beams += [((0, 0), (0.6 * bar, 2 * half[1] - bar)), ((0, 0), (2 * half[0] - bar, 0.6 * bar))]
        for place, extent in beams:
            point = wall.point(*(center + place))
            self.add(solid("window bar", schema.Box(), (*extent, 0.08), material, point, wall.turn, role="decoration"))
        if chance(rng, 0.5):
            extent = (2 * half[0] - bar, 2 * half[1] - bar, 0.006)
            self.add(solid("pane", schema.Box(), extent, PANE, wall.point(*center), wall.turn, role="decoration"))
        return np.stack([center - half, center + half])


def _overlap(a: Float[np.ndarray, "2 3"], b: Float[np.ndarray, "2 3"], margin: float) -> bool:
    return bool(np.all((a[0] < b[1] + margin) & (a[1] > b[0] - margin)))


def _panels(length: float, height: float, hole: Float[np.ndarray, "2 2"] | None) -> list[np.ndarray]:
    """The wall's rectangle, in its own frame, or the four around the hole."""
    low, high = np.array([-length / 2, 0.0]), np.array([length / 2, height])
    if hole is None:
        return [np.stack([low, high])]
    return [
        np.array([low, [hole[0, 0], high[1]]]),
        np.array([[hole[1, 0], low[1]], high]),
        np.array([[hole[0, 0], low[1]], [hole[1, 0], hole[0, 1]]]),
        np.array([[hole[0, 0], hole[1, 1]], [hole[1, 0], high[1]]]),
    ]


def flush(thing: schema.Object, wall: Wall, along: float, up: float, out: float = 0.0) -> schema.Object:
    """Turned into the wall's frame and put with its back against the wall, or ``out`` metres before it."""

    turned = transformed(at(thing, (0, 0, 0)), wall.turn, np.zeros(3))
    depth = -extreme(turned, -wall.inward) @ wall.inward
    return at(turned, wall.point(along, up, out + float(depth)))
