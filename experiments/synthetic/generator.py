"""From what names a scene to its complete specification (Section 4.1 of the paper and its supplement 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import get_args

import msgspec

from experiments.scenes import schema
from experiments.scenes.streams import Origin
from experiments.synthetic import cameras, cluster, interior, lights, materials, rooms
from experiments.synthetic.placement import PANE
from subspace.errors import InputError
from vggt_jax.reading import typed

MAX_REDRAWS = 20
DECIMALS = 9
"""Of every number in a specification, so that machines whose mathematics differ in the last bits agree."""


def make_scene(
    attribute: schema.Attribute,
    setting: schema.Setting,
    *,
    seed: int,
    dataset: int,
    scene: int,
    views: int,
    width: int,
    height: int,
    samples: int,
    attempt: int = 0,
    textures: Sequence[schema.Picture] = (),
    glass: bool = True,
) -> schema.Scene:
    """The scene that these values name: the same values give the same scene.

    The part that ``attribute`` varies is drawn for this scene at its full range; the others are drawn once for the data
    set at moderate ranges (a mixed data set: everything for this scene at moderate ranges). ``views`` changes nothing
    but the cameras, which sample one path more or less densely.

    Args:
        attribute: what varies from scene to scene.
        setting: ``micro_baseline``, a room and a camera that hardly moves; ``object_centric``, a cluster and a camera
            that circles it; or ``wide_baseline``, a room and a camera that walks about in its open half.
        seed: of the whole run, at least 0.
        dataset: which of the attribute's data sets, from 0.
        scene: which of the data set's scenes, from 0.
        views: number of cameras.
        width: of the pictures, pixels.
        height: of the pictures, pixels.
        samples: paths per pixel.
        attempt: above 0 to replace a scene that could not be rendered.
        textures: the user's pictures, used beside the procedural materials.
        glass: whether some objects are transparent, and windows have panes.

    Raises:
        InputError: an unknown attribute or setting, or a number out of range.
    """
    _check_choice("attribute", attribute, get_args(schema.Attribute))
    _check_choice("setting", setting, get_args(schema.Setting))
    for name, value, least in (
        ("seed", seed, 0), ("dataset", dataset, 0), ("scene", scene, 0), ("attempt", attempt, 0),
        ("views", views, 1), ("width", width, 1), ("height", height, 1), ("samples", samples, 1),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"{name} must be at least {least}, got {value}")
    origin = Origin(attribute, setting, seed, dataset, scene, attempt)
    for redraw in range(MAX_REDRAWS):
        origin = replace(origin, redraw=redraw)
        objects, seen = _objects(origin), _cameras(origin, views, width, height)
        if cameras.too_near(seen, objects) is None:
            break
    else:
        raise InputError(f"no place for the cameras of {origin} in {MAX_REDRAWS} draws")
    if not glass:
        objects = tuple(each for each in objects if each.material != PANE)
    return rounded(
        schema.Scene(
            version=schema.SCHEMA_VERSION,
            provenance=schema.Provenance(
                attribute=attribute, setting=setting, seed=seed, dataset=dataset, scene=scene, attempt=attempt
            ),
            objects=objects,
            materials=_materials(origin, textures, glass),
            lighting=_lighting(origin),
            cameras=seen,
            render=schema.RenderSettings(samples=samples),
        )
    )


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}; known: {', '.join(known)}")


def _objects(origin: Origin) -> tuple[schema.Object, ...]:
    extreme = origin.attribute == "geometry"
    if origin.setting in schema.IN_ROOMS:
        if extreme:
            return interior.furnished_room(origin.scene_stream("objects"), rooms.EXTREME)
        return _shared_room(origin if origin.attribute == "mixed" else replace(origin, scene=0, attempt=0, redraw=0))
    rng = origin.scene_stream("objects") if extreme else origin.dataset_stream("objects")
    jitter = origin.scene_stream("objects") if origin.attribute == "texture" else None
    return cluster.cluster(rng, cluster.EXTREME if extreme else cluster.MODERATE, jitter)


@lru_cache(maxsize=4)
def _shared_room(origin: Origin) -> tuple[schema.Object, ...]:
    """The room of a data set's scenes, which takes longer to furnish than all the rest of a scene."""
    return interior.furnished_room(origin.dataset_stream("objects"), rooms.MODERATE)


def _materials(origin: Origin, textures: Sequence[schema.Picture], glass: bool) -> tuple[schema.Material, ...]:
    if origin.attribute == "texture":
        return materials.palette(origin.scene_stream("materials"), materials.EXTREME, textures, glass_objects=glass)
    subset = materials.SUBSET if origin.attribute == "geometry" else None
    return materials.palette(origin.dataset_stream("materials"), materials.MODERATE, textures, subset, glass)


def _lighting(origin: Origin) -> schema.Lighting:
    if origin.attribute == "lighting":
        return lights.lighting(origin.scene_stream("lighting"), lights.EXTREME, origin.setting)
    return lights.lighting(origin.dataset_stream("lighting"), lights.MODERATE, origin.setting)


def _cameras(origin: Origin, views: int, width: int, height: int) -> schema.Cameras:
    extreme = origin.attribute == "camera"
    ranges = (cameras.EXTREME if extreme else cameras.MODERATE)[origin.setting]
    rng = origin.dataset_stream("cameras")
    common = cameras.shared(rng, ranges)
    return cameras.cameras(origin.scene_stream("cameras") if extreme else rng, common, ranges, views, width, height)


def rounded(scene: schema.Scene) -> schema.Scene:
    """With every number rounded to :data:`DECIMALS`."""

    def plain(value):
        if isinstance(value, float):
            return round(value, DECIMALS) + 0.0  # no negative zeros
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return typed.convert(plain(msgspec.to_builtins(scene)), schema.Scene)
