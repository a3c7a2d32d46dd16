"""Lighting: an environment, suns, and in rooms area and point lights. None of them is seen by a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.scenes import schema
from experiments.synthetic.draws import Count, Range, chance, count, log_uniform, pick, uniform
from experiments.synthetic.palettes import oklch
from experiments.synthetic.placement import vec3
from experiments.synthetic.rooms import FRONT, SMALLEST

HDRIS = (
    "city.exr",
    "courtyard.exr",
    "forest.exr",
    "interior.exr",
    "night.exr",
    "studio.exr",
    "sunrise.exr",
    "sunset.exr",
)
"""Blender's own, CC0."""
FRONT_AZIMUTH: Range = (58.0, 122.0)
"""Directions of travel, degrees from x, in which a sun reaches a room's stage past its side walls."""
FRONT_ELEVATION: Range = (8.0, 30.0)
"""Degrees; a higher sun would stop at the ceiling."""
LAMP_HEIGHTS: Range = (2.1, 2.4)
"""Between the tops of tall furniture and the lowest ceiling, metres."""


@dataclass(frozen=True)
class LightRanges:
    suns: Count
    irradiance: Range
    """Irradiance of each sun in W/m²."""
    elevation: Range
    """Height of the sun above the horizon, degrees."""
    chroma: Range
    """Chroma of the light's colour in OKLCH."""
    sky: Range
    """Strength of the environment."""
    area: Count
    """Number of area lights of a room."""
    points: Count
    """Number of bulbs of a room."""
    power: Range
    """Power of each lamp in watts."""


EXTREME = LightRanges(
    suns=(1, 4), irradiance=(2.0, 40.0), elevation=(3, 85), chroma=(0.0, 0.2), sky=(0.05, 1.5), area=(0, 2), points=(0, 2),
    power=(10, 150),
)  # fmt: skip
MODERATE = LightRanges(
    suns=(1, 2), irradiance=(6.0, 14.0), elevation=(25, 65), chroma=(0.0, 0.04), sky=(0.4, 0.8), area=(2, 2), points=(0, 1),
    power=(40, 90),
)  # fmt: skip


def lighting(rng: np.random.Generator, ranges: LightRanges, setting: schema.Setting) -> schema.Lighting:
    lights: list[schema.Sun | schema.AreaLight | schema.PointLight]
    environment = _environment(rng, ranges)
    room = setting in schema.IN_ROOMS
    suns = range(count(rng, ranges.suns))
    # In a room all but a few suns come through the open side; the others meet a window by chance.
    lights = [_sun(rng, ranges, room and (number == 0 or chance(rng, 0.75))) for number in suns]
    if room:
        lights += [_area(rng, ranges) for _ in range(count(rng, ranges.area))]
        lights += [_point(rng, ranges) for _ in range(count(rng, ranges.points))]
    return schema.Lighting(environment=environment, lights=tuple(lights))


def _light_color(rng: np.random.Generator, ranges: LightRanges) -> schema.Color:
    """Of full strength in its brightest channel."""
    rgb = np.array(oklch(0.8, uniform(rng, ranges.chroma), uniform(rng, (0, 360))))
    return vec3(rgb / rgb.max())


def _environment(rng: np.random.Generator, ranges: LightRanges) -> schema.GradientSky | schema.Hdri:
    strength = log_uniform(rng, ranges.sky)
    if chance(rng, 0.65):
        tint = _light_color(rng, ranges)
        return schema.Hdri(file=pick(rng, HDRIS), strength=strength, rotation=uniform(rng, (0, 360)), tint=tint)
    zenith, horizon, ground = (
        vec3(np.array(_light_color(rng, ranges)) * uniform(rng, (low, 1.0))) for low in (0.2, 0.5, 0.05)
    )
    return schema.GradientSky(zenith=zenith, horizon=horizon, ground=ground, strength=strength)


def _sun(rng: np.random.Generator, ranges: LightRanges, through_front: bool) -> schema.Sun:
    """From anywhere above the horizon, or into a room through its open side."""
    azimuth = np.radians(uniform(rng, FRONT_AZIMUTH if through_front else (0, 360)))
    elevation = np.radians(uniform(rng, FRONT_ELEVATION if through_front else ranges.elevation))
    travel = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), -np.sin(elevation))
    return schema.Sun(
        direction=vec3(travel),
        color=_light_color(rng, ranges),
        irradiance=log_uniform(rng, ranges.irradiance),
        angle=log_uniform(rng, (0.3, 8.0)),
    )


def _lamp_position(rng: np.random.Generator) -> np.ndarray:
    low, high = SMALLEST
    return rng.uniform((low[0] + 0.4, 0.5 - FRONT, LAMP_HEIGHTS[0]), (high[0] - 0.4, high[1] - 0.3, LAMP_HEIGHTS[1]))


def _area(rng: np.random.Generator, ranges: LightRanges) -> schema.AreaLight:
    position = _lamp_position(rng)
    aim = rng.uniform((-1.2, -0.8, 0.0), (1.2, 1.2, 1.0)) - position
    return schema.AreaLight(
        position=vec3(position),
        direction=vec3(aim / np.linalg.norm(aim)),
        size=(uniform(rng, (0.2, 1.2)), uniform(rng, (0.2, 1.2))),
        color=_light_color(rng, ranges),
        power=log_uniform(rng, ranges.power),
    )


def _point(rng: np.random.Generator, ranges: LightRanges) -> schema.PointLight:
    power = 0.5 * log_uniform(rng, ranges.power)
    return schema.PointLight(
        position=vec3(_lamp_position(rng)),
        color=_light_color(rng, ranges),
        power=power,
        radius=uniform(rng, (0.03, 0.12)),
    )
