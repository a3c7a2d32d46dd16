"""Object-centric geometry: blocks about the origin, filled with primitives, without floor, walls or ceiling.

Every object touches or enters another, so that the cluster is one piece. The jitter that texture variation allows
(Section 4.1 of the paper, supplement 3: "only slight geometry variance") acts on sizes, turns and places before contacts
are made, from a stream of its own: the same things touch, slightly elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import bounds, extremes, rotation_of
from experiments.synthetic.draws import Count, Range, chance, count, direction, pick, uniform
from experiments.synthetic.placement import (
    UP,
    UPRIGHT,
    Surface,
    attached,
    solid,
    standing,
    transformed,
    tube,
)
from experiments.synthetic.shapes import primitive, relief
from experiments.synthetic.things import slot, thing

RADIUS: Range = (0.8, 1.0)
"""Of the sphere about the origin that a cluster fills, metres; no vertex lies beyond the upper end."""
JITTER_LOCATION = 0.015
"""Largest shift along each axis, metres."""
JITTER_YAW = np.radians(3.0)
JITTER_SIZE = 0.04
"""Largest relative change of size."""


@dataclass(frozen=True)
class ClusterRanges:
    blocks: Count
    on_top: Count
    """Number of things that stand on each block's top."""
    on_sides: Count
    """Number of primitives that grow from each block."""
    thin: Count
    """Number of sticks, loops and cages, in all."""
    block_size: Range
    """Size of blocks in metres, before the cluster is scaled to its radius."""
    primitive_size: Range


EXTREME = ClusterRanges(
    blocks=(1, 7), on_top=(0, 6), on_sides=(1, 9), thin=(0, 8), block_size=(0.25, 1.2), primitive_size=(0.12, 0.8)
)
MODERATE = ClusterRanges(
    blocks=(2, 4), on_top=(2, 5), on_sides=(3, 7), thin=(1, 3), block_size=(0.4, 0.9), primitive_size=(0.25, 0.6)
)


class Jitter:
    """Small changes; none without a stream."""

    def __init__(self, rng: np.random.Generator | None):
        self._rng = rng

    def _number(self, largest: float) -> float:
        return 0.0 if self._rng is None else uniform(self._rng, (-largest, largest))

    def shift(self, axes: int) -> np.ndarray:
        return np.array([self._number(JITTER_LOCATION) for _ in range(axes)])

    def yaw(self) -> float:
        return self._number(JITTER_YAW)

    def scale(self) -> float:
        return 1 + self._number(JITTER_SIZE)

    def about(self, foot: np.ndarray, thing: schema.Object) -> schema.Object:
        """Turned and resized about the point where it touches, so that it still does."""
        turn, scale = Rotation.from_rotvec(self.yaw() * UP), self.scale()
        return transformed(thing, turn, foot - turn.apply(foot * scale), scale)


def cluster(
    rng: np.random.Generator, ranges: ClusterRanges, jitter_rng: np.random.Generator | None = None
) -> tuple[schema.Object, ...]:
    """A connected cluster that fills a sphere about the origin."""
    jitter = Jitter(jitter_rng)
    blocks = _blocks(rng, ranges, jitter)
    objects = list(blocks)
    for block in blocks:
        objects += _grown(rng, ranges, jitter, block)
    for block in blocks:
        objects += _topping(rng, ranges, jitter, block)
    for _ in range(count(rng, ranges.thin)):
        objects.append(_thin(rng, jitter, pick(rng, blocks)))
    return _centered(objects, uniform(rng, RADIUS))


def _blocks(rng: np.random.Generator, ranges: ClusterRanges, jitter: Jitter) -> list[schema.Object]:
    """Boxes and drums, side against side or on top of each other."""
    blocks: list[schema.Object] = []
    for _ in range(count(rng, ranges.blocks)):
        size = np.array([uniform(rng, ranges.block_size) for _ in range(3)])
        shape = pick(rng, [schema.Box(bevel=0.01), schema.Box(), schema.Cylinder(bevel=0.01)], [2, 1, 1.5])
        if isinstance(shape, schema.Cylinder):
            size[1] = size[0]
        block = solid("block", shape, size, slot(rng), role="furniture")
        foot = jitter.shift(3)
        if blocks:
            parent, way = pick(rng, blocks), pick(rng, [*np.eye(3)[:2], *-np.eye(3)[:2], UP, -UP])
            slide = rng.uniform(-0.3, 0.3, 3) * parent.size * (1 - np.abs(way))
            if isinstance(parent.shape, schema.Cylinder) and not way[2]:
                slide[:2] = 0.0  # beside its middle a drum's side falls back
            turn = rotation_of(parent)
            foot = surface_point(parent, turn.apply(way)) + turn.apply(slide - 0.05 * min(parent.size) * way)
            block = attached(transformed(block, turn, np.zeros(3)), foot, turn.apply(way))
        block = jitter.about(foot, block)
        blocks.append(block)
    return blocks


