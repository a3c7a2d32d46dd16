"""Furniture: assemblies with level surfaces that clutter stands on. Its back is at +y, towards the wall."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.synthetic.draws import chance, count, pick, uniform
from experiments.synthetic.placement import UP, Assembly, Surface, rested, solid, tube
from experiments.synthetic.shapes import lathe, prism, relief
from experiments.synthetic.things import slot


def _part(
    name: str, shape: schema.Shape, size, location, material: int, rotation: Rotation | None = None
) -> schema.Object:
    """A part whose lowest point is at the location's z."""
    turn = Rotation.identity() if rotation is None else rotation
    return rested(solid(name, shape, size, material, rotation=turn, role="furniture"), location)


def _bevel(rng: np.random.Generator, smallest: float) -> float:
    return pick(rng, [0.0, 0.1, 0.3]) * smallest


def table(rng: np.random.Generator) -> Assembly:
    """A top on four legs or on one foot."""
    width, depth, height = uniform(rng, (0.7, 1.5)), uniform(rng, (0.55, 0.9)), uniform(rng, (0.4, 0.8))
    thick = uniform(rng, (0.03, 0.07))
    wood, metal = slot(rng), slot(rng)
    under = height - thick
    objects = []
    if chance(rng, 0.4):
        width = depth
        top = _part("table top", schema.Cylinder(bevel=_bevel(rng, thick)), (width, width, thick), (0, 0, under), wood)
        foot = lathe(rng) if chance(rng, 0.5) else schema.Cone(top=0.2)
        objects.append(_part("table foot", foot, (0.5 * width, 0.5 * width, under), (0, 0, 0), metal))
        half = (0.35 * width, 0.35 * width)
    else:
        top = _part("table top", schema.Box(bevel=_bevel(rng, thick)), (width, depth, thick), (0, 0, under), wood)
        side = uniform(rng, (0.03, 0.08))
        leg = pick(rng, [schema.Box(), schema.Cylinder()])
        for x in (-1, 1):
            for y in (-1, 1):
                place = (x * (width / 2 - side), y * (depth / 2 - side), 0)
                objects.append(_part("table leg", leg, (side, side, under), place, metal))
        half = (width / 2, depth / 2)
    return Assembly((top, *objects), (Surface((0, 0, height), half),))


def chair(rng: np.random.Generator) -> Assembly:
    seat, height, thick = uniform(rng, (0.38, 0.48)), uniform(rng, (0.4, 0.5)), 0.04
    back = height + uniform(rng, (0.3, 0.5))
    wood, cloth = slot(rng), slot(rng)
    side, reach = 0.035, seat / 2 - 0.02
    leg = pick(rng, [schema.Box(), schema.Cylinder()])
    objects = [_part("seat", schema.Box(bevel=_bevel(rng, thick)), (seat, seat, thick), (0, 0, height - thick), cloth)]
    objects += [_part("chair leg", leg, (side, side, height - thick), (x * reach, -reach, 0), wood) for x in (-1, 1)]
    objects += [_part("chair post", leg, (side, side, back), (x * reach, reach + side / 2, 0), wood) for x in (-1, 1)]
    for z in np.linspace(height + 0.1, back - 0.12, count(rng, (1, 3))):
        objects.append(_part("rail", schema.Box(), (2 * reach, 0.02, 0.08), (0, reach + side / 2, z), wood))
    return Assembly(tuple(objects), (Surface((0, -0.03, height), (seat / 2 - 0.05, seat / 2 - 0.08), clearance=0.4),))


