"""glTF: which picture, coordinates, colours and factors its materials mean.

trimesh reads the geometry and decodes the pictures. It knows one set of coordinates, takes colours of 16 bits for 8, shares
for metres, and forgets extensions; so a file's JSON is read here first, and handed on with what trimesh needs of it alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from experiments.scenes.looks import WHITE, LeftOut, Look, Opacity, dressed
from experiments.scenes.mesh_damage import reading_mesh
from experiments.scenes.mesh_references import References, lenient
from subspace.errors import InputError
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.regular import read_bytes

SUFFIXES = frozenset({".glb", ".gltf"})
_UV, _COLORS, _PLACES = "_UV", "_COLORS", "_PLACES"
"""Attributes of our own, which trimesh hands through as they are."""
_SHARES = "_SHARES"
"""Ends the names of those whose integers stand for shares of their largest."""
_REPEAT, _FLOAT = 10497, 5126
_MOST_BYTES = 1 << 32
"""Of a file; its binary part can hold no more."""
_READ = frozenset({"KHR_texture_transform", "KHR_mesh_quantization", "EXT_texture_webp", "KHR_lights_punctual"})
_LEFT_OUT = {
    "KHR_materials_unlit": LeftOut.UNLIT,
    "KHR_materials_emissive_strength": LeftOut.EMISSION,
    "KHR_materials_transmission": LeftOut.OPACITY,
    "KHR_materials_volume": LeftOut.OPACITY,
    "KHR_materials_specular": LeftOut.REFLECTION,
    "KHR_materials_ior": LeftOut.REFLECTION,
    "KHR_materials_clearcoat": LeftOut.REFLECTION,
    "KHR_materials_pbrSpecularGlossiness": LeftOut.REFLECTION,
}


@dataclass(frozen=True)
class Material:
    """The colour of a material."""

    factor: Sequence[float]
    """Linear RGBA."""
    says_nothing: bool
    """It has neither a picture nor a factor."""
    uv_set: int
    transform: Mapping[str, Any]
    """Of the coordinates (KHR_texture_transform)."""
    picture: str | None
    """What its picture is called in the file, if it has one."""
    opacity: Opacity | None
    left_out: frozenset[LeftOut]


@dataclass(frozen=True)
class Gltf:
    """A file as trimesh is to read it, and the materials that its names are the numbers of."""

    scene: trimesh.Scene
    materials: Sequence[Material]
    references: References

    def look(self, path: Path, mesh: trimesh.Trimesh) -> Look | None:
        """Of one of the scene's meshes; None if nothing of it can be seen.

        Raises InputError if it has a picture that cannot be used.
        """
        visual: Any = mesh.visual
        material = self.materials[int(visual.material.name)]
        picture, uv = getattr(visual.material, "baseColorTexture", None), _attribute(mesh, _UV)
        if material.picture is not None and picture is None:
            raise InputError(f"{path}: {self.references.problem(material.picture) or _embedded(material.picture)}")
        if picture is not None and uv is None:
            raise InputError(f"{path} has a picture and no coordinates in it (TEXCOORD_{material.uv_set})")
        colors = _attribute(mesh, _COLORS)
        if colors is None and material.says_nothing and not self.says_anything:
            raise InputError(f"{path} has neither pictures nor colours")
        if picture is not None:
            self.references.check_picture(picture)
            picture.load()
        return dressed(
            len(mesh.vertices),
            None if uv is None else _placed(uv, material.transform),
            picture,
            colors,
            material.factor,
            material.opacity,
            material.left_out,
        )

    @property
    def says_anything(self) -> bool:
        """Whether any part has a colour: white is what materials without one have beside others."""
        colored = any(_attribute(mesh, _COLORS) is not None for mesh in _meshes(self.scene))
        return colored or not all(material.says_nothing for material in self.materials)


def read(path: Path, references: References) -> Gltf:
    """Read a file.

    Raises:
        InputError: it cannot be read.
        OSError: the system says so.
    """
    with reading_mesh(path, references):
        content = read_bytes(path, _MOST_BYTES)
        binary = content[:4] == b"glTF"
        announced = int.from_bytes(content[8:12], "little") if binary else len(content)
        if announced > len(content):
            raise InputError(f"{path} is cut off: it announces {announced:,} bytes and has {len(content):,}")
        length = int.from_bytes(content[12:16], "little") if binary else len(content)
        tree = parse_json(content[20 : 20 + length] if binary else content)
        if unknown := set(tree.get("extensionsRequired", ())) - _READ - _LEFT_OUT.keys():
            raise InputError(f"{path} needs {', '.join(sorted(unknown))}, which is not read")
        if _has_scaling_skins(tree):
            raise InputError(
                f"{path} has positions of integers that a skin scales (KHR_mesh_quantization), which is not read"
            )
        materials = _simplify(tree)
        text = json.dumps(tree).encode()
        if binary:
            text += b" " * (-len(text) % 4)
            rest = content[20 + length :]
            head = [0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A]
            text = np.array(head, "<u4").tobytes() + text + rest
        kind = "glb" if binary else "gltf"
        with lenient():
            scene = trimesh.load_scene(BytesIO(text), file_type=kind, resolver=references, process=False)
        for mesh in _meshes(scene):
            if (places := _attribute(mesh, _PLACES)) is not None:
                mesh.vertices = places
    return Gltf(scene, materials, references)


def _simplify(tree: dict[str, Any]) -> list[Material]:
    """Leave the base colour's picture of each material, its number as its name, and its coordinates and colours raw."""
    described = [*tree.get("materials", []), {}]  # the last for surfaces without one
    materials = [_material(tree, material) for material in described]
    tree["materials"] = [
        {
            "name": str(number),
            "pbrMetallicRoughness": {key: value for key, value in _base(material).items() if key == _PICTURE},
        }
        for number, material in enumerate(described)
    ]
    for mesh in tree.get("meshes", []):
        for primitive in mesh["primitives"]:
            number = primitive.setdefault("material", len(described) - 1)
            attributes = primitive["attributes"]
            raw = {_UV: f"TEXCOORD_{materials[number].uv_set}", _COLORS: "COLOR_0", _PLACES: "POSITION"}
            shares = {
                own for own, name in raw.items() if name in attributes and _is_of_shares(tree, own, attributes[name])
            }
            if _PLACES not in shares:
                del raw[_PLACES]
            kept = {
                own + _SHARES * (own in shares): attributes[name] for own, name in raw.items() if name in attributes
            }
            dropped = ("TEXCOORD_", "COLOR_", "_")
            others = {name: value for name, value in attributes.items() if not name.startswith(dropped)}
            primitive["attributes"] = others | kept
    return materials


