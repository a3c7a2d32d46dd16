"""Materials of a scene as node trees around one Principled BSDF.

Coordinates are the object's own in metres, so a pattern has one scale on everything. Patterns that fill space (noise, wood,
...) take them as they are; flat ones (bricks, pictures, ...) take their box projection.
"""

from __future__ import annotations

import math as m
from pathlib import Path
from typing import Any, NamedTuple

import bpy  # pyright: ignore[reportMissingImports]

from .nodes import link, load_image, math, node, ramp, stretch

FLAT = frozenset({"stripes", "checker", "brick", "dots"})
WAVE_SCALE = 2 * m.pi / 20
"""Makes a Wave Texture repeat once per unit."""
BOX_UV = "box"
"""UV map in metres (:func:`.meshes.box_coordinates`): the tangents of normal maps."""
OWN_UV = "own"
"""UV map that a shape brings with it."""
VERTEX_COLORS = "colors"

Json = dict[str, Any]


class Texture(NamedTuple):
    """Sockets or constants."""

    color: Any
    field: Any
    """0…1: what roughness and relief follow."""
    roughness: Any = None
    metallic: Any = None
    normal: Any = None
    alpha: Any = None


def make(material: Json, name: str) -> Any:
    """A Blender material.

    Raises:
        ValueError: an unknown kind or family, or a picture that cannot be read.
    """
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    tree = made.node_tree
    texture = _texture(tree, material["base"])
    shader = tree.nodes["Principled BSDF"].inputs
    rough = material["roughness"]
    inputs = {
        "Base Color": texture.color,
        "Roughness": _between(tree, texture.field, *rough) if texture.roughness is None else texture.roughness,
        "Metallic": material["metallic"] if texture.metallic is None else texture.metallic,
        "Specular IOR Level": material["specular"],
        "Coat Weight": material["coat"],
        "Sheen Weight": material["sheen"],
        "Transmission Weight": material["transmission"],
        "IOR": material["ior"],
        "Normal": _relief(tree, texture, material["bump"]),
        "Alpha": texture.alpha,
    }
    for socket, value in inputs.items():
        if value is not None:
            link(tree, value, shader[socket])
    if material.get("clear_shadow"):
        _clear_shadow(tree, texture.color)
    return made


def _clear_shadow(tree: Any, color: Any) -> None:
    """Let the rays that gather light on other surfaces pass through this one."""
    kind = node(tree, "LightPath").outputs
    gathers = math(tree, "MAXIMUM", kind["Is Shadow Ray"], kind["Is Diffuse Ray"])
    passing = node(tree, "BsdfTransparent", {"Color": color}).outputs[0]
    principled = tree.nodes["Principled BSDF"].outputs[0]
    mixed = node(tree, "MixShader", {0: gathers, 1: principled, 2: passing}).outputs[0]
    link(tree, mixed, tree.nodes["Material Output"].inputs["Surface"])


def _between(tree: Any, field: Any, low: float, high: float) -> Any:
    if low == high or not isinstance(field, bpy.types.NodeSocket):
        return low
    return node(tree, "MapRange", {"Value": field, "To Min": low, "To Max": high}).outputs[0]


def _relief(tree: Any, texture: Texture, height: float) -> Any:
    if height == 0 or not isinstance(texture.field, bpy.types.NodeSocket):
        return texture.normal
    bump = node(tree, "Bump", {"Strength": 1, "Distance": abs(height), "Height": texture.field}, invert=height < 0)
    if texture.normal is not None:
        link(tree, texture.normal, bump.inputs["Normal"])
    return bump.outputs["Normal"]