def shelf(rng: np.random.Generator) -> Assembly:
    """Two sides, boards between them, open or with a back."""
    width, depth, height = uniform(rng, (0.6, 1.3)), uniform(rng, (0.25, 0.4)), uniform(rng, (0.9, 2.0))
    thick, wood, board_slot = 0.025, slot(rng), slot(rng)
    objects = [
        _part("shelf side", schema.Box(), (thick, depth, height), (x * (width - thick) / 2, 0, 0), wood)
        for x in (-1, 1)
    ]
    if chance(rng, 0.5):
        objects.append(_part("shelf back", schema.Box(), (width, 0.01, height), (0, depth / 2 + 0.005, 0), slot(rng)))
    levels = np.linspace(0.06, height - thick, count(rng, (3, 5)))
    clearance = float(levels[1] - levels[0] - thick)
    surfaces = []
    for z in levels:
        objects.append(_part("board", schema.Box(), (width - 2 * thick, depth, thick), (0, 0, z), board_slot))
        surfaces.append(Surface((0, 0, float(z) + thick), (width / 2 - thick, depth / 2), clearance=clearance))
    return Assembly(tuple(objects), tuple(surfaces))


def cupboard(rng: np.random.Generator) -> Assembly:
    """A chest with doors or drawers that stand out, and knobs."""
    width, depth, height = uniform(rng, (0.6, 1.4)), uniform(rng, (0.35, 0.55)), uniform(rng, (0.5, 1.7))
    body, front, metal = slot(rng), slot(rng), slot(rng)
    columns, rows = (count(rng, (1, 3)), 1) if chance(rng, 0.5) else (1, count(rng, (2, 4)))
    objects = [_part("chest", schema.Box(bevel=0.008), (width, depth, height), (0, 0, 0), body)]
    w, h = width / columns, (height - 0.1) / rows
    for column in range(columns):
        for row in range(rows):
            x, z = (column + 0.5) * w - width / 2, 0.05 + row * h
            panel = _part("door", schema.Box(bevel=0.006), (0.92 * w, 0.03, 0.92 * h), (x, -depth / 2 - 0.01, z), front)
            knob = _part(
                "knob", schema.Ellipsoid(), (0.04, 0.05, 0.04), (x + 0.3 * w, -depth / 2 - 0.035, z + 0.45 * h), metal
            )
            objects += [panel, knob]
    return Assembly(tuple(objects), (Surface((0, 0, height), (width / 2, depth / 2)),))


def sofa(rng: np.random.Generator) -> Assembly:
    """Cushions: boxes with very round edges."""
    width, depth, height = uniform(rng, (1.0, 1.9)), uniform(rng, (0.7, 0.9)), uniform(rng, (0.3, 0.42))
    arm, cloth = uniform(rng, (0.12, 0.25)), slot(rng)
    back = height + uniform(rng, (0.25, 0.45))
    soft = uniform(rng, (0.03, 0.06))
    objects = [
        _part("sofa seat", schema.Box(bevel=soft), (width, depth, height), (0, 0, 0), cloth),
        _part("sofa back", schema.Box(bevel=soft), (width, 0.22, back), (0, depth / 2, 0), cloth),
    ]
    for x in (-1, 1):
        size = (arm, depth, height + 0.18)
        objects.append(_part("sofa arm", schema.Box(bevel=soft), size, (x * width / 2, 0, 0), cloth))
    for x in rng.uniform(-0.35, 0.35, count(rng, (1, 3))) * width:
        tilt = Rotation.from_euler("x", uniform(rng, (55, 75)), degrees=True)
        side = uniform(rng, (0.3, 0.42))
        pillow = _part(
            "pillow",
            schema.Superellipsoid(n=1.0, e=0.35),
            (side, side, 0.14),
            (x, depth / 2 - 0.25, height),
            slot(rng),
            tilt,
        )
        objects.append(pillow)
    surface = Surface((0, -0.1, height), (width / 2 - arm, depth / 2 - 0.25), clearance=0.5)
    return Assembly(tuple(objects), (surface,))


