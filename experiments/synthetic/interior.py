"""What a room is filled with: furniture, clutter on it, things on walls and ceiling, and thin structures."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import bounds, extreme
from experiments.synthetic.draws import Count, chance, count, direction, pick, uniform
from experiments.synthetic.furniture import AT_WALL, LOW
from experiments.synthetic.placement import (
    UP,
    Assembly,
    Surface,
    at,
    attached,
    rested,
    solid,
    standing,
    transformed,
    tube,
)
from experiments.synthetic.rooms import CAMERA_ZONE, EXTREME, MAX_FURNITURE, MAX_OBJECTS, Room, RoomRanges, Wall, flush
from experiments.synthetic.shapes import lathe, primitive, prism, relief
from experiments.synthetic.things import slot, thing

TRIES = 25
HEADROOM = 0.3
"""Kept free above furniture for what stands on it, metres."""
SEEN = 2.0
"""Half the width of the part of the floor that most cameras see, metres."""
TALL = 0.85
"""Higher furniture stands at walls beyond the cameras, where it hides nothing, metres."""


def furnished_room(rng: np.random.Generator, ranges: RoomRanges = EXTREME) -> tuple[schema.Object, ...]:
    """A full room: everything in it stands, hangs, leans or is fixed to something."""
    room = Room(ranges, rng)
    surfaces = [_floor(room)]
    for _ in range(count(rng, ranges.low)):
        surfaces += _furniture_in_the_middle(rng, room)
    for _ in range(count(rng, ranges.at_wall)):
        surfaces += _furniture_at_wall(rng, room)
    for number, place in (
        (ranges.leaning, _leaning),
        (ranges.on_walls, _on_wall),
        (ranges.hanging, _hanging),
        (ranges.thin, _thin),
    ):
        for _ in range(count(rng, number)):
            place(rng, room)
    _scatter(rng, room, surfaces, ranges.clutter)
    return tuple(room.objects[:MAX_OBJECTS])


def _floor(room: Room) -> Surface:
    high = room.inside[1]
    near = CAMERA_ZONE[0, 1] + 0.5
    return Surface((0, (near + high[1]) / 2, 0), (min(high[0] - 0.05, SEEN), (high[1] - near) / 2 - 0.05))


def _furniture_at_wall(rng: np.random.Generator, room: Room) -> tuple[Surface, ...]:
    made = pick(rng, [m for m, _ in AT_WALL], [w for _, w in AT_WALL])(rng)
    depth = float(made.bounds[1, 1])
    for _ in range(TRIES):
        wall = room.some_wall(rng)
        inward = wall.inward * (wall.relief + depth + 0.004)
        along = uniform(rng, wall.seen)
        placed = made.moved(wall.point(along, 0) + inward, yaw=float(np.arctan2(wall.inward[0], -wall.inward[1])))
        beyond = made.height < TALL or placed.bounds[0, 1] > -0.6
        if beyond and _stands(room, placed):
            return placed.surfaces
    return ()


def _furniture_in_the_middle(rng: np.random.Generator, room: Room) -> tuple[Surface, ...]:
    made = pick(rng, [m for m, _ in LOW], [w for _, w in LOW])(rng)
    low, high = room.inside
    for _ in range(TRIES):
        place = rng.uniform((max(low[0], -SEEN), -1.3), (min(high[0], SEEN), high[1]))
        placed = made.moved((*place, 0), yaw=uniform(rng, (-np.pi, np.pi)))
        if (made.height < TALL or placed.bounds[0, 1] > 0) and _stands(room, placed):
            return placed.surfaces
    return ()


def _stands(room: Room, placed: Assembly) -> bool:
    box = placed.bounds.copy()
    box[1, 2] += HEADROOM if placed.surfaces else 0.0
    if not room.fits(box) or len(room.objects) + len(placed.objects) > MAX_FURNITURE:
        return False
    room.add(*placed.objects, headroom=HEADROOM if placed.surfaces else 0.0)
    return True


def _scatter(rng: np.random.Generator, room: Room, surfaces: list[Surface], number: Count) -> None:
    """Clutter on the floor and on furniture, surface by surface, as long as there is space."""
    circles: list[list[tuple[float, float, float]]] = [[] for _ in surfaces]
    weights = [1 + 4 * s.half[0] * s.half[1] if index else 6.0 for index, s in enumerate(surfaces)]
    for _ in range(count(rng, number)):
        index = pick(rng, range(len(surfaces)), weights)
        surface = surfaces[index]
        largest = min(uniform(rng, room.ranges.clutter_size) * (1.0 if index == 0 else 0.75), 0.95 * surface.clearance)
        made = thing(rng, largest)
        for _ in range(TRIES):
            offset = rng.uniform(-1, 1, 2) * surface.half
            yaw = uniform(rng, (-np.pi, np.pi))
            apart = all(np.hypot(offset[0] - x, offset[1] - y) > made.radius + r for x, y, r in circles[index])
            within = np.all(np.abs(offset) + 0.7 * made.radius * (index > 0) <= surface.half)
            if not (apart and within):
                continue
            placed = standing(made, surface, offset, yaw)
            if room.fits(placed.bounds) if index == 0 else _in_room(room, placed):
                circles[index].append((offset[0], offset[1], made.radius))
                room.objects.extend(placed.objects)
                break
        if room.full:
            return


def _in_room(room: Room, placed: Assembly) -> bool:
    box = placed.bounds
    inside = np.all(box[0] >= room.inside[0] - 1e-6) and np.all(box[1] <= room.inside[1] + 1e-6)
    return bool(inside) and room.clear_of_cameras(box)


def _leaning(rng: np.random.Generator, room: Room) -> None:
    """A board or a stick whose foot is on the floor and whose head touches a wall."""
    for _ in range(TRIES):
        wall, length = room.some_wall(rng), uniform(rng, (0.6, 1.8))
        if wall.relief:
            continue
        tilt = np.radians(uniform(rng, (8, 25)))
        if chance(rng, 0.5):
            size = (uniform(rng, (0.2, 0.8)), uniform(rng, (0.015, 0.05)), length)
            made = solid("board", schema.Box(), size, slot(rng), role="clutter")
        else:
            slant = uniform(rng, (-0.2, 0.2)) * length
            made = tube("stick", [(0, 0, 0), (slant, 0, length)], uniform(rng, (0.01, 0.03)), slot(rng))
        lean = Rotation.from_rotvec(-tilt * wall.along)
        upright = Rotation.from_rotvec(UP * np.arctan2(wall.inward[0], -wall.inward[1]))
        turned = solid(made.name, made.shape, made.size, made.material, rotation=lean * upright, role=made.role)
        leaning = rested(turned, wall.point(uniform(rng, wall.seen), 0))
        gap = float((extreme(leaning, -wall.inward) - wall.base) @ wall.inward)
        leaning = at(leaning, np.asarray(leaning.location) - gap * wall.inward)
        if room.fits(bounds(leaning)):
            room.add(leaning)
            return


def _on_wall(rng: np.random.Generator, room: Room) -> None:
    """A picture, a relief, a board with things on it, a half-sunk solid, or a pipe along the wall."""
    for _ in range(TRIES):
        wall = room.some_wall(rng)
        along, up = uniform(rng, wall.seen), uniform(rng, (0.5, wall.height - 0.3))
        made = pick(rng, (_picture, _picture, _panel, _knob, _board, _pipe))(rng, wall, along, up)
        whole = bounds(*made)
        box = np.stack(
            [np.maximum(whole[0], room.inside[0]), np.minimum(whole[1], room.inside[1])]
        )  # not what is sunk in
        behind = np.abs(box - whole)[:, wall.inward == 0]
        if not wall.relief and behind.max() == 0 and room.fits(box):
            room.add(*made)
            return


def _picture(rng: np.random.Generator, wall: Wall, along: float, up: float) -> list[schema.Object]:
    width, height, bar = uniform(rng, (0.25, 1.1)), uniform(rng, (0.25, 0.9)), uniform(rng, (0.02, 0.07))
    frame = solid("frame", schema.Box(bevel=0.15 * bar), (width, height, 0.03), slot(rng), role="decoration")
    canvas = solid("canvas", schema.Box(), (width - bar, height - bar, 0.012), slot(rng), role="decoration")
    return [flush(frame, wall, along, up), flush(canvas, wall, along, up, out=0.028)]


def _panel(rng: np.random.Generator, wall: Wall, along: float, up: float) -> list[schema.Object]:
    width, height, depth = uniform(rng, (0.4, 1.2)), uniform(rng, (0.4, 1.0)), uniform(rng, (0.1, 0.35))
    field = solid("relief", relief(rng, rng.random()), (width, height, 2 * depth), slot(rng), role="decoration")
    field = transformed(field, wall.turn, wall.point(along, up, 0.02))
    back = solid("relief back", schema.Box(), (width, height, 0.02), slot(rng), role="decoration")
    return [flush(back, wall, along, up), field]


def _knob(rng: np.random.Generator, wall: Wall, along: float, up: float) -> list[schema.Object]:
    shape = pick(rng, [schema.Ellipsoid(), schema.Torus(tube=0.2), prism(rng), schema.Cylinder(), schema.Cone(top=0.4)])
    width, depth = uniform(rng, (0.15, 0.5)), uniform(rng, (0.06, 0.3))
    made = solid("knob", shape, (width, width, depth), slot(rng), role="decoration")
    sink = 0.5 * depth if isinstance(shape, schema.Ellipsoid) else 0.0
    return [flush(made, wall, along, up, out=-sink)]


def _board(rng: np.random.Generator, wall: Wall, along: float, up: float) -> list[schema.Object]:
    """A wall shelf with things on it."""
    width, depth = uniform(rng, (0.4, 1.0)), uniform(rng, (0.16, 0.28))
    board = flush(solid("wall shelf", schema.Box(), (width, 0.03, depth), slot(rng), role="furniture"), wall, along, up)
    objects = [board]
    for place in np.arange(-0.4, 0.41, 0.27) * width:
        if chance(rng, 0.75):
            made = thing(rng, min(0.26 * width, 0.9 * depth))
            spot = wall.point(along + float(place), up + 0.015, depth / 2)
            objects += made.moved(spot, yaw=uniform(rng, (-np.pi, np.pi))).objects
    return objects


def _pipe(rng: np.random.Generator, wall: Wall, along: float, up: float) -> list[schema.Object]:
    """A pipe that leaves the wall, runs along it and goes back into it."""
    out, length, radius = uniform(rng, (0.06, 0.2)), uniform(rng, (0.5, 1.8)), uniform(rng, (0.01, 0.03))
    vertical = chance(rng, 0.4)
    t = np.linspace(0, 1, 25)
    run = (t - 0.5) * length
    lift = out * (1 - np.abs(2 * t - 1) ** 6)
    points = [
        wall.point(along, up + r, o) if vertical else wall.point(along + r, up, o)
        for r, o in zip(run, lift, strict=True)
    ]
    return [tube("pipe", points, radius, slot(rng))]


def _hanging(rng: np.random.Generator, room: Room) -> None:
    """A lamp, a solid or a cage on a cord, or a beam under the ceiling."""
    if room.ceiling_relief:
        return
    low, high = room.inside
    for _ in range(TRIES):
        place = rng.uniform((low[0] + 0.3, -0.7), (high[0] - 0.3, high[1] - 0.2))
        material, end = slot(rng), high[2] - uniform(rng, (0.4, max(0.5, high[2] - 1.4)))
        if chance(rng, 0.25):
            side = uniform(rng, (0.08, 0.2))
            beam = solid("beam", schema.Box(), (room.width, side, side), material, (0, place[1], high[2] - side / 2))
            made = [beam]
        else:
            size = uniform(rng, (0.2, 0.5)) * rng.uniform(0.6, 1.0, 3)
            shape = pick(rng, [lathe(rng), schema.Cone(top=0.3), primitive(rng), schema.WireBox(thickness=0.02)])
            turn = Rotation.from_rotvec(direction(rng) * (uniform(rng, (0, np.pi)) if chance(rng, 0.4) else 0.0))
            body = solid("pendant", shape, size, slot(rng), rotation=turn)
            body = attached(body, (*place, end), -UP, sink=0.005)
            made = [
                tube("cord", [(*place, end - 0.01), (*place, high[2])], uniform(rng, (0.004, 0.012)), material),
                body,
            ]
        if room.fits(bounds(*made)):
            room.add(*made)
            return


def _thin(rng: np.random.Generator, room: Room) -> None:
    """A pole from floor to ceiling, a cable from wall to wall, or a cage on the floor."""
    low, high = room.inside
    material = slot(rng)
    for _ in range(TRIES):
        kind = pick(rng, ("pole", "cable", "cage"))
        if kind == "pole" and not room.ceiling_relief:
            x, y = uniform(rng, (low[0] + 0.2, high[0] - 0.2)), uniform(rng, (-0.5, high[1] - 0.1))
            made = [tube("pole", [(x, y, 0), (x, y, room.height)], uniform(rng, (0.01, 0.04)), material)]
        elif kind == "cable" and not (room.walls[1].relief or room.walls[2].relief):
            y, z, sag = (
                uniform(rng, (-0.6, high[1] - 0.1)),
                uniform(rng, (1.9, room.height - 0.1)),
                uniform(rng, (0.02, 0.4)),
            )
            t = np.linspace(-1, 1, 25)
            points = np.stack([t * room.width / 2, np.full(25, y), z - sag * (1 - t**2)], axis=1)
            made = [tube("cable", points, uniform(rng, (0.006, 0.015)), material)]
        else:
            size = rng.uniform(0.3, 0.9, 3)
            frame = solid("cage", schema.WireBox(thickness=uniform(rng, (0.015, 0.05))), size, material, role="thin")
            place = rng.uniform((low[0], -1.2), (high[0], high[1]))
            turn = uniform(rng, (-np.pi, np.pi))
            inner = thing(rng, 0.6 * float(size.min()))
            made = list(Assembly((rested(frame, (0, 0, 0)), *inner.objects)).moved((*place, 0), yaw=turn).objects)
        box = bounds(*made)
        box[0], box[1] = np.maximum(box[0], low), np.minimum(box[1], high)  # a cable's ends are in the walls
        if (kind != "cage" or np.allclose(box, bounds(*made))) and room.fits(box):
            room.add(*made)
            return