def _grown(
    rng: np.random.Generator, ranges: ClusterRanges, jitter: Jitter, block: schema.Object
) -> list[schema.Object]:
    """Primitives in any pose that enter the block or each other."""
    carriers, objects = [block], []
    for _ in range(count(rng, ranges.on_sides)):
        parent, way = pick(rng, carriers), direction(rng)
        size = uniform(rng, ranges.primitive_size) * rng.uniform(0.4, 1.0, 3)
        turn = Rotation.from_rotvec(direction(rng) * uniform(rng, (0, np.pi)))
        grown = solid("primitive", primitive(rng), size, slot(rng), rotation=turn)
        foot = surface_point(parent, way) - 0.15 * float(size.min()) * way
        objects.append(jitter.about(foot, attached(grown, foot, way)))
        if isinstance(grown.shape, schema.Ellipsoid | schema.Box | schema.Superellipsoid):
            carriers.append(objects[-1])
    return objects


def _topping(
    rng: np.random.Generator, ranges: ClusterRanges, jitter: Jitter, block: schema.Object
) -> list[schema.Object]:
    """Things that stand on the block, or hills."""
    half = np.asarray(block.size) / 2 * (0.7 if isinstance(block.shape, schema.Cylinder) else 1.0)
    top = np.asarray(block.location) + np.array([0, 0, block.size[2] / 2])
    if isinstance(block.shape, schema.Box) and chance(rng, 0.2):
        size = (*(2 * half[:2]), uniform(rng, (0.2, 0.8)))
        return [solid("hills", relief(rng, rng.random()), size, slot(rng), top, rotation_of(block), role="furniture")]
    yaw = float(rotation_of(block).as_euler("ZYX")[0])
    objects: list[schema.Object] = []
    circles: list[np.ndarray] = []
    surface = Surface((float(top[0]), float(top[1]), float(top[2])), (float(half[0]), float(half[1])), yaw)
    widest = 1.2 * float(half[:2].min())  # its foot stays on the top
    for _ in range(count(rng, ranges.on_top)):
        made = thing(rng, min(uniform(rng, ranges.primitive_size), widest))
        for offset in rng.uniform(-0.65, 0.65, (12, 2)):  # shares of the top, so that jitter cannot change the choice
            if all(np.hypot(*(offset - other)) > 0.5 for other in circles):
                circles.append(offset)
                moved = made.moved((0, 0, 0), scale=jitter.scale())
                place = offset * half[:2] + jitter.shift(2)
                objects += standing(moved, surface, place, uniform(rng, (-np.pi, np.pi)) + jitter.yaw()).objects
                break
    return objects


def _thin(rng: np.random.Generator, jitter: Jitter, block: schema.Object) -> schema.Object:
    """A stick through the block, a loop that leaves and enters it, or a wire-frame with a corner in it."""
    middle, radius = np.asarray(block.location), uniform(rng, (0.008, 0.03))
    kind, way, material = pick(rng, ("stick", "loop", "cage")), direction(rng), slot(rng)
    if kind == "stick":
        lengths = rng.uniform(0.3, 0.8, 2) * jitter.scale()
        return tube("stick", [middle - lengths[0] * way, middle + lengths[1] * way], radius, material)
    if kind == "loop":
        across = np.cross(way, direction(rng))
        across /= np.linalg.norm(across)
        out, wide = rng.uniform(0.3, 0.7) * jitter.scale(), rng.uniform(0.15, 0.4)
        angle = np.linspace(0, 2 * np.pi, 33)[:, None]
        path = middle + way * out * (1 - np.cos(angle)) / 2 * 1.2 + across * wide * np.sin(angle)
        return tube("loop", path[:-1], radius, material)
    size = np.asarray(rng.uniform(0.25, 0.7, 3)) * jitter.scale()
    turn = Rotation.from_rotvec(UP * uniform(rng, (-np.pi, np.pi)))
    frame = solid("cage", schema.WireBox(thickness=1.5 * radius), size, material, rotation=turn, role="thin")
    return attached(frame, surface_point(block, way), way, sink=3 * radius)


def surface_point(thing: schema.Object, way: np.ndarray) -> np.ndarray:
    """Where the ray from the object's middle leaves it. Boxes, drums, ellipsoids and superellipsoids only."""
    half = np.asarray(thing.size) / 2
    x, y, z = np.abs(rotation_of(thing).inv().apply(way)) / half
    match thing.shape:
        case schema.Box():
            gauge = max(x, y, z)
        case schema.Cylinder():
            gauge = max(np.hypot(x, y), z)
        case schema.Ellipsoid():
            gauge = np.sqrt(x * x + y * y + z * z)
        case schema.Superellipsoid(n=n, e=e):
            gauge = ((x ** (2 / e) + y ** (2 / e)) ** (e / n) + z ** (2 / n)) ** (n / 2)
        case _:
            raise TypeError(f"no ray cast for {type(thing.shape).__name__}")
    return np.asarray(thing.location) + np.asarray(way) / gauge


def _centered(objects: Sequence[schema.Object], radius: float) -> tuple[schema.Object, ...]:
    """Scaled and shifted so that the cluster fills the sphere."""
    low, high = bounds(*objects)
    middle = (low + high) / 2
    ends = np.concatenate([extremes(thing, _DIRECTIONS) for thing in objects])
    scale = radius / (_BETWEEN * float(np.linalg.norm(ends - middle, axis=1).max()))
    return tuple(transformed(thing, UPRIGHT, -scale * middle, scale) for thing in objects)


_DIRECTIONS = np.array([way for way in np.ndindex(3, 3, 3) if way != (1, 1, 1)]) - 1.0
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
_BETWEEN = 1.03
"""An object may reach a little farther between those directions."""
