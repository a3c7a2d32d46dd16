"""The palette of a scene: a material for every slot, from a library of procedural families and the user's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from experiments.scenes import schema
from experiments.synthetic import palettes
from experiments.synthetic.draws import Count, Range, chance, count, log_uniform, pick, uniform
from experiments.synthetic.material_families import FAMILIES, METALS, PLAIN_FAMILIES, Style, glass
from experiments.synthetic.placement import OBJECT_SLOTS, PANE, SLOTS

PICTURE_SHARE = 0.5
"""Probability that a material is one of the user's pictures, where there are any."""
PICTURE_REPEATS: Range = (0.5, 3.0)
"""Per metre."""
SUBSET: Count = (4, 6)
"""Materials of a data set whose attribute is the geometry; every slot repeats one of them."""


@dataclass(frozen=True)
class MaterialRanges:
    families: Sequence[Callable[[np.random.Generator, Style], schema.Material]]
    style: Style
    glass: Count
    """Number of slots of objects that are glass."""


EXTREME = MaterialRanges(
    families=FAMILIES, style=Style(colors=palettes.EXTREME, repeats=(1.5, 24.0), strange=0.25), glass=(0, 3)
)
MODERATE = MaterialRanges(
    families=PLAIN_FAMILIES, style=Style(colors=palettes.MODERATE, repeats=(2.0, 10.0), strange=0.0), glass=(0, 1)
)


def palette(
    rng: np.random.Generator,
    ranges: MaterialRanges,
    textures: Sequence[schema.Picture] = (),
    subset: Count | None = None,
    glass_objects: bool = True,
) -> tuple[schema.Material, ...]:
    """A material for each of the slots. Walls, floor and ceiling are never metal: a room of mirrors has no surfaces to see.

    Args:
        rng: the stream.
        ranges: which families, colours and scales.
        textures: pictures to mix in; their mapping is drawn anew.
        subset: draw only so many materials, and repeat them.
        glass_objects: let some slots of objects be glass.
    """
    number = SLOTS if subset is None else count(rng, subset)
    drawn = [_material(rng, ranges, textures, matt=index < PANE) for index in range(number)]
    slots = [drawn[index % number] for index in range(SLOTS)]
    slots[PANE] = glass(rng, ranges.style)
    if not glass_objects:
        return tuple(slots)
    for index in rng.permutation(OBJECT_SLOTS)[: count(rng, ranges.glass)]:
        slots[int(index)] = slots[PANE] if subset else glass(rng, ranges.style)
    return tuple(slots)


def _material(
    rng: np.random.Generator, ranges: MaterialRanges, textures: Sequence[schema.Picture], matt: bool
) -> schema.Material:
    if textures and chance(rng, PICTURE_SHARE):
        return _pictured(rng, pick(rng, textures))
    return pick(rng, [f for f in ranges.families if not (matt and f in METALS)])(rng, ranges.style)


def _pictured(rng: np.random.Generator, picture: schema.Picture) -> schema.Material:
    x, y, z = (float(v) for v in rng.random(3))
    mapping = schema.Mapping(
        repeats=log_uniform(rng, PICTURE_REPEATS), rotation=(0.0, 0.0, uniform(rng, (0, 360))), offset=(x, y, z)
    )
    roughness = uniform(rng, (0.05, 0.9))
    return schema.Material(
        base=msgspec.structs.replace(picture, mapping=mapping),
        roughness=(roughness, roughness),
        coat=pick(rng, [0.0, 0.0, 0.6]),
    )