def _texture(tree: Any, base: Json) -> Texture:
    kind = base["kind"]
    if kind == "plain":
        return Texture((*base["color"], 1), 0.0)
    if kind == "pattern":
        return _pattern(tree, base)
    if kind == "picture":
        return _picture(tree, base)
    if kind == "wrapped":
        image = node(tree, "TexImage", interpolation="Linear", extension="REPEAT")
        image.image = load_image(Path(base["color"]), "sRGB")
        link(tree, node(tree, "UVMap", uv_map=OWN_UV).outputs["UV"], image.inputs["Vector"])
        color = image.outputs["Color"]
        if base.get("vertex_colors"):
            inputs = {"Factor_Float": 1, "A_Color": color, "B_Color": _vertex_colors(tree)}
            color = node(tree, "Mix", inputs, data_type="RGBA", blend_type="MULTIPLY").outputs[2]
        alpha = image.outputs["Alpha"] if base.get("alpha") else None
        return Texture(color, node(tree, "RGBToBW", {0: color}).outputs[0], alpha=alpha)
    if kind == "vertex_colors":
        color = _vertex_colors(tree)
        return Texture(color, node(tree, "RGBToBW", {0: color}).outputs[0])
    if kind == "layered":
        mask = node(tree, "RGBToBW", {0: _pattern(tree, base["mask"]).color}).outputs[0]
        inputs = {
            "Factor_Float": mask,
            "A_Color": _texture(tree, base["first"]).color,
            "B_Color": _texture(tree, base["second"]).color,
        }
        return Texture(node(tree, "Mix", inputs, data_type="RGBA").outputs[2], mask)
    raise ValueError(f"unknown texture {kind!r}")


def _vertex_colors(tree: Any) -> Any:
    return node(tree, "VertexColor", layer_name=VERTEX_COLORS).outputs["Color"]


def _pattern(tree: Any, pattern: Json) -> Texture:
    family = pattern["family"]
    if family not in _FIELDS:
        raise ValueError(f"unknown family of patterns {family!r}; there are {', '.join(_FIELDS)}")
    place = _box(tree, pattern["mapping"]) if family in FLAT else _solid(tree, pattern["mapping"])
    if pattern["distortion"]:
        place = _bend(tree, place, pattern["distortion"])
    field = _FIELDS[family](tree, place, pattern["detail"])
    stops = [(stop["position"], stop["color"]) for stop in pattern["ramp"]]
    return Texture(ramp(tree, field, stops, pattern["interpolation"].upper()), field)


def _picture(tree: Any, picture: Json) -> Texture:
    def load(file: str, colorspace: str) -> Any:
        made = node(tree, "TexImage", interpolation="Linear", extension="REPEAT")
        made.image = load_image(Path(file), colorspace)
        return made

    color = load(picture["color"], "sRGB")
    width, height = color.image.size
    place = _box(tree, picture["mapping"], aspect=width / height)
    link(tree, place, color.inputs["Vector"])
    color = color.outputs["Color"]
    maps: dict[str, Any] = {}
    for name in ("roughness", "metallic", "normal"):
        if picture[name] is not None:
            image = load(picture[name], "Non-Color")
            link(tree, place, image.inputs["Vector"])
            maps[name] = image.outputs["Color"]
    if "normal" in maps:
        maps["normal"] = _tangent_normal(tree, maps["normal"], picture["mapping"]["rotation"][2])
    return Texture(color, node(tree, "RGBToBW", {0: color}).outputs[0], **maps)


def _tangent_normal(tree: Any, color: Any, turn: float) -> Any:
    """A normal map laid on the surface turned by some degrees: its arrows turn with it."""
    vector = node(tree, "VectorMath", {0: color, 1: (2, 2, 2), 2: (-1, -1, -1)}, operation="MULTIPLY_ADD").outputs[0]
    inputs = {"Vector": vector, "Angle": -m.radians(turn)}
    vector = node(tree, "VectorRotate", inputs, rotation_type="Z_AXIS").outputs[0]
    half = (0.5, 0.5, 0.5)
    color = node(tree, "VectorMath", {0: vector, 1: half, 2: half}, operation="MULTIPLY_ADD").outputs[0]
    return node(tree, "NormalMap", {"Color": color}, uv_map=BOX_UV).outputs[0]


def _solid(tree: Any, mapping: Json) -> Any:
    return _mapped(tree, node(tree, "TexCoord").outputs["Object"], mapping, mapping["rotation"], 1.0)


