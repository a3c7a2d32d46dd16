"""A shape and its size → triangles, in pure NumPy (1.26 or 2).

Coordinates are metres in the object's own frame, before its rotation and location. Solids are watertight; faces are
counter-clockwise as seen from outside. A shape is given as the dictionary that JSON makes of one in
:mod:`experiments.scenes.schema`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .surfaces import (
    Surface,
    cells_surface,
    inset_rings,
    largest_bevel,
    smooth_curve,
    spline_matrix,
    stack,
    triangulate,
)

CHORD_ERROR = 2.5e-4
"""Metres by which a circle's chord may miss it, within the limits of SEGMENTS."""
SEGMENTS = (16, 64)
SHARP_ANGLE = 40.0
"""Degrees between two faces from which their edge is shaded as a crease; every rounding turns by less from face to face."""

Shape = dict[str, Any]


class Mesh(NamedTuple):
    """Triangles in metres."""

    vertices: np.ndarray
    """(n, 3) float32"""
    faces: np.ndarray
    """(m, 3) int32, indices into the vertices."""
    bevelled: bool
    """Large flat faces meet narrow rounded ones: shading normals are then weighted by area, so that the flat ones look flat."""
    uv: np.ndarray | None = None
    """(m, 3, 2) float32, UV coordinates of each triangle's corners, of shapes that have any"""
    colors: np.ndarray | None = None
    """(n, 3) float32, linear RGB of the vertices, likewise"""


def build(shape: Shape, size: Sequence[float]) -> Mesh:
    """The mesh of a shape whose cube [-1, 1]³ is scaled to ``size`` metres.

    Raises:
        ValueError: an unknown kind, measures that make no surface, or a mesh's file that is not what the shape says.
        OSError: a mesh's file cannot be read.
    """
    kind = shape["kind"]
    if kind not in _KINDS:
        raise ValueError(f"unknown shape {kind!r}; there are {', '.join(sorted(_KINDS))}")
    half = np.asarray(size, np.float64) / 2
    solid_axes = half if kind in _SOLIDS else half[:2]
    if kind != "tube" and (half.shape != (3,) or not np.all(np.isfinite(half)) or np.any(solid_axes <= 0)):
        raise ValueError(f"a {kind} needs positive extents, got size {tuple(size)}")
    if kind == "mesh":
        return _from_file(shape, half)
    vertices, faces = _BUILDERS[kind](shape, half)
    uv = (np.sign(vertices[faces, :2]) + 1) / 2 if kind == "rectangle" else None
    return Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        shape.get("bevel", 0.0) > 0,
        None if uv is None else uv.astype(np.float32),
    )


def box_coordinates(mesh: Mesh) -> np.ndarray:
    """(m, 3, 2) float32 for each triangle's corners: its position in metres, projected along the axis it faces most.

    u runs to the right and v upwards (along y on top and bottom) for someone who looks at the face from outside.
    """
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.argmax(np.abs(normal) * (1.0, 1.0 + 1e-6, 1.0 + 2e-6), axis=1)
    across, up = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]
    facing = np.sign(normal[np.arange(len(axis)), axis]) * np.array([1, -1, 1])[axis]
    u = np.take_along_axis(corners, across[:, None, None], axis=2)[..., 0] * facing[:, None]
    v = np.take_along_axis(corners, up[:, None, None], axis=2)[..., 0]
    return np.stack([u, v], axis=2).astype(np.float32)


