"""An oracle for the geometry of scenes: points on surfaces, and whether points are inside, from the shapes' definitions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.scenes import schema

GRID = 21  # odd: the middle of every face is a point of its own


def _grid(low=-1.0, high=1.0, n=GRID):
    u, v = np.meshgrid(np.linspace(low, high, n), np.linspace(low, high, n))
    return u.ravel(), v.ravel()


def _revolved(radius, z, turns=72):
    angle = 2 * np.pi * np.arange(turns) / turns
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = np.asarray(radius)[:, None, None] * around
    return np.concatenate(
        [rings, np.broadcast_to(np.asarray(z)[:, None, None], (*rings.shape[:2], 1))], axis=2
    ).reshape(-1, 3)


def _disc(z):
    return _revolved(np.linspace(0, 1, 9), np.full(9, z))


def _power(values, exponent):
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    return np.sign(values) * np.abs(values) ** exponent


def _cube(half, bevel):
    u, v = _grid()
    faces = np.concatenate(
        [np.insert(np.stack([u, v], 1), axis, side, axis=1) for axis in range(3) for side in (-1, 1)]
    )
    if bevel == 0:
        return faces * half
    core = half - bevel
    ball = _revolved(np.cos(a := np.linspace(-np.pi / 2, np.pi / 2, 25)), np.sin(a), 24)
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * core
    facing = np.repeat(np.eye(3, dtype=bool), 2 * GRID**2, axis=0)  # each face's own axis
    flat = np.where(facing, faces * half, faces * core)
    return np.concatenate([flat, (corners[:, None] + bevel * ball).reshape(-1, 3)])


def local_points(shape: schema.Shape, size) -> np.ndarray:
    """Points on the surface in the shape's own frame, metres; no two neighbours far apart."""
    half = np.asarray(size) / 2
    latitude = np.linspace(-np.pi / 2, np.pi / 2, 49)
    match shape:
        case schema.Ellipsoid():
            return _revolved(np.cos(latitude), np.sin(latitude)) * half
        case schema.Superellipsoid(n=n, e=e):
            longitude = 2 * np.pi * np.arange(96) / 96
            across = _power(np.cos(latitude), n)[:, None]
            x, y = across * _power(np.cos(longitude), e), across * _power(np.sin(longitude), e)
            z = np.broadcast_to(_power(np.sin(latitude), n)[:, None], x.shape)
            return np.stack([x, y, z], axis=-1).reshape(-1, 3) * half
        case schema.Box(bevel=bevel):
            return _cube(half, bevel)
        case schema.Cylinder(bevel=bevel):
            turn = np.linspace(-np.pi / 2, np.pi / 2, 25)
            radius = np.concatenate([half[0] - bevel + bevel * np.cos(turn), np.full(9, half[0])])
            rim = np.sign(turn) * (half[2] - bevel) + bevel * np.sin(turn)
            z = np.concatenate([rim, np.linspace(-1, 1, 9) * (half[2] - bevel)])
            stretch = np.array([1, half[1] / half[0], 1])
            caps = np.concatenate([_disc(-1), _disc(1)]) * (half - (bevel, bevel, 0))
            return np.concatenate([_revolved(radius, z) * stretch, caps])
        case schema.Cone(top=top):
            share = np.linspace(0, 1, 15)
            side = _revolved(1 - (1 - top) * share, 2 * share - 1)
            return np.concatenate([side, _disc(-1), _disc(1) * (top, top, 1)]) * half
        case schema.Torus(tube=tube):
            turn = np.linspace(-np.pi, np.pi, 48, endpoint=False)
            return _revolved(1 - tube + tube * np.cos(turn), np.sin(turn)) * half
        case schema.Lathe(profile=profile):
            radius, z = np.asarray(profile).T
            caps = [_disc(end) * (r, r, 1) for end, r in ((-1, radius[0]), (1, radius[-1]))]
            return np.concatenate([_revolved(radius, z), *caps]) * half
        case schema.Prism(polygon=polygon):
            corners = np.asarray(polygon)
            share = np.linspace(0, 1, 9, endpoint=False)[None, :, None]
            rim = (corners[:, None] * (1 - share) + np.roll(corners, -1, axis=0)[:, None] * share).reshape(-1, 2)
            u, v = _grid()
            inside = np.stack([u, v], axis=1)[_in_polygon(corners, np.stack([u, v], axis=1))]
            parts = [np.column_stack([rim, np.full(len(rim), z)]) for z in np.linspace(-1, 1, 9)]
            parts += [np.column_stack([inside, np.full(len(inside), z)]) for z in (-1.0, 1.0)]
            return np.concatenate(parts) * half
        case schema.HeightField(heights=heights):
            z = np.asarray(heights)
            y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in z.shape), indexing="ij")
            return np.stack([x, y, z], axis=-1).reshape(-1, 3) * half
        case schema.Rectangle():
            u, v = _grid(n=41)
            return np.stack([u, v, 0 * u], axis=1) * half
        case schema.WireBox():
            return _edges(half)
        case schema.Tube(points=points, radius=radius):
            path = np.asarray(points) * half
            if len(path) == 2:
                path = np.linspace(path[0], path[1], 33)
            tangent = np.gradient(path, axis=0)
            tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
            side = np.cross(tangent, np.eye(3)[np.argmin(np.abs(tangent), axis=1)])
            side /= np.linalg.norm(side, axis=1, keepdims=True)
            other = np.cross(tangent, side)
            turn = 2 * np.pi * np.arange(24) / 24
            rings = [path + radius * (np.cos(a) * side + np.sin(a) * other) for a in turn]
            return np.concatenate([path, *rings])
    raise TypeError(shape)