def _box(tree: Any, mapping: Json, aspect: float = 1.0) -> Any:
    """Only the turn about z is used, which turns the pattern within the surface."""
    group = bpy.data.node_groups.get("box projection") or _box_projection()
    made = node(tree, "Group")
    made.node_tree = group
    return _mapped(tree, made.outputs[0], mapping, (0, 0, mapping["rotation"][2]), aspect)


def _mapped(tree: Any, place: Any, mapping: Json, rotation: Any, aspect: float) -> Any:
    x, y, z = (mapping["repeats"] * s for s in mapping["stretch"])
    inputs = {
        "Vector": place,
        "Scale": (x, y * aspect, z),
        "Rotation": [m.radians(a) for a in rotation],
        "Location": mapping["offset"],
    }
    return node(tree, "Mapping", inputs, vector_type="POINT").outputs[0]


def _bend(tree: Any, place: Any, distortion: float) -> Any:
    noise = node(tree, "TexNoise", {"Vector": place, "Scale": 1, "Detail": 1}).outputs["Color"]
    centred = node(tree, "VectorMath", {0: noise, 1: (0.5, 0.5, 0.5)}, operation="SUBTRACT").outputs[0]
    inputs = {0: centred, 1: (4 * distortion,) * 3, 2: place}  # noise stays within about a quarter of its centre
    return node(tree, "VectorMath", inputs, operation="MULTIPLY_ADD").outputs[0]