_PICTURE = "baseColorTexture"


def _base(material: Mapping[str, Any]) -> dict[str, Any]:
    """Picture and factor of the base colour, of materials that say diffuse too."""
    older = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
    if older is None:
        return material.get("pbrMetallicRoughness", {})
    names = {"diffuseTexture": _PICTURE, "diffuseFactor": "baseColorFactor"}
    return {names[key]: value for key, value in older.items() if key in names}


def _material(tree: Mapping[str, Any], material: Mapping[str, Any]) -> Material:
    base, texture = _base(material), _base(material).get(_PICTURE)
    extensions = material.get("extensions", {})
    left_out = {_LEFT_OUT.get(name, LeftOut.EXTENSION) for name in extensions}
    surface = material.get("pbrMetallicRoughness", {})
    if "metallicRoughnessTexture" in surface or surface.get("metallicFactor", 0) > 0:
        left_out.add(LeftOut.REFLECTION)
    if "normalTexture" in material:
        left_out.add(LeftOut.NORMAL_MAP)
    if "occlusionTexture" in material:
        left_out.add(LeftOut.OCCLUSION)
    if "emissiveTexture" in material or any(material.get("emissiveFactor", ())):
        left_out.add(LeftOut.EMISSION)
    transform: Mapping[str, Any] = {}
    picture = None
    if texture is not None:
        transform = texture.get("extensions", {}).get("KHR_texture_transform", {})
        described = tree["textures"][texture["index"]]
        sampler = tree["samplers"][described["sampler"]] if "sampler" in described else {}
        if {sampler.get("wrapS", _REPEAT), sampler.get("wrapT", _REPEAT)} != {_REPEAT}:
            left_out.add(LeftOut.PLACEMENT)
        picture = _picture_name(tree, described)
    mode = material.get("alphaMode", "OPAQUE")
    opacity = {"MASK": Opacity(material.get("alphaCutoff", 0.5)), "BLEND": Opacity()}.get(mode)
    return Material(
        factor=base.get("baseColorFactor", WHITE),
        says_nothing=texture is None and "baseColorFactor" not in base,
        uv_set=transform.get("texCoord", texture.get("texCoord", 0)) if texture is not None else 0,
        transform=transform,
        picture=picture,
        opacity=opacity,
        left_out=frozenset(left_out),
    )


def _picture_name(tree: Mapping[str, Any], texture: Mapping[str, Any]) -> str:
    source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source")
    if source is None:
        return "of a format that is not read (KTX2)"
    image = tree["images"][source]
    uri = image.get("uri", "data:")
    return image.get("name", f"{source}") if uri.startswith("data:") else uri


def _embedded(name: str) -> str:
    return f"its picture {name} cannot be read"


def _has_scaling_skins(tree: Mapping[str, Any]) -> bool:
    """Whether a mesh with a skin has positions of integers: what they are multiplied by is in the skin then, not in a node."""
    accessors = tree.get("accessors", ())
    return any(
        accessors[primitive["attributes"]["POSITION"]]["componentType"] != _FLOAT
        for node in tree.get("nodes", ())
        if "skin" in node and "mesh" in node
        for primitive in tree["meshes"][node["mesh"]]["primitives"]
    )


def _is_of_shares(tree: Mapping[str, Any], own: str, accessor: int) -> bool:
    """Whether integers of an attribute stand for shares; colours can be nothing else, also where a file does not say so."""
    return own == _COLORS or tree["accessors"][accessor].get("normalized", False) is True


def _attribute(mesh: trimesh.Trimesh, own: str) -> np.ndarray | None:
    """What an attribute of our own means, float64; None if the mesh does not have it."""
    shares = mesh.vertex_attributes.get(own + _SHARES)
    if shares is not None and shares.dtype.kind in "iu":
        return np.maximum(shares / np.iinfo(shares.dtype).max, -1)
    values = mesh.vertex_attributes.get(own) if shares is None else shares
    return None if values is None else values.astype(np.float64)


def _placed(uv: np.ndarray, transform: Mapping[str, Any]) -> np.ndarray:
    """As KHR_texture_transform says, and with the origin at the picture's lower left corner."""
    u, v = (uv * transform.get("scale", (1, 1))).T
    turn, (right, down) = transform.get("rotation", 0.0), transform.get("offset", (0, 0))
    u, v = np.cos(turn) * u + np.sin(turn) * v + right, np.cos(turn) * v - np.sin(turn) * u + down
    return np.stack([u, 1 - v], axis=1)


def _meshes(scene: trimesh.Scene) -> list[trimesh.Trimesh]:
    return [mesh for mesh in scene.geometry.values() if isinstance(mesh, trimesh.Trimesh)]