def plinth(rng: np.random.Generator) -> Assembly:
    """A block, a drum, a prism or a column that carries one or a few things."""
    width, height = uniform(rng, (0.3, 0.9)), uniform(rng, (0.15, 0.9))
    shape = pick(rng, [schema.Box(bevel=0.01), schema.Cylinder(bevel=0.01), schema.Cylinder(), prism(rng)])
    top = _part("plinth", shape, (width, width, height), (0, 0, 0), slot(rng))
    half = 0.2 * width if isinstance(shape, schema.Prism) else 0.33 * width
    return Assembly((top,), (Surface((0, 0, height), (half, half)),))


def mound(rng: np.random.Generator) -> Assembly:
    """Terrain: hills on a low box."""
    width, depth, height = uniform(rng, (0.7, 1.6)), uniform(rng, (0.6, 1.2)), uniform(rng, (0.03, 0.15))
    hills = relief(rng, rng.random())
    field = solid("hills", hills, (width, depth, uniform(rng, (0.3, 0.9))), slot(rng), (0, 0, height), role="furniture")
    return Assembly((_part("base", schema.Box(), (width, depth, height), (0, 0, 0), slot(rng)), field))


def crates(rng: np.random.Generator) -> Assembly:
    """Boxes piled up, each within the one below."""
    objects, top = [], 0.0
    width = uniform(rng, (0.4, 0.8))
    half = (width / 2, width / 2)
    for level in range(count(rng, (1, 3))):
        size = np.array([width, width * uniform(rng, (0.7, 1.0)), uniform(rng, (0.2, 0.4))])
        turn = Rotation.from_rotvec(UP * uniform(rng, (-0.4, 0.4)) * (level > 0))
        objects.append(_part("crate", schema.Box(bevel=_bevel(rng, 0.06)), size, (0, 0, top), slot(rng), turn))
        top += float(size[2])
        half = (0.35 * float(size[0]), 0.35 * float(size[1]))
        width *= uniform(rng, (0.55, 0.75))
    return Assembly(tuple(objects), (Surface((0, 0, top), half),))


def floor_lamp(rng: np.random.Generator) -> Assembly:
    height, shade = uniform(rng, (1.1, 1.7)), uniform(rng, (0.25, 0.45))
    metal = slot(rng)
    foot = _part("lamp foot", schema.Cylinder(bevel=0.005), (0.3, 0.3, 0.03), (0, 0, 0), metal)
    pole = tube("lamp pole", [(0, 0, 0.02), (0, 0, height)], uniform(rng, (0.01, 0.02)), metal)
    hat = _part(
        "lamp shade",
        schema.Cone(top=uniform(rng, (0.3, 0.9))),
        (shade, shade, 0.8 * shade),
        (0, 0, height - 0.1),
        slot(rng),
    )
    return Assembly((foot, pole, hat))


def ladder(rng: np.random.Generator) -> Assembly:
    """A trestle: two frames of thin tubes that lean on each other, with rungs."""
    height, width, spread = uniform(rng, (0.7, 1.4)), uniform(rng, (0.35, 0.6)), uniform(rng, (0.2, 0.4))
    radius, metal = uniform(rng, (0.012, 0.022)), slot(rng)
    objects = []
    for y in (-1, 1):
        for x in (-1, 1):
            rail = tube("rail", [(x * width / 2, y * spread, 0), (x * width / 2, 0, height)], radius, metal)
            objects.append(rested(rail, (rail.location[0], rail.location[1], 0)))
        for share in np.linspace(0.2, 0.85, count(rng, (2, 4))):
            place, z = y * spread * (1 - share), share * height
            objects.append(tube("rung", [(-width / 2, place, z), (width / 2, place, z)], 0.8 * radius, metal))
    return Assembly(tuple(objects))


LOW = ((table, 3.0), (chair, 1.5), (plinth, 2.5), (mound, 1.0), (crates, 1.5), (ladder, 0.7))
"""Stands anywhere in the room."""
AT_WALL = ((shelf, 3.0), (cupboard, 3.0), (sofa, 2.0), (floor_lamp, 1.0), (table, 1.0))
"""Stands with its back to a wall."""
