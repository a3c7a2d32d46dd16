"""The complete description of a scene: everything that Blender needs to render it, and nothing drawn at random later.

A :class:`Scene` is one JSON file. Its four parts are the paper's four attributes (Section 4.1): ``objects`` (geometry),
``materials`` (texture), ``lighting`` and ``cameras``. Lengths are metres, angles degrees, colours linear RGB, the world's z
axis points up, and cameras follow OpenCV (x right, y down, z forward). ``python -c "from experiments.scenes import
schema; print(schema.json_schema())"`` prints the machine-readable form.
"""

from __future__ import annotations

import json
import re
from typing import Literal

import msgspec

from subspace.errors import InputError
from vggt_jax.reading import typed
from vggt_jax.reading.json_text import parse_json

SCHEMA_VERSION = 1
MOST_BYTES = 1 << 28
"""Of a scene's file."""
MOST_SCENES = 100_000
"""Of a data set, and data sets of an attribute: far more than a training sees."""
MOST_SAMPLES = 100_000
"""Light paths per pixel: with a thousand no noise is seen any more."""

Vec3 = tuple[float, float, float]
Color = tuple[float, float, float]
"""Linear RGB: 0–1 for surfaces, any positive number for light."""
Attribute = Literal["texture", "geometry", "camera", "lighting", "mixed"]
Setting = Literal["micro_baseline", "object_centric", "wide_baseline"]
"""In this order: a setting's place is part of its scenes' random streams."""
IN_ROOMS: tuple[Setting, ...] = ("micro_baseline", "wide_baseline")


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class _Kind(_Part, frozen=True, tag_field="kind", tag=_snake_case):
    """One of several kinds of a part; JSON's ``kind`` says which, in snake case."""


# Shapes fill the cube [-1, 1]³ of their own frame; an Object's size, rotation and location put them into the world.


class Ellipsoid(_Kind, frozen=True):
    pass


class Superellipsoid(_Kind, frozen=True):
    """|x|^(2/e) + |y|^(2/e) to the power e/n, + |z|^(2/n) = 1: from box (0.1) over sphere (1) to octahedron (2)."""

    n: float
    e: float


class Box(_Kind, frozen=True):
    bevel: float = 0.0
    """Radius of the rounded edges in metres."""


class Cylinder(_Kind, frozen=True):
    bevel: float = 0.0


class Cone(_Kind, frozen=True):
    top: float = 0.0
    """Radius of the top as a share of the bottom's."""


class Torus(_Kind, frozen=True):
    tube: float
    """Radius of the tube as a share of the outer radius, below 0.5. The ring lies in the xy plane."""


class Lathe(_Kind, frozen=True):
    """A surface of revolution about z: vases, bowls, bottles, lamps."""

    profile: tuple[tuple[float, float], ...]
    """(radius in 0…1, z in -1…1) from bottom to top, and for a vessel down again on its inside, joined by a smooth curve;
    closed by discs where the radius at an end is not 0."""


class Prism(_Kind, frozen=True):
    """A polygon in the xy plane, extruded along z."""

    polygon: tuple[tuple[float, float], ...]
    """Corners in [-1, 1]², counter-clockwise, without self-intersection."""
    bevel: float = 0.0


class HeightField(_Kind, frozen=True):
    """A surface z(x, y) over [-1, 1]²."""

    heights: tuple[tuple[float, ...], ...]
    """Control values in -1…1, rows along y, interpolated by bicubic splines."""
    resolution: int
    """Vertices along each side."""


class Rectangle(_Kind, frozen=True):
    """[-1, 1]² in the plane z = 0, seen from both sides. Its UV coordinates are 0 at (-1, -1) and 1 at (1, 1)."""


class WireBox(_Kind, frozen=True):
    """The twelve edges of a box as square beams."""

    thickness: float
    """Side of a beam in metres."""


class Tube(_Kind, frozen=True):
    """A stick, rail or cable: a round tube along a smooth curve through its points."""

    points: tuple[Vec3, ...]
    """At least two, in [-1, 1]³."""
    radius: float
    """Metres."""


class Mesh(_Kind, frozen=True):
    """Triangles from a file, with UV coordinates or colours of the vertices (:mod:`experiments.scenes.mesh_files`)."""

    file: str
    """As :func:`experiments.scenes.mesh_files.write` wrote it; its vertices fill the cube."""
    sha256: str
    """SHA-256 of the file's bytes, so that a changed mesh is a changed scene."""