def _from_file(shape: Shape, half: np.ndarray) -> Mesh:
    content = Path(shape["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != shape["sha256"]:
        raise ValueError(f"{shape['file']} is not the mesh that the scene was made with")
    with np.load(io.BytesIO(content)) as stored:
        vertices = (stored["vertices"] * half).astype(np.float32)
        uv, colors = (stored[name] if name in stored else None for name in ("uv", "colors"))
        return Mesh(vertices, stored["faces"], False, uv, colors)


def _segments(radius: float) -> int:
    """Pieces of a circle of this radius in metres."""
    count = np.pi / np.sqrt(2 * CHORD_ERROR / max(radius, 1e-6))
    return 4 * int(np.ceil(np.clip(count, *SEGMENTS) / 4))


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    """Signed power of cosines and sines, whose zeros are made exact."""
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    return np.sign(values) * np.abs(values) ** exponent


def _circle(segments: int, exponent: float = 1.0) -> np.ndarray:
    """(n, 2) counter-clockwise; a superellipse for other exponents."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    return np.stack([_power(np.cos(angle), exponent), _power(np.sin(angle), exponent)], axis=1)


def _revolve(profile: np.ndarray, circle: np.ndarray, half: np.ndarray) -> Surface:
    """Rings at each (radius, z) of the profile (k, 2), bottom to top, in units of the half extents."""
    rings = np.empty((len(profile), len(circle), 3))
    rings[..., :2] = profile[:, None, :1] * circle
    rings[..., 2] = profile[:, None, 1]
    return stack(rings * half)


def _bevel_profile(height: float, bevel: float) -> np.ndarray:
    """(inset, z) of the rings of something of half this height whose rims are rounded."""
    if bevel == 0:
        return np.array([[0.0, -height], [0.0, height]])
    angle = np.linspace(0, np.pi / 2, 5)
    bottom = np.stack([bevel * (1 - np.sin(angle)), -height + bevel * (1 - np.cos(angle))], axis=1)
    bottom[-1, 0] = 0.0
    return np.concatenate([bottom, bottom[::-1] * (1, -1)])


def _ellipsoid(_: Shape, half: np.ndarray) -> Surface:
    return _superellipsoid({"n": 1.0, "e": 1.0}, half)


def _superellipsoid(shape: Shape, half: np.ndarray) -> Surface:
    segments = _segments(half.max())
    angle = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    profile = np.stack([_power(np.cos(angle), shape["n"]), _power(np.sin(angle), shape["n"])], axis=1)
    return _revolve(profile, _circle(segments, shape["e"]), half)


def _box(shape: Shape, half: np.ndarray) -> Surface:
    square = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return _prism({"polygon": square, "bevel": shape["bevel"]}, half)


def _prism(shape: Shape, half: np.ndarray) -> Surface:
    polygon = np.asarray(shape["polygon"], np.float64) * half[:2]
    bevel = min(shape["bevel"], 0.9 * half[2], largest_bevel(polygon))
    profile = _bevel_profile(half[2], bevel)
    outlines, first = inset_rings(polygon, bevel, profile[:, 0])
    rings = np.concatenate([outlines, np.broadcast_to(profile[:, None, 1:], (*outlines.shape[:2], 1))], axis=2)
    return stack(rings, cap=first[triangulate(outlines[-1, first])])


def _cylinder(shape: Shape, half: np.ndarray) -> Surface:
    profile = _bevel_profile(half[2], min(shape["bevel"], 0.9 * half.min()))
    rings = np.empty((len(profile), segments := _segments(half[:2].max()), 3))
    rings[..., :2] = (half[:2] - profile[:, None, :1]) * _circle(segments)
    rings[..., 2] = profile[:, None, 1]
    return stack(rings)


def _cone(shape: Shape, half: np.ndarray) -> Surface:
    # Rings close in on the tip, where the direction of the normal jumps: shading blends it over the last ring only.
    height = np.array([0, 0.5, 0.8, 0.93, 0.98, 1])
    profile = np.stack([1 - height * (1 - shape["top"]), 2 * height - 1], axis=1)
    return _revolve(profile, _circle(_segments(half[:2].max())), half)


def _torus(shape: Shape, half: np.ndarray) -> Surface:
    tube = shape["tube"]
    ring, section = _circle(_segments(half[:2].max())), _circle(_segments(max(tube * half[:2].max(), half[2])) // 2)
    rings = np.empty((len(section), len(ring), 3))
    rings[..., :2] = (1 - tube + tube * section[:, None, :1]) * ring
    rings[..., 2] = section[:, None, 1]
    return stack(rings * half, closed=True)


def _lathe(shape: Shape, half: np.ndarray) -> Surface:
    points = np.asarray(shape["profile"], np.float64)
    profile = np.clip(smooth_curve(points, 32), (0, -1), (1, 1))
    profile[1:-1, 0] = np.maximum(profile[1:-1, 0], 0.01)  # only an end may close
    return _revolve(profile, _circle(_segments(half[:2].max())), half)


def _height_field(shape: Shape, half: np.ndarray) -> Surface:
    control = np.asarray(shape["heights"], np.float64)
    side = np.linspace(-1, 1, n := shape["resolution"])
    along_y, along_x = (spline_matrix(np.linspace(-1, 1, k), side) for k in control.shape)
    x, y = np.meshgrid(side, side)
    vertices = np.stack([x, y, along_y @ control @ along_x.T], axis=2).reshape(-1, 3) * half
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    first = np.stack([corner, corner + 1, corner + n + 1], axis=1)
    return vertices, np.concatenate([first, np.stack([corner, corner + n + 1, corner + n], axis=1)])


def _rectangle(_: Shape, half: np.ndarray) -> Surface:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half
    return corners, np.array([[0, 1, 2], [0, 2, 3]])


def _wire_box(shape: Shape, half: np.ndarray) -> Surface:
    thickness = min(shape["thickness"], 0.9 * half.min())
    outermost = np.zeros((3, 3, 3), int)
    for axis in np.indices((3, 3, 3)):
        outermost += axis != 1
    edges = [np.array([-h, thickness - h, h - thickness, h]) for h in half]
    return cells_surface(outermost >= 2, edges)


def _tube(shape: Shape, half: np.ndarray) -> Surface:
    curve = smooth_curve(np.asarray(shape["points"], np.float64) * half, 48)
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # The section is carried along without twist: each frame is the last one's, made perpendicular again.
    side = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    circle = shape["radius"] * _circle(max(12, _segments(shape["radius"]) // 2))
    rings = np.empty((len(curve), len(circle), 3))
    for i, (point, forward) in enumerate(zip(curve, tangent, strict=True)):
        side = side - (side @ forward) * forward
        side /= np.linalg.norm(side)
        rings[i] = point + circle @ np.stack([side, np.cross(forward, side)])
    return stack(rings)


_BUILDERS: dict[str, Callable[[Shape, np.ndarray], Surface]] = {
    "ellipsoid": _ellipsoid,
    "superellipsoid": _superellipsoid,
    "box": _box,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "lathe": _lathe,
    "prism": _prism,
    "height_field": _height_field,
    "rectangle": _rectangle,
    "wire_box": _wire_box,
    "tube": _tube,
}
_KINDS = frozenset({*_BUILDERS, "mesh"})
_SOLIDS = frozenset(_BUILDERS) - {"height_field", "rectangle", "tube"}
