"""Assemblies: groups of objects that stand on z = 0 about the origin, and how they are moved and put down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import bounds, extreme, rotation_of

Triple = np.ndarray | Sequence[float]
UPRIGHT = Rotation.identity()
UP = np.array([0.0, 0.0, 1.0])

# Slots of Scene.materials. Room surfaces have their own; everything else picks among the objects' slots.
FLOOR, BACK_WALL, SIDE_WALL, CEILING, PANE = range(5)
OBJECT_SLOTS = range(5, 24)
SLOTS = 24


@dataclass(frozen=True)
class Surface:
    """A level rectangle on which things can stand."""

    center: tuple[float, float, float]
    half: tuple[float, float]
    """Half the sides of the surface, metres."""
    yaw: float = 0.0
    """Turn about z, radians."""
    clearance: float = 1.0
    """Free height above the surface, metres."""


@dataclass(frozen=True)
class Assembly:
    """Objects that stand on z = 0 about the origin."""

    objects: tuple[schema.Object, ...]
    surfaces: tuple[Surface, ...] = ()

    def moved(self, location: Triple, yaw: float = 0.0, scale: float = 1.0) -> Assembly:
        """Scaled, then turned about z, then shifted: what touched before touches after."""
        turn = Rotation.from_rotvec(yaw * UP)
        shift = np.asarray(location, dtype=float)
        objects = tuple(transformed(thing, turn, shift, scale) for thing in self.objects)
        surfaces = tuple(
            replace(
                surface,
                center=vec3(turn.apply(np.asarray(surface.center) * scale) + shift),
                half=(surface.half[0] * scale, surface.half[1] * scale),
                yaw=surface.yaw + yaw,
                clearance=surface.clearance * scale,
            )
            for surface in self.surfaces
        )
        return Assembly(objects, surfaces)

    @cached_property
    def bounds(self) -> Float[np.ndarray, "2 3"]:
        return bounds(*self.objects)

    @cached_property
    def radius(self) -> float:
        """Of the smallest cylinder about the z axis that holds the assembly's bounding box, metres."""
        return float(np.linalg.norm(np.abs(self.bounds[:, :2]).max(axis=0)))

    @property
    def height(self) -> float:
        return float(self.bounds[1, 2])


def vec3(values: Triple) -> schema.Vec3:
    x, y, z = (float(v) for v in values)
    return x, y, z


def quaternion(turn: Rotation) -> tuple[float, float, float, float]:
    """(w, x, y, z) with w ≥ 0."""
    w, x, y, z = (float(v) for v in turn.as_quat(canonical=True, scalar_first=True))
    return w, x, y, z


def solid(
    name: str,
    shape: schema.Shape,
    size: Triple,
    material: int,
    location: Triple = (0.0, 0.0, 0.0),
    rotation: Rotation = UPRIGHT,
    role: str = "clutter",
) -> schema.Object:
    return schema.Object(
        name=name,
        role=role,  # pyright: ignore[reportArgumentType]
        shape=shape,
        size=vec3(size),
        rotation=quaternion(rotation),
        location=vec3(location),
        material=material,
    )


def at(thing: schema.Object, location: Triple) -> schema.Object:
    return msgspec.structs.replace(thing, location=vec3(location))


def rested(thing: schema.Object, point: Triple, normal: Triple = (0, 0, 1)) -> schema.Object:
    """Put with its origin over ``point`` of a plane, touching the plane."""
    n = np.asarray(normal, dtype=float)
    gap = float((extreme(thing, -n) - np.asarray(thing.location)) @ n)
    return at(thing, np.asarray(point, dtype=float) - gap * n)


def attached(thing: schema.Object, point: Triple, normal: np.ndarray, sink: float = 0.0) -> schema.Object:
    """Put with its farthest point against ``normal`` at ``point`` of a surface, ``sink`` metres inside."""
    foot = extreme(thing, -normal) - np.asarray(thing.location)
    return at(thing, np.asarray(point) - foot - sink * normal)


def transformed(thing: schema.Object, turn: Rotation, shift: np.ndarray, scale: float = 1.0) -> schema.Object:
    return msgspec.structs.replace(
        thing,
        shape=_scaled_shape(thing.shape, scale),
        size=vec3(np.asarray(thing.size) * scale),
        rotation=quaternion(turn * rotation_of(thing)),
        location=vec3(turn.apply(np.asarray(thing.location) * scale) + shift),
    )


def _scaled_shape(shape: schema.Shape, scale: float) -> schema.Shape:
    """With the lengths that a shape states in metres."""
    match shape:
        case schema.Box(bevel=bevel) | schema.Cylinder(bevel=bevel) | schema.Prism(bevel=bevel):
            return msgspec.structs.replace(shape, bevel=bevel * scale)
        case schema.WireBox(thickness=thickness):
            return msgspec.structs.replace(shape, thickness=thickness * scale)
        case schema.Tube(radius=radius):
            return msgspec.structs.replace(shape, radius=radius * scale)
    return shape


def tube(
    name: str, points: np.ndarray | Sequence[Triple], radius: float, material: int, role: str = "thin"
) -> schema.Object:
    """A tube through points that are given in metres."""
    path = np.asarray(points, dtype=float)
    low, high = path.min(axis=0), path.max(axis=0)
    size = np.maximum(high - low, 1e-6)
    unit = 2 * (path - (low + high) / 2) / size
    shape = schema.Tube(points=tuple(vec3(p) for p in unit), radius=radius)
    return solid(name, shape, size, material, (low + high) / 2, role=role)


def standing(made: Assembly, surface: Surface, offset: np.ndarray, yaw: float) -> Assembly:
    """Put on a surface, ``offset`` metres from its middle along its sides."""
    cos, sin = np.cos(surface.yaw), np.sin(surface.yaw)
    x, y, z = surface.center
    return made.moved((x + cos * offset[0] - sin * offset[1], y + sin * offset[0] + cos * offset[1], z), yaw=yaw)