_Solid = Ellipsoid | Superellipsoid | Box | Cylinder | Cone | Torus | Lathe | Prism
Shape = _Solid | HeightField | Rectangle | WireBox | Tube | Mesh


class Object(_Part, frozen=True):
    """A solid thing. Its id in the rendered masks is its place in ``Scene.objects`` plus one."""

    name: str
    role: Literal["room", "furniture", "clutter", "thin", "decoration"]
    shape: Shape
    size: Vec3
    """Full extent along the shape's own axes, metres; 0 along z for a Rectangle."""
    rotation: tuple[float, float, float, float]
    """Unit quaternion (w, x, y, z), shape to world."""
    location: Vec3
    """The shape's origin in the world, metres."""
    material: int
    """Index into ``Scene.materials``, taken modulo their number."""


class Mapping(_Part, frozen=True):
    """Where a texture lies on a surface: the object's own metric coordinates, scaled, then turned, then moved.

    Patterns that fill space (noise, ridged, voronoi, cells, cracks, wood with its rings around z, marble) use all three.
    Flat ones (stripes, checker, brick, dots) and pictures use their box projection, in which only the turn about z counts
    and each side shows them upright and unmirrored; pictures keep their proportions.
    """

    repeats: float
    """Repetitions of the pattern, or of the picture, per metre."""
    rotation: Vec3 = (0.0, 0.0, 0.0)
    """Euler XYZ, degrees."""
    offset: Vec3 = (0.0, 0.0, 0.0)
    """In repetitions."""
    stretch: Vec3 = (1.0, 1.0, 1.0)


class ColorStop(_Part, frozen=True):
    position: float
    color: Color


class Plain(_Kind, frozen=True):
    color: Color


class Pattern(_Kind, frozen=True):
    """A procedural texture: a scalar field in 0…1 through a colour ramp."""

    family: Literal[
        "noise", "ridged", "voronoi", "cells", "cracks", "wood", "marble", "stripes", "checker", "brick", "dots"
    ]
    mapping: Mapping
    ramp: tuple[ColorStop, ...]
    """Two or more, positions rising."""
    interpolation: Literal["linear", "constant"] = "linear"
    detail: float = 2.0
    """Octaves of noise, 0–8."""
    distortion: float = 0.0
    """How far noise bends the pattern, in repetitions."""


class Picture(_Kind, frozen=True):
    """A picture file, or a set of PBR maps of one material (MatSynth, ambientCG, …)."""

    color: str
    """File of the base colour, sRGB."""
    mapping: Mapping
    normal: str | None = None
    """OpenGL convention."""
    roughness: str | None = None
    metallic: str | None = None
    sha256: str = ""
    """SHA-256 of the files' bytes one after another, so that a changed texture is a changed scene."""


class Wrapped(_Kind, frozen=True):
    """A picture that lies on a Rectangle or a Mesh by its UV coordinates, which run from the lower left corner to the right
    and upwards: on a Rectangle seen from +z it fills it, upright and unmirrored."""

    color: str
    """File of the base colour, sRGB."""
    sha256: str
    """SHA-256 of the file's bytes."""
    alpha: bool | msgspec.UnsetType = msgspec.UNSET
    """There is a surface only where the picture is opaque."""
    vertex_colors: bool | msgspec.UnsetType = msgspec.UNSET
    """It is multiplied by the colours that a Mesh brings with its vertices."""


class VertexColors(_Kind, frozen=True):
    """The colours that a Mesh brings with its vertices."""


class Layered(_Kind, frozen=True):
    """Two textures, the second shown where the mask is bright (its ramp's luminance)."""

    first: Plain | Pattern | Picture
    second: Plain | Pattern | Picture
    mask: Pattern


class Material(_Part, frozen=True):
    """A Principled BSDF."""

    base: Plain | Pattern | Picture | Layered | Wrapped | VertexColors
    roughness: tuple[float, float] = (0.5, 0.5)
    """Roughness where the base's field is 0, and where it is 1."""
    metallic: float = 0.0
    bump: float = 0.0
    """Height of the relief in metres that the base's field stands for; negative turns it over."""
    specular: float = 0.5
    coat: float = 0.0
    sheen: float = 0.0
    transmission: float = 0.0
    """1 is glass; anything above 0 marks the object in the glass mask."""
    ior: float = 1.45
    clear_shadow: bool | msgspec.UnsetType = msgspec.UNSET
    """Lamps and sky light what is behind or below the glass straight through it, tinted. Otherwise, as nothing follows
    caustics, its shadow is black."""


