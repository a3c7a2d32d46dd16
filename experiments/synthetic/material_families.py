"""Families of procedural materials: each draws one material of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.scenes.schema import Color, ColorStop, Layered, Mapping, Material, Pattern, Plain, Vec3
from experiments.synthetic.draws import Range, chance, count, log_uniform, pick, uniform
from experiments.synthetic.palettes import ColorRanges, color, colors, oklch, ramp


@dataclass(frozen=True)
class Style:
    colors: ColorRanges
    repeats: Range
    """Repetitions of a pattern per metre."""
    strange: float
    """Probability that a pattern is bent far beyond what its family looks like in the world."""


Family = Callable[[np.random.Generator, Style], Material]


def _mapping(
    rng: np.random.Generator, style: Style, factor: float = 1.0, stretch: Vec3 = (1, 1, 1), level: bool = False
) -> Mapping:
    """Scale, turn and place at random; ``level`` patterns keep to multiples of a right angle, most of the time."""
    turn = pick(rng, [0.0, 90.0]) if level and chance(rng, 0.8) else uniform(rng, (0, 360))
    x, y, z = (float(v) for v in rng.random(3))
    return Mapping(
        repeats=factor * log_uniform(rng, style.repeats), rotation=(0.0, 0.0, turn), offset=(x, y, z), stretch=stretch
    )


def _pattern(rng: np.random.Generator, style: Style, family: str, stops: tuple[ColorStop, ...], **options) -> Pattern:
    options.setdefault("mapping", _mapping(rng, style))
    if chance(rng, style.strange):
        options["distortion"] = uniform(rng, (0.5, 4.0))
    return Pattern(family=family, ramp=stops, **options)  # pyright: ignore[reportArgumentType]


def _mask(rng: np.random.Generator, style: Style, family: str, low: float, high: float, **options) -> Pattern:
    """Black below ``low``, white above ``high``."""
    stops = (ColorStop(position=low, color=(0.0, 0.0, 0.0)), ColorStop(position=high, color=(1.0, 1.0, 1.0)))
    return _pattern(rng, style, family, stops, **options)


def _rough(rng: np.random.Generator, between: Range) -> tuple[float, float]:
    return uniform(rng, between), uniform(rng, between)


def painted(rng: np.random.Generator, style: Style) -> Material:
    """One colour, matt to glossy."""
    rough = uniform(rng, (0.05, 0.8))
    return Material(
        base=Plain(color=color(rng, style.colors)), roughness=(rough, rough), coat=pick(rng, [0.0, 0.0, 1.0])
    )


def gradient(rng: np.random.Generator, style: Style) -> Material:
    """Large soft clouds of several colours."""
    stops = ramp(colors(rng, style.colors, count(rng, (3, 5))), 0.25, 0.75)
    base = _pattern(rng, style, "noise", stops, mapping=_mapping(rng, style, 0.3), detail=1.0)
    return Material(base=base, roughness=_rough(rng, (0.1, 0.8)))


def wood(rng: np.random.Generator, style: Style) -> Material:
    if chance(rng, 0.75):
        dark, hue = uniform(rng, (0.2, 0.5)), uniform(rng, (35, 80))
        chroma = min(0.12, style.colors.chroma[1])
        stops = [oklch(dark, chroma, hue), oklch(dark + uniform(rng, (0.1, 0.3)), chroma, hue + 10)]
    else:
        stops = colors(rng, style.colors, 2)
    base = _pattern(
        rng, style, "wood", ramp(stops, 0.1, 0.9), detail=uniform(rng, (2, 5)), distortion=uniform(rng, (0.3, 1.5)),
        mapping=_mapping(rng, style, level=True, stretch=(1.0, 1.0, uniform(rng, (0.1, 0.4)))),
    )  # fmt: skip
    return Material(
        base=base, roughness=_rough(rng, (0.2, 0.6)), bump=uniform(rng, (0, 0.002)), coat=pick(rng, [0.0, 0.8])
    )


def marble(rng: np.random.Generator, style: Style) -> Material:
    stops = ramp(colors(rng, style.colors, count(rng, (2, 4))), 0.05, 0.8)
    base = _pattern(
        rng, style, "marble", stops, detail=uniform(rng, (3, 7)), distortion=uniform(rng, (0.8, 3.0)),
        mapping=_mapping(rng, style, 0.5),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.02, 0.25)), coat=pick(rng, [0.0, 0.7]))


def stripes(rng: np.random.Generator, style: Style) -> Material:
    base = _pattern(
        rng, style, "stripes", ramp(colors(rng, style.colors, count(rng, (2, 5)))), interpolation="constant",
        mapping=_mapping(rng, style, level=True),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.1, 0.9)), sheen=pick(rng, [0.0, 0.6]))


def weave(rng: np.random.Generator, style: Style) -> Material:
    """Fabric: threads under and over, fine."""
    base = _pattern(
        rng, style, "checker", ramp(colors(rng, style.colors, 2)), mapping=_mapping(rng, style, 4.0, level=True)
    )
    return Material(base=base, roughness=(0.9, 0.8), bump=uniform(rng, (0.001, 0.004)), sheen=uniform(rng, (0.2, 1.0)))


def plaid(rng: np.random.Generator, style: Style) -> Material:
    """Two sets of stripes, crossing."""
    mapping = _mapping(rng, style, level=True)
    crossed = Mapping(
        repeats=mapping.repeats * uniform(rng, (0.6, 1.6)),
        rotation=(0.0, 0.0, mapping.rotation[2] + 90),
        offset=mapping.offset,
    )
    first = Pattern(
        family="stripes", mapping=mapping, ramp=ramp(colors(rng, style.colors, 3)), interpolation="constant"
    )
    second = Pattern(
        family="stripes", mapping=crossed, ramp=ramp(colors(rng, style.colors, 3)), interpolation="constant"
    )
    mask = Pattern(
        family="checker",
        mapping=_mapping(rng, style, 6.0, level=True),
        ramp=ramp([(0, 0, 0), (1, 1, 1)]),
        interpolation="constant",
    )
    return Material(base=Layered(first=first, second=second, mask=mask), roughness=(0.9, 0.7), sheen=0.5)


def brick(rng: np.random.Generator, style: Style) -> Material:
    stops = colors(rng, style.colors, 3)
    base = _pattern(rng, style, "brick", ramp(stops), mapping=_mapping(rng, style, level=True))
    return Material(base=base, roughness=_rough(rng, (0.5, 0.95)), bump=uniform(rng, (0.004, 0.015)))


def tiles(rng: np.random.Generator, style: Style) -> Material:
    base = _pattern(
        rng, style, "checker", ramp(colors(rng, style.colors, 2)), interpolation="constant",
        mapping=_mapping(rng, style, 0.7, level=True),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.02, 0.4)), coat=pick(rng, [0.0, 1.0]))


def terrazzo(rng: np.random.Generator, style: Style) -> Material:
    """Chips of several colours."""
    base = _pattern(
        rng, style, "cells", ramp(colors(rng, style.colors, count(rng, (4, 7)))), interpolation="constant",
        mapping=_mapping(rng, style, 2.0),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.05, 0.4)), coat=pick(rng, [0.0, 0.6]))


def mosaic(rng: np.random.Generator, style: Style) -> Material:
    """Cells of colour between dark or light joints."""
    joint = color(rng, style.colors, lightness=pick(rng, [0.15, 0.95]))
    mapping = _mapping(rng, style)
    cells = Pattern(family="cells", mapping=mapping, ramp=ramp(colors(rng, style.colors, 6)), interpolation="constant")
    joints = Pattern(family="cracks", mapping=mapping, ramp=ramp([(1, 1, 1), (0, 0, 0)], 0.25, 0.35))
    return Material(base=Layered(first=cells, second=Plain(color=joint), mask=joints), roughness=(0.15, 0.5))


def leather(rng: np.random.Generator, style: Style) -> Material:
    base = _pattern(
        rng,
        style,
        "cracks",
        ramp(colors(rng, style.colors, 2), 0.0, 0.3),
        mapping=_mapping(rng, style, 3.0),
        detail=2.0,
    )
    return Material(base=base, roughness=_rough(rng, (0.3, 0.6)), bump=uniform(rng, (0.001, 0.005)))


def cracked(rng: np.random.Generator, style: Style) -> Material:
    """Paint or clay with cracks."""
    first, second = colors(rng, style.colors, 2)
    field = _pattern(rng, style, "noise", ramp([second, color(rng, style.colors)]), detail=5.0)
    mask = _mask(rng, style, "cracks", 0.2, 0.35, distortion=uniform(rng, (0.1, 0.6)))
    return Material(base=Layered(first=Plain(color=first), second=field, mask=mask), roughness=(0.5, 0.8), bump=0.003)


def dots(rng: np.random.Generator, style: Style) -> Material:
    base = _pattern(
        rng, style, "dots", ramp(colors(rng, style.colors, count(rng, (2, 3)))), interpolation="constant",
        mapping=_mapping(rng, style, level=True),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.1, 0.8)))


def camouflage(rng: np.random.Generator, style: Style) -> Material:
    stops = ramp(colors(rng, style.colors, count(rng, (3, 6))), 0.3, 0.65)
    base = _pattern(rng, style, "noise", stops, interpolation="constant", detail=uniform(rng, (1, 4)))
    return Material(base=base, roughness=_rough(rng, (0.3, 0.9)))


def contours(rng: np.random.Generator, style: Style) -> Material:
    """Two colours in turn along the heights of a noise."""
    pair = colors(rng, style.colors, 2)
    stops = ramp(pair * count(rng, (4, 8)), 0.2, 0.8)
    base = _pattern(rng, style, "noise", stops, interpolation="constant", detail=1.0, mapping=_mapping(rng, style, 0.5))
    return Material(base=base, roughness=_rough(rng, (0.1, 0.8)))


def stone(rng: np.random.Generator, style: Style) -> Material:
    base = _pattern(
        rng, style, pick(rng, ["ridged", "noise"]), ramp(colors(rng, style.colors, 3), 0.2, 0.8), detail=8.0
    )
    return Material(base=base, roughness=_rough(rng, (0.5, 1.0)), bump=uniform(rng, (0.003, 0.02)))


def granite(rng: np.random.Generator, style: Style) -> Material:
    first = _pattern(
        rng, style, "noise", ramp(colors(rng, style.colors, 3), 0.3, 0.7), detail=8.0, mapping=_mapping(rng, style, 3.0)
    )
    speckles = _mask(rng, style, "voronoi", 0.25, 0.2, mapping=_mapping(rng, style, 6.0))
    speckles = Pattern(family="voronoi", mapping=speckles.mapping, ramp=ramp([(1, 1, 1), (0, 0, 0)], 0.15, 0.25))
    return Material(
        base=Layered(first=first, second=Plain(color=color(rng, style.colors)), mask=speckles),
        roughness=_rough(rng, (0.05, 0.5)),
    )


def stucco(rng: np.random.Generator, style: Style) -> Material:
    first, second = colors(rng, style.colors, 2)
    base = _pattern(rng, style, "noise", ramp([first, second], 0.0, 1.0), detail=6.0, mapping=_mapping(rng, style, 2.0))
    return Material(base=base, roughness=(0.95, 0.85), bump=uniform(rng, (0.005, 0.02)))


def rust(rng: np.random.Generator, style: Style) -> Material:
    """Paint that flakes off corroded metal."""
    decay = _pattern(
        rng, style, "noise", ramp([oklch(0.25, 0.06, 40), oklch(0.5, 0.13, 50), oklch(0.38, 0.11, 35)], 0.3, 0.7),
        detail=7.0, mapping=_mapping(rng, style, 2.0),
    )  # fmt: skip
    edge = uniform(rng, (0.42, 0.58))
    mask = _mask(rng, style, "noise", edge, edge + 0.03, detail=7.0)
    base = Layered(first=Plain(color=color(rng, style.colors)), second=decay, mask=mask)
    return Material(base=base, roughness=(0.3, 0.95), metallic=0.3, bump=-0.003)


def worn(rng: np.random.Generator, style: Style) -> Material:
    """One pattern worn through to another."""
    first = _pattern(
        rng,
        style,
        pick(rng, ["stripes", "checker", "dots"]),
        ramp(colors(rng, style.colors, 2)),
        interpolation="constant",
    )
    second = _pattern(
        rng, style, pick(rng, ["noise", "ridged"]), ramp(colors(rng, style.colors, 3), 0.3, 0.7), detail=6.0
    )
    edge = uniform(rng, (0.45, 0.6))
    mask = _mask(rng, style, "noise", edge, edge + 0.04, detail=6.0, mapping=_mapping(rng, style, 0.7))
    return Material(base=Layered(first=first, second=second, mask=mask), roughness=_rough(rng, (0.2, 0.9)))


def _metal_color(rng: np.random.Generator) -> Color:
    lightness, chroma, hue = pick(
        rng,
        [(0.85, 0.005, 250), (0.62, 0.01, 250), (0.8, 0.13, 85), (0.68, 0.11, 50), (0.75, 0.08, 70), (0.6, 0.12, 260)],
    )
    return oklch(lightness, chroma, hue)


def brushed_metal(rng: np.random.Generator, style: Style) -> Material:
    tint = _metal_color(rng)
    r, g, b = tint
    base = _pattern(
        rng, style, "noise", ramp([(0.6 * r, 0.6 * g, 0.6 * b), tint], 0.3, 0.7), detail=4.0,
        mapping=_mapping(rng, style, 4.0, level=True, stretch=(1.0, 0.03, 1.0)),
    )  # fmt: skip
    return Material(base=base, roughness=_rough(rng, (0.2, 0.45)), metallic=1.0, bump=0.0005)


def polished_metal(rng: np.random.Generator, style: Style) -> Material:
    """Mirror-like."""
    tint = _metal_color(rng) if chance(rng, 0.7) else color(rng, style.colors, lightness=0.8)
    rough = uniform(rng, (0.02, 0.15))
    return Material(base=Plain(color=tint), roughness=(rough, rough), metallic=1.0)


def hammered_metal(rng: np.random.Generator, style: Style) -> Material:
    tint = _metal_color(rng)
    r, g, b = tint
    base = _pattern(rng, style, "voronoi", ramp([tint, (0.7 * r, 0.7 * g, 0.7 * b)]), mapping=_mapping(rng, style, 3.0))
    return Material(base=base, roughness=_rough(rng, (0.1, 0.35)), metallic=1.0, bump=uniform(rng, (0.002, 0.006)))


def ceramic(rng: np.random.Generator, style: Style) -> Material:
    """Glaze, plain or with bands or speckles."""
    kind = pick(rng, ["plain", "bands", "speckles"])
    tone = color(rng, style.colors)
    if kind == "plain":
        base = Plain(color=tone)
    elif kind == "bands":
        mapping = Mapping(repeats=log_uniform(rng, style.repeats), rotation=(0.0, pick(rng, [0.0, 90.0]), 0.0))
        base = Pattern(
            family="stripes",
            mapping=mapping,
            ramp=ramp([tone, *colors(rng, style.colors, 2)]),
            interpolation="constant",
        )
    else:
        speck = ramp([color(rng, style.colors), tone], 0.2, 0.3)
        base = _pattern(rng, style, "voronoi", speck, mapping=_mapping(rng, style, 3.0))
    return Material(base=base, roughness=(0.25, 0.35), coat=1.0)


def glass(rng: np.random.Generator, style: Style) -> Material:
    """Clear or lightly tinted."""
    tint = oklch(uniform(rng, (0.9, 0.98)), uniform(rng, (0, 0.06)), uniform(rng, (0, 360)))
    return Material(base=Plain(color=tint), roughness=(0.0, 0.0), transmission=1.0, ior=uniform(rng, (1.4, 1.6)))


PLAIN_FAMILIES: tuple[Family, ...] = (
    painted, gradient, wood, marble, stripes, weave, brick, tiles, leather, dots, stone, stucco, ceramic, brushed_metal,
)  # fmt: skip
"""What a moderate palette uses."""
FAMILIES: tuple[Family, ...] = (
    *PLAIN_FAMILIES, plaid, terrazzo, mosaic, cracked, camouflage, contours, granite, rust, worn, polished_metal,
    hammered_metal,
)  # fmt: skip
METALS: tuple[Family, ...] = (brushed_metal, polished_metal, hammered_metal)
