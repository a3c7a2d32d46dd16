"""Colours, materials and lights keep to what they say."""

from __future__ import annotations

from typing import get_args, get_type_hints

import msgspec
import numpy as np
import pytest

from experiments.scenes import schema
from experiments.synthetic import lights, materials, palettes, rooms
from experiments.synthetic.material_families import FAMILIES, METALS
from experiments.synthetic.placement import PANE, SLOTS
from tests.experiments.synthetic.conftest import SETTINGS, draw


@pytest.mark.parametrize(
    ("oklch", "linear"),
    [
        # CSS Color 4: the sRGB primaries, white and a mid grey
        ((0.62796, 0.25768, 29.234), (1, 0, 0)),
        ((0.86644, 0.29483, 142.495), (0, 1, 0)),
        ((0.45201, 0.31321, 264.052), (0, 0, 1)),
        ((1.0, 0.0, 0.0), (1, 1, 1)),
        ((0.5, 0.0, 0.0), (0.125, 0.125, 0.125)),
    ],
)
def test_oklch_is_what_css_says(oklch, linear):
    np.testing.assert_allclose(palettes.oklch(*oklch), linear, atol=2e-3)


def test_colours_out_of_gamut_lose_chroma_not_lightness():
    for hue in range(0, 360, 30):
        rgb = np.array(palettes.oklch(0.7, 0.4, hue))
        assert rgb.min() >= 0 and rgb.max() <= 1
        lms = np.linalg.solve(palettes._LMS_TO_RGB, rgb)
        lightness = np.linalg.solve(palettes._LAB_TO_LMS, np.cbrt(lms))[0]
        assert lightness == pytest.approx(0.7, abs=0.01)


def _colors(base) -> list[schema.Color]:
    match base:
        case schema.Plain(color=color):
            return [color]
        case schema.Pattern(ramp=stops):
            return [stop.color for stop in stops]
        case schema.Layered(first=first, second=second, mask=mask):
            return _colors(first) + _colors(second) + _colors(mask)
    return []


def _patterns(base) -> list[schema.Pattern]:
    match base:
        case schema.Pattern():
            return [base]
        case schema.Layered(first=first, second=second, mask=mask):
            return _patterns(first) + _patterns(second) + [mask]
    return []


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("style", [materials.EXTREME.style, materials.MODERATE.style], ids=["extreme", "moderate"])
def test_families_draw_valid_materials(family, style):
    for seed in range(10):
        made = family(np.random.default_rng(seed), style)
        assert made != family(np.random.default_rng(seed + 1), style)
        assert msgspec.convert(msgspec.to_builtins(made), schema.Material) == made
        assert np.all(np.array(_colors(made.base)) >= 0) and np.all(np.array(_colors(made.base)) <= 1)
        assert (
            all(0 <= value <= 1 for value in (*made.roughness, made.metallic, made.coat, made.sheen))
            and made.transmission == 0
        )
        for pattern in _patterns(made.base):
            positions = [stop.position for stop in pattern.ramp]
            assert (
                2 <= len(positions) <= 32 and positions == sorted(positions) and 0 <= positions[0] < positions[-1] <= 1
            )
            assert pattern.mapping.repeats > 0 and 0 <= pattern.detail <= 8


def test_textures_use_the_whole_library():
    drawn = [m for scene in range(12) for m in draw("texture", scene=scene).materials]
    used = {p.family for material in drawn for p in _patterns(material.base)}
    assert used == set(get_args(get_type_hints(schema.Pattern)["family"]))
    colors = np.array([c for material in drawn for c in _colors(material.base)])
    spread = colors.max(axis=1) - colors.min(axis=1)
    assert np.mean(spread > 0.2) > 0.4 and colors.min() < 0.01 and colors.max() > 0.9  # strong and of every brightness
    strongest = colors[spread > 0.2].argmax(axis=1)
    assert min(np.bincount(strongest, minlength=3)) > 0.15 * len(strongest)  # of every hue
    assert any(m.metallic == 1 for m in drawn) and any(m.bump for m in drawn) and any(m.coat for m in drawn)