class UniformSky(_Kind, frozen=True):
    color: Color
    strength: float


class GradientSky(_Kind, frozen=True):
    zenith: Color
    horizon: Color
    ground: Color
    strength: float


class Hdri(_Kind, frozen=True):
    """An environment map: the name of one of Blender's own (``city.exr``, …) or the path of a file."""

    file: str
    strength: float
    rotation: float = 0.0
    """Turn about z."""
    tint: Color = (1.0, 1.0, 1.0)


class Sun(_Kind, frozen=True):
    direction: Vec3
    """Unit vector in which the light travels."""
    color: Color
    irradiance: float
    """W/m² on a surface that faces it."""
    angle: float = 0.5
    """Diameter as seen from the scene; larger casts softer shadows."""


class AreaLight(_Kind, frozen=True):
    position: Vec3
    direction: Vec3
    size: tuple[float, float]
    color: Color
    power: float
    """Power in watts."""


class PointLight(_Kind, frozen=True):
    position: Vec3
    color: Color
    power: float
    radius: float = 0.05


class Lighting(_Part, frozen=True):
    """Lights are not seen by the camera: lighting never changes the geometry."""

    environment: UniformSky | GradientSky | Hdri
    lights: tuple[Sun | AreaLight | PointLight, ...]


class View(_Part, frozen=True):
    """One pinhole camera. Pixels are counted from the corner: the first one has its centre at (0.5, 0.5)."""

    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: tuple[float, ...]
    """[R | t], 3×4 in row order."""


class Cameras(_Part, frozen=True):
    width: int
    height: int
    views: tuple[View, ...]


class RenderSettings(_Part, frozen=True):
    samples: int = 4
    """Light paths per pixel; 4 to train, 16 to evaluate."""
    denoise: bool = True
    seed: int = 0
    """Seed of Cycles' own noise."""
    exposure_percentile: float = 99.0
    """Percentile of the brightness of the scene's surfaces over all views that is shown as white."""
    bounces: int | msgspec.UnsetType = msgspec.UNSET
    """Number of bounces of a light path, transmissions through glass among them; 4 where not set."""


class Provenance(_Part, frozen=True):
    """How the scene came about: the same values give the same scene."""

    attribute: Attribute
    setting: Setting
    seed: int
    dataset: int
    scene: int
    attempt: int = 0
    """Above 0 for a scene that replaces one that could not be rendered."""
    task: str | msgspec.UnsetType = msgspec.UNSET
    """Task and split of ``experiments.prepare``, whose scenes these values then name."""


class Region(_Part, frozen=True):
    """The part of a flat object that counts when the scene's task is evaluated."""

    object: int
    """Place in ``Scene.objects`` of a Rectangle."""
    picture: str
    """File of a picture that fills the Rectangle as one of :class:`Wrapped` does: bright where it counts."""
    sha256: str
    """SHA-256 of the file's bytes."""


class Scene(_Part, frozen=True):
    version: Literal[1]
    provenance: Provenance
    objects: tuple[Object, ...]
    materials: tuple[Material, ...]
    lighting: Lighting
    cameras: Cameras
    render: RenderSettings = RenderSettings()
    region: Region | msgspec.UnsetType = msgspec.UNSET
    """The part that counts when the task is evaluated; all surfaces where it is not set."""


def to_json(scene: Scene) -> bytes:
    """The scene as UTF-8 JSON, the same bytes for the same scene."""
    return msgspec.json.encode(scene)


def from_json(data: bytes) -> Scene:
    """The scene that :func:`to_json` wrote.

    Raises InputError naming the field that is missing, unknown or of the wrong type.
    """
    try:
        return typed.convert(parse_json(data), Scene)
    except ValueError as error:  # msgspec's are ValueErrors too
        raise InputError(f"not a scene of version {SCHEMA_VERSION}: {error}") from None


def json_schema() -> str:
    """The JSON Schema of a scene file, for tools that do not read Python."""
    return json.dumps(msgspec.json.schema(Scene), indent=1)