def _box_projection() -> Any:
    """Group: position in metres along the two axes that the surface faces least, as :func:`.meshes.box_coordinates`."""
    group = bpy.data.node_groups.new("box projection", "ShaderNodeTree")
    group.interface.new_socket("Vector", in_out="OUTPUT", socket_type="NodeSocketVector")
    coordinates = node(group, "TexCoord").outputs
    p = node(group, "SeparateXYZ", {0: coordinates["Object"]}).outputs
    n = node(group, "SeparateXYZ", {0: coordinates["Normal"]}).outputs
    size = [math(group, "ABSOLUTE", socket) for socket in n]
    facing_x = math(group, "GREATER_THAN", size[0], math(group, "MULTIPLY", size[1], 1 + 1e-4))
    facing_z = math(
        group, "GREATER_THAN", math(group, "MULTIPLY", size[2], 1 + 1e-4), math(group, "MAXIMUM", *size[:2])
    )

    def choose(x: Any, y: Any, z: Any) -> Any:
        side = node(group, "Mix", {"Factor_Float": facing_x, "A_Float": y, "B_Float": x}).outputs[0]
        return node(group, "Mix", {"Factor_Float": facing_z, "A_Float": side, "B_Float": z}).outputs[0]

    facing = choose(n[0], math(group, "MULTIPLY", n[1], -1), n[2])
    u = math(group, "MULTIPLY", choose(p[1], p[0], p[0]), math(group, "SIGN", facing))
    v = choose(p[2], p[2], p[1])
    made = node(group, "CombineXYZ", {0: u, 1: v})
    group.links.new(made.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
    return group


# Fields: (tree, place, octaves of noise) → a value in 0…1, most of which it fills.


def _noise(tree: Any, place: Any, detail: float) -> Any:
    inputs = {"Vector": place, "Scale": 1, "Detail": detail, "Roughness": 0.55}
    reach = 0.135 + 0.075 * 0.5**detail  # where 95 % of the values are: octaves draw them to the middle
    return stretch(tree, node(tree, "TexNoise", inputs).outputs["Fac"], 0.5 - reach, 0.5 + reach)


def _ridged(tree: Any, place: Any, detail: float) -> Any:
    inputs = {"Vector": place, "Scale": 1, "Detail": detail, "Roughness": 0.5, "Offset": 1, "Gain": 2}
    made = node(tree, "TexNoise", inputs, noise_type="RIDGED_MULTIFRACTAL")
    return stretch(tree, made.outputs["Fac"], 0.25, 1 + 0.65 * (1 - 0.5**detail))


def _voronoi(tree: Any, place: Any, detail: float) -> Any:
    del detail
    made = node(tree, "TexVoronoi", {"Vector": place, "Scale": 1})
    return stretch(tree, made.outputs["Distance"], 0.05, 0.85)


def _cells(tree: Any, place: Any, detail: float) -> Any:
    del detail
    made = node(tree, "TexVoronoi", {"Vector": place, "Scale": 1})
    return node(tree, "SeparateColor", {0: made.outputs["Color"]}).outputs[0]


def _cracks(tree: Any, place: Any, detail: float) -> Any:
    del detail
    made = node(tree, "TexVoronoi", {"Vector": place, "Scale": 1}, feature="DISTANCE_TO_EDGE")
    return stretch(tree, made.outputs["Distance"], 0.0, 0.12)


def _wood(tree: Any, place: Any, detail: float) -> Any:
    """Year rings around z, bent by noise, and fine grain along z."""
    inputs = {"Vector": place, "Scale": WAVE_SCALE, "Distortion": 2.5, "Detail": detail, "Detail Scale": 1.5}
    made = node(tree, "TexWave", inputs, wave_type="RINGS", rings_direction="Z", wave_profile="SAW")
    along = node(tree, "VectorMath", {0: place, 1: (6, 6, 0.5)}, operation="MULTIPLY").outputs[0]
    grain = node(tree, "TexNoise", {"Vector": along, "Scale": 1, "Detail": 2}).outputs["Fac"]
    both = math(tree, "MULTIPLY_ADD", grain, 0.6, math(tree, "MULTIPLY", made.outputs["Fac"], 0.75))
    return stretch(tree, both, 0.2, 1.15)


def _marble(tree: Any, place: Any, detail: float) -> Any:
    inputs = {"Vector": place, "Scale": WAVE_SCALE, "Distortion": 7, "Detail": detail, "Detail Scale": 1.2}
    made = node(tree, "TexWave", inputs, wave_type="BANDS", bands_direction="DIAGONAL", wave_profile="SIN")
    return made.outputs["Fac"]


def _stripes(tree: Any, place: Any, detail: float) -> Any:
    del detail
    inputs = {"Vector": place, "Scale": WAVE_SCALE, "Distortion": 0}
    return node(tree, "TexWave", inputs, wave_type="BANDS", bands_direction="X", wave_profile="SIN").outputs["Fac"]


def _checker(tree: Any, place: Any, detail: float) -> Any:
    del detail
    return node(tree, "TexChecker", {"Vector": place, "Scale": 1}).outputs["Fac"]


def _brick(tree: Any, place: Any, detail: float) -> Any:
    """Bricks one unit long: mortar is 0, bricks differ from 0.4 to 1."""
    del detail
    inputs = {
        "Vector": place,
        "Scale": 1,
        "Color1": (0.4, 0.4, 0.4, 1),
        "Color2": (1, 1, 1, 1),
        "Mortar": (0, 0, 0, 1),
        "Mortar Size": 0.02,
        "Mortar Smooth": 0.3,
        "Brick Width": 1,
        "Row Height": 0.4,
    }
    made = node(tree, "TexBrick", inputs)
    return node(tree, "SeparateColor", {0: made.outputs["Color"]}).outputs[0]


def _dots(tree: Any, place: Any, detail: float) -> Any:
    del detail
    inputs = {"Vector": place, "Scale": 1, "Randomness": 0}
    made = node(tree, "TexVoronoi", inputs, voronoi_dimensions="2D")
    return stretch(tree, made.outputs["Distance"], 0.34, 0.28, smooth=True)


_FIELDS = {
    "noise": _noise,
    "ridged": _ridged,
    "voronoi": _voronoi,
    "cells": _cells,
    "cracks": _cracks,
    "wood": _wood,
    "marble": _marble,
    "stripes": _stripes,
    "checker": _checker,
    "brick": _brick,
    "dots": _dots,
}
