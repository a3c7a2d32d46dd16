"""Things of glass: bottles, cups, bowls and jars with thin walls, and solid ones."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from experiments.scenes import schema
from experiments.synthetic.draws import Range, chance, pick, uniform
from experiments.synthetic.palettes import oklch
from experiments.synthetic.placement import Assembly, rested, solid
from experiments.synthetic.shapes import lathe, primitive

WALL: Range = (0.03, 0.12)
"""Thickness as a share of the largest radius."""
PROFILE_POINTS = 24
HEIGHT: Range = (0.07, 0.26)
"""Metres."""
INDEX: Range = (1.33, 1.65)
"""From water to heavy flint glass."""


def vessel(rng: np.random.Generator) -> schema.Lathe:
    """A bottle, cup, bowl, jar or goblet that is open above: its profile goes up outside and down inside."""
    kind = pick(rng, ["cup", "bowl", "bottle", "jar", "goblet"], [4, 2, 2.5, 2, 1.5])
    wall, floor = uniform(rng, WALL), uniform(rng, (0.06, 0.2))
    if kind == "cup":
        z, radii = [-1.0, 1.0], [uniform(rng, (0.6, 1.0)), 1.0]
    elif kind == "bowl":
        z, radii = [-1.0, -0.85, -0.1, 1.0], [0.4, uniform(rng, (0.45, 0.6)), uniform(rng, (0.8, 0.95)), 1.0]
    elif kind == "bottle":
        shoulder, neck = uniform(rng, (-0.1, 0.3)), uniform(rng, (0.28, 0.42))
        z, radii = [-1.0, -0.9, shoulder, shoulder + 0.4, 1.0], [0.92, 1.0, 1.0, neck, neck]
    elif kind == "jar":
        z, radii = [-1.0, -0.9, 0.5, 0.75, 1.0], [0.9, 1.0, 1.0, uniform(rng, (0.7, 0.85)), uniform(rng, (0.75, 0.9))]
    else:
        stem, waist = uniform(rng, (0.12, 0.22)), uniform(rng, (-0.3, 0.0))
        z, radii = [-1.0, -0.92, -0.8, waist, 0.4, 1.0], [0.75, 0.7, stem, stem, 0.95, uniform(rng, (0.75, 1.0))]
        floor = 1.0 + waist + 0.15
    curve = PchipInterpolator(z, radii)
    heights = np.linspace(-1, 1, PROFILE_POINTS)
    outside = np.stack([curve(heights), heights], axis=1)
    inner = np.linspace(1.0, -1.0 + floor, PROFILE_POINTS)
    inside = np.stack([curve(inner) - wall, inner], axis=1)
    bottom = np.array([[0.6 * inside[-1, 0], inner[-1] - 0.02], [0.0, inner[-1] - 0.03]])
    profile = np.concatenate([outside, inside, bottom])
    profile[:, 0] /= outside[:, 0].max()
    return schema.Lathe(profile=tuple((float(r), float(h)) for r, h in profile))


def glass_thing(rng: np.random.Generator, material: int) -> Assembly:
    """Something of glass that stands at the origin."""
    height = uniform(rng, HEIGHT)
    kind = pick(rng, ["vessel", "solid vessel", "ball", "block", "any"], [6, 1.5, 1, 1, 1])
    if kind == "vessel":
        shape, width = vessel(rng), height * uniform(rng, (0.45, 1.1))
    elif kind == "solid vessel":
        shape, width = lathe(rng), height * uniform(rng, (0.4, 0.9))
    elif kind == "ball":
        shape, height = schema.Ellipsoid(), 0.6 * height
        width = height
    elif kind == "block":
        shape, height = schema.Box(bevel=0.05 * height), 0.6 * height
        width = height * uniform(rng, (0.6, 1.2))
    else:
        shape, height = primitive(rng), 0.7 * height
        width = height
    return Assembly((rested(solid(kind, shape, (width, width, height), material), (0, 0, 0)),))


def glass_material(rng: np.random.Generator) -> schema.Material:
    """Clear, or tinted so that it can be told."""
    chroma = uniform(rng, (0.0, 0.02)) if chance(rng, 0.6) else uniform(rng, (0.04, 0.12))
    tint = oklch(uniform(rng, (0.9, 0.99)), chroma, uniform(rng, (0, 360)))
    rough = pick(rng, [0.0, 0.0, 0.0, 0.05])
    return schema.Material(
        base=schema.Plain(color=tint),
        roughness=(rough, rough),
        transmission=1.0,
        ior=uniform(rng, INDEX),
        clear_shadow=True,
    )
