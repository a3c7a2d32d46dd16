"""Things to stand on the floor, on furniture or on each other: single shapes and small assemblies."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.synthetic.draws import chance, count, direction, pick, uniform
from experiments.synthetic.placement import OBJECT_SLOTS, UP, UPRIGHT, Assembly, attached, rested, solid, tube
from experiments.synthetic.shapes import lathe, primitive, prism, superellipsoid

LYING = Rotation.from_euler("x", 90, degrees=True)


def slot(rng: np.random.Generator) -> int:
    return int(pick(rng, OBJECT_SLOTS))


def thing(rng: np.random.Generator, largest: float) -> Assembly:
    """Something that stands, up to ``largest`` metres high and wide."""
    maker = pick(rng, [m for m, _ in _MAKERS], [weight for _, weight in _MAKERS])
    scale = largest * uniform(rng, (0.45, 1.0))
    made = maker(rng, scale)
    low, high = made.bounds
    return made.moved((0, 0, 0), scale=min(1.0, largest / float((high - low).max())))


def _single(shape: schema.Shape, size, rng: np.random.Generator, name: str, rotation: Rotation = UPRIGHT) -> Assembly:
    return Assembly((rested(solid(name, shape, size, slot(rng), rotation=rotation), (0, 0, 0)),))


def vase(rng: np.random.Generator, scale: float) -> Assembly:
    width = scale * uniform(rng, (0.35, 0.9))
    return _single(lathe(rng), (width, width, scale), rng, "vase")


def block(rng: np.random.Generator, scale: float) -> Assembly:
    size = scale * rng.uniform(0.3, 1.0, 3)
    bevel = float(size.min()) * pick(rng, [0.0, 0.06, 0.25])
    return _single(schema.Box(bevel=bevel), size, rng, "block")


def drum(rng: np.random.Generator, scale: float) -> Assembly:
    width = scale * uniform(rng, (0.25, 1.0))
    size = (width, width, scale * uniform(rng, (0.2, 1.0)))
    bevel = min(size) * pick(rng, [0.0, 0.05, 0.2])
    lying = chance(rng, 0.3)
    return _single(schema.Cylinder(bevel=bevel), size, rng, "drum", LYING if lying else UPRIGHT)


def ball(rng: np.random.Generator, scale: float) -> Assembly:
    size = scale * (np.full(3, uniform(rng, (0.5, 1.0))) if chance(rng, 0.5) else rng.uniform(0.4, 1.0, 3))
    return _single(schema.Ellipsoid(), size, rng, "ball")


def pebble(rng: np.random.Generator, scale: float) -> Assembly:
    return _single(superellipsoid(rng), scale * rng.uniform(0.4, 1.0, 3), rng, "pebble")


def cone(rng: np.random.Generator, scale: float) -> Assembly:
    width = scale * uniform(rng, (0.4, 1.0))
    return _single(schema.Cone(top=pick(rng, [0.0, 0.3, 0.6])), (width, width, scale), rng, "cone")


def ring(rng: np.random.Generator, scale: float) -> Assembly:
    tube_share = uniform(rng, (0.12, 0.4))
    size = (scale, scale, scale * tube_share)
    return _single(schema.Torus(tube=tube_share), size, rng, "ring", LYING if chance(rng, 0.5) else UPRIGHT)


def star(rng: np.random.Generator, scale: float) -> Assembly:
    size = (scale, scale, scale * uniform(rng, (0.15, 1.0)))
    return _single(prism(rng), size, rng, "prism", LYING if chance(rng, 0.3) else UPRIGHT)


def tumbled(rng: np.random.Generator, scale: float) -> Assembly:
    """A primitive in any pose, as dropped."""
    turn = Rotation.from_rotvec(direction(rng) * uniform(rng, (0, np.pi)))
    return _single(primitive(rng), scale * rng.uniform(0.4, 1.0, 3), rng, "tumbled", turn)


def books(rng: np.random.Generator, scale: float) -> Assembly:
    """A stack, each turned a little."""
    objects, top = [], 0.0
    width, depth = scale * uniform(rng, (0.6, 1.0)), scale * uniform(rng, (0.4, 0.8))
    for _ in range(count(rng, (2, 5))):
        size = np.array([width, depth, scale * uniform(rng, (0.06, 0.2))])
        turn = Rotation.from_rotvec(UP * rng.normal(0, 0.15))
        objects.append(rested(solid("book", schema.Box(), size, slot(rng), rotation=turn), (0, 0, top)))
        top += size[2]
        width, depth = width * uniform(rng, (0.8, 1.0)), depth * uniform(rng, (0.8, 1.0))
    return Assembly(tuple(objects))


def tower(rng: np.random.Generator, scale: float) -> Assembly:
    """Flat-topped primitives on one another, narrower upwards, something round at the top."""
    objects, top, width = [], 0.0, scale * uniform(rng, (0.4, 0.7))
    for _ in range(count(rng, (2, 4))):
        size = (width, width, scale * uniform(rng, (0.12, 0.35)))
        shape = pick(rng, [schema.Box(), schema.Cylinder(), schema.Cone(top=0.8), prism(rng)])
        objects.append(rested(solid("storey", shape, size, slot(rng)), (0, 0, top)))
        top += size[2]
        width *= uniform(rng, (0.65, 0.8)) if isinstance(shape, schema.Cone) else uniform(rng, (0.7, 1.0))
    end = width * 0.6
    objects.append(
        rested(
            solid("finial", pick(rng, [schema.Ellipsoid(), schema.Cone(), superellipsoid(rng)]), (end,) * 3, slot(rng)),
            (0, 0, top),
        )
    )
    return Assembly(tuple(objects))


def plant(rng: np.random.Generator, scale: float) -> Assembly:
    """A pot with stalks that carry leaves or fruit."""
    pot_height = scale * uniform(rng, (0.25, 0.4))
    pot = rested(solid("pot", lathe(rng), (pot_height, pot_height, pot_height), slot(rng)), (0, 0, 0))
    objects, leaf, stalk = [pot], slot(rng), slot(rng)
    for _ in range(count(rng, (3, 6))):
        lean = uniform(rng, (0.05, 0.5)) * scale
        angle = uniform(rng, (0, 2 * np.pi))
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        t = np.linspace(0, 1, 9)[:, None]
        height = scale * uniform(rng, (0.55, 0.95))
        path = out * lean * t**2 + UP * (0.6 * pot_height + (height - 0.6 * pot_height) * t)
        objects.append(tube("stalk", path, 0.012 * scale, stalk))
        leaf_size = scale * np.array([0.22, 0.12, uniform(rng, (0.02, 0.12))])
        turn = Rotation.from_rotvec(direction(rng) * uniform(rng, (0, 1.5)))
        objects.append(solid("leaf", schema.Ellipsoid(), leaf_size, leaf, path[-1], turn))
    return Assembly(tuple(objects))


def cup(rng: np.random.Generator, scale: float) -> Assembly:
    """A cup with a handle."""
    height, width = 0.8 * scale, 0.7 * scale
    material = slot(rng)
    body = rested(solid("cup", schema.Cylinder(bevel=0.03 * scale), (width, width, height), material), (0, 0, 0))
    ring_size = 0.55 * height
    handle = solid(
        "handle",
        schema.Torus(tube=0.16),
        (ring_size, ring_size, 0.16 * ring_size),
        material,
        (0.5 * width, 0, 0.5 * height),
        LYING,
    )
    return Assembly((body, handle))


def cage(rng: np.random.Generator, scale: float) -> Assembly:
    """A wire-frame box around something that stands in it."""
    size = scale * rng.uniform(0.6, 1.0, 3)
    thickness = scale * uniform(rng, (0.02, 0.06))
    frame = rested(solid("cage", schema.WireBox(thickness=thickness), size, slot(rng), role="thin"), (0, 0, 0))
    inside = float(min(size)) * 0.55
    return Assembly((frame, *_MAKERS[count(rng, (0, 4))][0](rng, inside).objects))


def tripod(rng: np.random.Generator, scale: float) -> Assembly:
    """Three legs that carry a shape."""
    material, spread, height = slot(rng), 0.35 * scale, 0.7 * scale
    radius = scale * uniform(rng, (0.012, 0.03))
    legs = []
    for angle in 2 * np.pi * (np.arange(3) + rng.random()) / 3:
        foot = np.array([spread * np.cos(angle), spread * np.sin(angle), 0.0])
        legs.append(rested(tube("leg", [foot, UP * height], radius, material), (foot[0] / 2, foot[1] / 2, 0)))
    head = attached(solid("head", primitive(rng), scale * rng.uniform(0.25, 0.5, 3), slot(rng)), UP * height, UP)
    return Assembly((*legs, head))


_MAKERS = (
    (vase, 4.0),
    (block, 2.5),
    (drum, 2.0),
    (ball, 1.5),
    (pebble, 1.5),
    (cone, 1.0),
    (ring, 1.0),
    (star, 2.0),
    (tumbled, 1.0),
    (books, 1.5),
    (tower, 1.0),
    (plant, 0.7),
    (cup, 1.0),
    (cage, 0.5),
    (tripod, 0.5),
)
