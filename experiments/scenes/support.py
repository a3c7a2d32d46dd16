"""Where shapes end: support points, bounding boxes and distances, in closed form where there is one.

A shape's support point in a direction is its farthest point that way. Two things touch where the support point of one
meets the surface of the other, which is how everything in a scene finds its place.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from vggt_jax.reading.arrays import read_arrays

Vector = Float[np.ndarray, "3"]


def support_point(shape: schema.Shape, size: schema.Vec3, direction: Vector) -> Vector:
    """The shape's farthest point along ``direction``, metres, both in the shape's own frame."""
    half, d = np.asarray(size) / 2, np.asarray(direction, dtype=float)
    match shape:
        case schema.Ellipsoid():
            return half * _unit(half * d)
        case schema.Superellipsoid(n=n, e=e):
            return half * _superellipsoid(half * d, n, e)
        case schema.Box(bevel=bevel):
            return np.sign(d) * (half - bevel) + bevel * _unit(d)
        case schema.WireBox():
            return np.where(d < 0, -half, half)
        case schema.Rectangle():
            return np.sign(d) * half * (1, 1, 0)
        case schema.Cylinder(bevel=bevel):
            core = half - bevel
            around = core[:2] * _unit(core[:2] * d[:2])
            return np.array([*around, np.sign(d[2]) * core[2]]) + bevel * _unit(d)
        case schema.Cone(top=top):
            return half * _farthest_circle(half * d, np.array([[1.0, -1.0], [top, 1.0]]))
        case schema.Lathe(profile=profile):
            return half * _farthest_circle(half * d, np.asarray(profile))
        case schema.Torus(tube=tube):
            scaled = half * d
            across = _unit(scaled[:2]) if scaled[:2].any() else np.array([1.0, 0.0])
            section = _unit(np.array([tube * np.linalg.norm(scaled[:2]), scaled[2]]))
            return half * np.array([*(across * (1 - tube + tube * section[0])), section[1]])
        case schema.Prism(polygon=polygon):
            corner = max(polygon, key=lambda xy: float(np.dot(half[:2] * xy, d[:2])))
            return half * (*corner, np.sign(d[2]))
        case schema.HeightField():
            return _farthest(_field_points(shape) * half, d)
        case schema.Tube(points=points, radius=radius):
            path = np.asarray(points) * half
            tangents = np.gradient(path, axis=0)
            tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
            across = d - (tangents @ d)[:, None] * tangents
            length = np.linalg.norm(across, axis=1, keepdims=True)
            return _farthest(
                path + radius * np.divide(across, length, out=np.zeros_like(path), where=length > 1e-12), d
            )
        case schema.Mesh(file=file):
            return _farthest(_mesh_points(file) * half, d)
    raise TypeError(f"unknown shape {type(shape).__name__}")


def _unit(v: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(v)
    return v / length if length > 0 else np.zeros_like(v)


def _farthest(points: Float[np.ndarray, "n 3"], d: Vector) -> Vector:
    return points[int(np.argmax(points @ d))]


@lru_cache(maxsize=64)
def _field_points(field: schema.HeightField) -> Float[np.ndarray, "n 3"]:
    """The vertices of a height field in its cube; a spline reaches beyond its control values."""
    z, side = np.asarray(field.heights), np.linspace(-1, 1, field.resolution)
    for axis in (0, 1):
        z = CubicSpline(np.linspace(-1, 1, z.shape[axis]), z, axis=axis, bc_type="natural")(side)
    y, x = np.meshgrid(side, side, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


@lru_cache(maxsize=16)
def _mesh_points(file: str) -> Float[np.ndarray, "n 3"]:
    return read_arrays(Path(file), ("vertices",))["vertices"].astype(np.float64)


def _farthest_circle(d: Vector, profile: Float[np.ndarray, "n 2"]) -> Vector:
    """Of the circles (radius, z) about the z axis."""
    radius, z = profile[int(np.argmax(profile @ (np.linalg.norm(d[:2]), d[2])))]
    return np.array([*(radius * _unit(d[:2])), z])


def _superellipsoid(d: Vector, n: float, e: float) -> Vector:
    """Of the unit ball of a mixed norm: exponent 2/e in the plane, 2/n between plane and axis."""
    across, across_size = _norm_ball(d[:2], 2 / e)
    section, _ = _norm_ball(np.array([across_size, d[2]]), 2 / n)
    return np.array([*(across * section[0]), section[1]])


def _norm_ball(d: np.ndarray, p: float) -> tuple[np.ndarray, float]:
    """The farthest point of the unit ball of the p-norm along d, and how far that is (Hölder's inequality)."""
    dual = p / (p - 1)
    largest = float(np.abs(d).max())
    if largest == 0:
        return np.zeros_like(d), 0.0
    share = np.abs(d) / largest
    total = float(np.sum(share**dual))
    return np.sign(d) * share ** (dual - 1) / total ** (1 / p), largest * total ** (1 / dual)


def extreme(thing: schema.Object, direction: Vector) -> Vector:
    """The object's farthest point along ``direction``, in world coordinates."""
    return extremes(thing, np.asarray(direction, dtype=float)[None])[0]


def extremes(thing: schema.Object, directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The same for several directions."""
    turn = rotation_of(thing).as_matrix()
    local = [support_point(thing.shape, thing.size, _clean(way)) for way in directions @ turn]
    return np.asarray(thing.location) + np.array(local) @ turn.T


def bounds(*things: schema.Object) -> Float[np.ndarray, "2 3"]:
    """The lower and upper corner of the tightest box along the world's axes, metres."""
    boxes = np.array([_bounds(thing) for thing in things])
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def _bounds(thing: schema.Object) -> Float[np.ndarray, "2 3"]:
    turn = rotation_of(thing).as_matrix()
    reach = [[axis @ support_point(thing.shape, thing.size, _clean(sign * axis)) for axis in turn] for sign in (-1, 1)]
    return np.asarray(thing.location) + reach


def _clean(direction: Vector) -> Vector:
    """Without rounding errors: a box that stands square ends in a face, not in one of its corners."""
    return np.where(np.abs(direction) < 1e-12, 0.0, direction)


def distance(points: Float[np.ndarray, "n 3"], thing: schema.Object) -> Float[np.ndarray, " n"]:
    """How far the points are from the object's oriented bounding box, metres: never more than from the object."""
    half = np.asarray(thing.size) / 2
    if isinstance(thing.shape, schema.Tube):
        half = half + thing.shape.radius
    local = rotation_of(thing).inv().apply(np.asarray(points) - np.asarray(thing.location))
    return np.linalg.norm(np.maximum(np.abs(local) - half, 0), axis=-1)


def rotation_of(thing: schema.Object) -> Rotation:
    return Rotation.from_quat(thing.rotation, scalar_first=True)
