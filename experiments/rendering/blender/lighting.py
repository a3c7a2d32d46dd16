"""Environment and lights of a scene, as Blender's world and lights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
from mathutils import Vector  # pyright: ignore[reportMissingImports]

from .nodes import link, load_image, node, ramp, stretch

DEGREE = math.pi / 180


def add(lighting: dict[str, Any], collection: Any) -> Any:
    """Put the lights into a collection and return the world."""
    for i, light in enumerate(lighting["lights"]):
        _add_light(light, f"light {i}", collection)
    return _world(lighting["environment"])


def _world(environment: dict[str, Any]) -> Any:
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    tree = world.node_tree
    background = tree.nodes["Background"]
    background.inputs["Strength"].default_value = environment["strength"]
    kind = environment["kind"]
    if kind == "uniform_sky":
        world.cycles.sampling_method = "NONE"  # nothing to aim at
        color = (*environment["color"], 1)
    elif kind == "gradient_sky":
        color = _gradient(tree, environment)
        world.cycles.sampling_method = "NONE"
    elif kind == "hdri":
        color = _environment_map(tree, environment)
        world.cycles.sampling_method = "MANUAL"
        world.cycles.sample_map_resolution = 256
    else:
        raise ValueError(f"unknown environment {kind!r}")
    link(tree, color, background.inputs["Color"])
    return world


def _gradient(tree: Any, sky: dict[str, Any]) -> Any:
    direction = node(tree, "TexCoord").outputs["Generated"]
    height = node(tree, "SeparateXYZ", {0: direction}).outputs["Z"]
    stops = [(0.0, sky["ground"]), (0.45, sky["ground"]), (0.5, sky["horizon"]), (1.0, sky["zenith"])]
    return ramp(tree, stretch(tree, height, -1, 1), stops)


def _environment_map(tree: Any, hdri: dict[str, Any]) -> Any:
    path = Path(hdri["file"])
    if not path.is_absolute() and path.name == hdri["file"]:
        path = Path(bpy.utils.system_resource("DATAFILES", path="studiolights/world")) / path
    direction = node(tree, "TexCoord").outputs["Generated"]
    turned = node(tree, "Mapping", {"Vector": direction})
    # The mapping turns directions; the picture goes the other way.
    turned.inputs["Rotation"].default_value = (0, 0, -hdri["rotation"] * DEGREE)
    texture = node(tree, "TexEnvironment", {"Vector": turned.outputs[0]})
    texture.image = load_image(path, "Linear Rec.709")
    return node(
        tree, "Mix", {"Factor_Float": 1, "A_Color": texture.outputs["Color"], "B_Color": (*hdri["tint"], 1)},
        data_type="RGBA", blend_type="MULTIPLY",
    ).outputs[2]  # fmt: skip


def _add_light(light: dict[str, Any], name: str, collection: Any) -> None:
    kind = light["kind"]
    if kind == "sun":
        data = bpy.data.lights.new(name, "SUN")
        data.energy, data.angle = light["irradiance"], light["angle"] * DEGREE
    elif kind == "area_light":
        data = bpy.data.lights.new(name, "AREA")
        data.shape, data.energy = "RECTANGLE", light["power"]
        data.size, data.size_y = light["size"]
    elif kind == "point_light":
        data = bpy.data.lights.new(name, "POINT")
        data.energy, data.shadow_soft_size = light["power"], light["radius"]
    else:
        raise ValueError(f"unknown light {kind!r}")
    data.color = light["color"]
    lamp = bpy.data.objects.new(name, data)
    lamp.visible_camera = False
    lamp.location = light.get("position", (0, 0, 0))
    if "direction" in light:
        lamp.rotation_mode = "QUATERNION"
        lamp.rotation_quaternion = Vector(light["direction"]).to_track_quat("-Z", "Y")
    collection.objects.link(lamp)