def test_geometry_data_sets_repeat_a_small_subset_of_their_own():
    subsets = [set(draw("geometry", "micro_baseline", 1, dataset).materials) for dataset in range(3)]
    opaque = [{m for m in subset if m.transmission == 0} for subset in subsets]
    assert all(materials.SUBSET[0] <= len(subset) <= materials.SUBSET[1] for subset in opaque)
    assert not (opaque[0] & opaque[1] or opaque[1] & opaque[2] or opaque[0] & opaque[2])


@pytest.mark.parametrize("attribute", ["texture", "geometry", "mixed"])
def test_panes_are_glass_and_rooms_are_not_mirrors(attribute):
    for seed in range(4):
        palette = draw(attribute, seed=seed).materials
        assert len(palette) == SLOTS and palette[PANE].transmission == 1
        assert all(material.metallic < 1 and material.transmission == 0 for material in palette[:PANE])


@pytest.mark.parametrize("setting", get_args(schema.Setting))
@pytest.mark.parametrize("attribute", get_args(schema.Attribute))
def test_nothing_is_transparent_where_that_is_asked_for(attribute, setting):
    """The paper mines without transparent textures (Section 5.3)."""

    def transparent(scene):
        return [each for each in scene.objects if scene.materials[each.material].transmission > 0]

    opaque = [draw(attribute, setting, scene=scene, glass=False) for scene in range(4)]
    assert not any(transparent(scene) for scene in opaque)
    usual = draw(attribute, setting)
    assert [each.name for each in usual.objects if each.name != "pane"] == [each.name for each in opaque[0].objects]
    assert (usual.lighting, usual.cameras) == (opaque[0].lighting, opaque[0].cameras)


def test_the_users_pictures_are_half_of_the_materials():
    pictures = tuple(
        schema.Picture(color=f"/tmp/{name}.png", mapping=schema.Mapping(repeats=1), normal="/tmp/n.png", sha256=name)
        for name in "abc"
    )
    palettes_ = [draw("texture", scene=scene, textures=pictures).materials for scene in range(6)]
    bases = [m.base for palette in palettes_ for m in palette if m.transmission == 0]
    used = [base for base in bases if isinstance(base, schema.Picture)]
    assert 0.35 < len(used) / len(bases) < 0.65
    assert {base.sha256 for base in used} == {"a", "b", "c"} and all(base.normal == "/tmp/n.png" for base in used)
    assert len({base.mapping.repeats for base in used}) > 5
    assert all(materials.PICTURE_REPEATS[0] <= base.mapping.repeats <= materials.PICTURE_REPEATS[1] for base in used)


@pytest.mark.parametrize("setting", SETTINGS)
def test_lights_are_where_every_room_has_space(setting):
    suns = set()
    for seed in range(20):
        made = lights.lighting(np.random.default_rng(seed), lights.EXTREME, setting)
        if isinstance(made.environment, schema.Hdri):
            assert made.environment.file in lights.HDRIS
        for light in made.lights:
            if isinstance(light, schema.Sun):
                suns.add(light.direction)
                assert np.linalg.norm(light.direction) == pytest.approx(1) and light.direction[2] < 0
                low, high = lights.EXTREME.irradiance
                assert low <= light.irradiance <= high
            else:
                assert setting != "object_centric"
                assert np.all(light.position > rooms.SMALLEST[0]) and np.all(light.position < rooms.SMALLEST[1])
                assert light.position[2] > 2.0
            assert max(light.color) == pytest.approx(1)
    assert len(suns) > 10


def test_a_room_has_a_sun_that_reaches_its_stage():
    """Through the open side, below the ceiling of the lowest room and between the walls of the narrowest."""
    for seed in range(40):
        made = lights.lighting(np.random.default_rng(seed), lights.EXTREME, "micro_baseline")
        sun = next(light for light in made.lights if isinstance(light, schema.Sun))
        way = -np.array(sun.direction)
        x, y, z = np.array([0, 0, 0.3]) + way * (-rooms.FRONT / way[1])
        assert abs(x) <= rooms.SMALLEST[1, 0] and y == pytest.approx(-rooms.FRONT) and 0 < z < rooms.SMALLEST[1, 2]


def test_metals_are_metal():
    assert all(family(np.random.default_rng(0), materials.EXTREME.style).metallic == 1 for family in METALS)
