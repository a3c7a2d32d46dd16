"""Random shapes: vases, bowls and bottles turned on a lathe, prisms, primitives and height fields."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from experiments.scenes import schema
from experiments.synthetic.draws import chance, count, pick, uniform

PROFILE_POINTS = 24
"""So many that every smooth curve through them is the same to a fraction of a millimetre."""


def lathe(rng: np.random.Generator) -> schema.Lathe:
    """A vase, bowl, bottle, goblet or spindle: monotone between random radii, so that it keeps inside them."""
    kind = pick(rng, ["vase", "bowl", "bottle", "goblet", "spindle"], [4, 2, 2, 1.5, 1.5])
    if kind == "bowl":
        z = np.array([-1, -0.92, -0.2, 1])
        radii = np.array([uniform(rng, (0.3, 0.5)), uniform(rng, (0.35, 0.55)), uniform(rng, (0.75, 0.92)), 1.0])
    elif kind == "bottle":
        shoulder = uniform(rng, (0.0, 0.4))
        neck = uniform(rng, (0.2, 0.4))
        z = np.array([-1, -0.95, shoulder, shoulder + 0.35, 0.85, 0.9, 1])
        radii = np.array([0.9, 1, 1, neck, neck, neck + 0.1, neck + 0.1])
    elif kind == "goblet":
        stem = uniform(rng, (0.08, 0.2))
        z = np.array([-1, -0.93, -0.8, uniform(rng, (-0.4, 0.0)), 0.35, 1])
        radii = np.array([0.7, 0.65, stem, stem, uniform(rng, (0.8, 1)), uniform(rng, (0.7, 1))])
    else:
        knots = count(rng, (4, 7))
        z = np.linspace(-1, 1, knots)
        z[1:-1] += rng.uniform(-0.3, 0.3, knots - 2) / knots
        lowest = 0.15 if kind == "spindle" else 0.35
        radii = rng.uniform(lowest, 1, knots)
        radii[0] = uniform(rng, (0.4, 0.8))
    curve = PchipInterpolator(z, radii / radii.max())
    heights = np.linspace(-1, 1, PROFILE_POINTS)
    profile = np.asarray(curve(heights))
    profile /= profile.max()
    return schema.Lathe(profile=tuple((float(r), float(h)) for r, h in zip(profile, heights, strict=True)))


def prism(rng: np.random.Generator) -> schema.Prism:
    """A regular polygon, a star, an L, a T, a cross, or a random convex or jagged outline."""
    kind = pick(rng, ["regular", "star", "angle", "cross", "jagged"], [3, 2, 2, 1, 2])
    if kind == "angle":
        a, b = rng.uniform(-0.5, 0.2, 2)
        outline = np.array([(-1, -1), (1, -1), (1, b), (a, b), (a, 1), (-1, 1)])
    elif kind == "cross":
        a, b = rng.uniform(0.2, 0.6, 2)
        quarter = np.array([(1, b), (a, b), (a, 1)])
        outline = np.concatenate([quarter, quarter[::-1] * (-1, 1), -quarter, quarter[::-1] * (1, -1)])
    else:
        corners = count(rng, (3, 8))
        radii = np.ones(corners)
        if kind == "star":
            corners *= 2
            radii = np.where(np.arange(corners) % 2, uniform(rng, (0.4, 0.75)), 1.0)
        elif kind == "jagged":
            corners = count(rng, (5, 9))
            radii = rng.uniform(0.5, 1, corners)
        angles = 2 * np.pi * (np.arange(corners) + rng.random()) / corners
        outline = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    low, high = outline.min(axis=0), outline.max(axis=0)
    outline = 2 * (outline - low) / (high - low) - 1  # fills the square, as every shape fills its cube
    return schema.Prism(polygon=tuple((float(x), float(y)) for x, y in outline))


def superellipsoid(rng: np.random.Generator) -> schema.Superellipsoid:
    return schema.Superellipsoid(n=uniform(rng, (0.15, 1.5)), e=uniform(rng, (0.15, 1.5)))


def primitive(rng: np.random.Generator) -> schema.Shape:
    """Any solid shape of about equal extents, for heaps and hanging things."""
    kind = pick(
        rng,
        ["ellipsoid", "superellipsoid", "box", "cylinder", "cone", "torus", "lathe", "prism"],
        [3, 2, 3, 2, 1, 1, 2, 2],
    )
    match kind:
        case "ellipsoid":
            return schema.Ellipsoid()
        case "superellipsoid":
            return superellipsoid(rng)
        case "box":
            return schema.Box()
        case "cylinder":
            return schema.Cylinder()
        case "cone":
            return schema.Cone(top=uniform(rng, (0.0, 0.6)))
        case "torus":
            return schema.Torus(tube=uniform(rng, (0.15, 0.4)))
        case "lathe":
            return lathe(rng)
    return prism(rng)


def relief(rng: np.random.Generator, roughness: float) -> schema.HeightField:
    """Hills that rise from z = 0 and end there at the border, so that the field closes with what carries it.

    Args:
        roughness: 0 for one smooth swell, 1 for as many hills as the control grid allows.
    """
    side = 5 + round(4 * roughness)
    inner = np.abs(rng.normal(size=(side - 2, side - 2))) if chance(rng, 0.5) else rng.random((side - 2, side - 2))
    heights = np.zeros((side, side))
    heights[1:-1, 1:-1] = 0.8 * inner / inner.max()
    return schema.HeightField(heights=tuple(tuple(float(h) for h in row) for row in heights), resolution=36)