def _edges(half):
    t = np.linspace(-1, 1, 41)
    parts = []
    for axis in range(3):
        for a in (-1, 1):
            for b in (-1, 1):
                parts.append(np.insert(np.broadcast_to((a, b), (41, 2)).astype(float), axis, t, axis=1))
    return np.concatenate(parts) * half


def _in_polygon(corners, points):
    x, y = points[:, 0, None], points[:, 1, None]
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x < (x1 - x0) * (y - y0) / (y1 - y0) + x0
    return np.sum(crosses & right, axis=1) % 2 == 1


def _to_segments(points, start, end):
    """Distance of each point from the nearest of several segments."""
    along = end - start
    share = np.einsum("psd,sd->ps", points[:, None] - start, along) / np.maximum(np.sum(along**2, axis=1), 1e-18)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)


def local_inside(shape: schema.Shape, size, points: np.ndarray, margin: float) -> np.ndarray:
    """Whether points in the shape's own frame are in the solid, made larger by ``margin`` metres all round."""
    half = np.asarray(size) / 2
    grown = half + margin
    x, y, z = (points / grown).T
    match shape:
        case schema.Ellipsoid():
            return x**2 + y**2 + z**2 <= 1
        case schema.Superellipsoid(n=n, e=e):
            return (np.abs(x) ** (2 / e) + np.abs(y) ** (2 / e)) ** (e / n) + np.abs(z) ** (2 / n) <= 1
        case schema.Box():
            return np.all(np.abs(points) <= grown, axis=1)
        case schema.Cylinder():
            return (np.hypot(x, y) <= 1) & (np.abs(z) <= 1)
        case schema.Cone(top=top):
            share = np.clip((points[:, 2] / half[2] + 1) / 2, 0, 1)
            radius = 1 - (1 - top) * share
            return (np.hypot(*(points[:, :2] / (radius[:, None] * half[:2] + margin)).T) <= 1) & (np.abs(z) <= 1)
        case schema.Lathe(profile=profile):
            radii, heights = np.asarray(profile).T
            radius = np.interp(points[:, 2] / half[2], heights, radii)
            return (np.hypot(*(points[:, :2] / (radius[:, None] * half[:2] + margin)).T) <= 1) & (np.abs(z) <= 1)
        case schema.Torus(tube=tube):
            ring = np.hypot(*(points[:, :2] / half[:2]).T) - (1 - tube)
            return np.hypot(ring / (tube + margin / half[:2].min()), z) <= 1
        case schema.Prism(polygon=polygon):
            corners = np.asarray(polygon) * half[:2]
            near = _to_segments(points[:, :2], corners, np.roll(corners, -1, axis=0)) <= margin
            return (_in_polygon(corners, points[:, :2]) | near) & (np.abs(z) <= 1)
        case schema.HeightField(heights=heights):
            control = np.asarray(heights)
            rows = (np.clip(points[:, 1] / half[1], -1, 1) + 1) / 2 * (control.shape[0] - 1)
            columns = (np.clip(points[:, 0] / half[0], -1, 1) + 1) / 2 * (control.shape[1] - 1)
            i, j = (
                np.minimum(rows.astype(int), control.shape[0] - 2),
                np.minimum(columns.astype(int), control.shape[1] - 2),
            )
            a, b = rows - i, columns - j
            near_row = (1 - b) * control[i, j] + b * control[i, j + 1]
            far_row = (1 - b) * control[i + 1, j] + b * control[i + 1, j + 1]
            top = (1 - a) * near_row + a * far_row
            level = points[:, 2]
            return (np.abs(x) <= 1) & (np.abs(y) <= 1) & (level >= -margin) & (level <= top * half[2] + margin)
        case schema.Rectangle():
            return np.all(np.abs(points[:, :2]) <= grown[:2], axis=1) & (np.abs(points[:, 2]) <= margin)
        case schema.WireBox(thickness=thickness):
            near = np.abs(points) >= half - thickness - margin
            return np.all(np.abs(points) <= grown, axis=1) & (near.sum(axis=1) >= 2)
        case schema.Tube(points=path, radius=radius):
            line = np.asarray(path) * half
            return _to_segments(points, line[:-1], line[1:]) <= radius + margin
    raise TypeError(shape)


def rotation(thing: schema.Object) -> Rotation:
    w, x, y, z = thing.rotation
    return Rotation.from_quat([x, y, z, w])


def world_points(thing: schema.Object) -> np.ndarray:
    return rotation(thing).apply(local_points(thing.shape, thing.size)) + thing.location


def inside(thing: schema.Object, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
    return local_inside(
        thing.shape, thing.size, rotation(thing).inv().apply(points - np.asarray(thing.location)), margin
    )


def touching_groups(objects, margin: float) -> list[set[int]]:
    """Objects that touch, directly or through others: surface points of one within ``margin`` metres of the other."""
    clouds = [world_points(thing) for thing in objects]
    low = np.array([cloud.min(axis=0) for cloud in clouds]) - margin
    high = np.array([cloud.max(axis=0) for cloud in clouds]) + margin
    group = list(range(len(objects)))

    def root(i):
        while group[i] != i:
            i = group[i]
        return i

    for i in range(len(objects)):
        for j in range(i):
            if root(i) == root(j) or np.any(low[i] > high[j]) or np.any(low[j] > high[i]):
                continue
            near_i = clouds[i][np.all((clouds[i] >= low[j]) & (clouds[i] <= high[j]), axis=1)]
            near_j = clouds[j][np.all((clouds[j] >= low[i]) & (clouds[j] <= high[i]), axis=1)]
            if inside(objects[j], near_i, margin).any() or inside(objects[i], near_j, margin).any():
                group[root(i)] = root(j)
    found: dict[int, set[int]] = {}
    for i in range(len(objects)):
        found.setdefault(root(i), set()).add(i)
    return sorted(found.values(), key=len, reverse=True)
