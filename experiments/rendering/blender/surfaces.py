"""Operations that shapes are built from: splines, stacks of rings, triangulated polygons, boxes of cells.

Pure NumPy in float64. Faces are triangles, counter-clockwise as seen from outside.
"""

from __future__ import annotations

import numpy as np

Surface = tuple[np.ndarray, np.ndarray]
"""Vertices (n, 3) and triangles (m, 3) that index them."""


def spline_matrix(knots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The natural cubic spline through values at the knots, as a matrix: ``spline_matrix(knots, at) @ values``.

    Args:
        knots: (k,), rising, at least two; two or three give what natural boundaries make of them (two: a line).
        at: (n,) positions between the first and the last knot.

    Returns:
        (n, k)
    """
    k = len(knots)
    step = np.diff(knots)
    identity = np.eye(k)
    slope = np.diff(identity, axis=0) / step[:, None]
    # Second derivatives at the knots, zero at both ends.
    system, right = np.eye(k), np.zeros((k, k))
    for i in range(1, k - 1):
        system[i, i - 1 : i + 2] = step[i - 1], 2 * (step[i - 1] + step[i]), step[i]
        right[i] = 6 * (slope[i] - slope[i - 1])
    curvature = np.linalg.solve(system, right)
    i = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, k - 2)
    h = step[i][:, None]
    b = ((at - knots[i]) / step[i])[:, None]
    a = 1 - b
    bend = ((a**3 - a) * curvature[i] + (b**3 - b) * curvature[i + 1]) * h**2 / 6
    return a * identity[i] + b * identity[i + 1] + bend


def smooth_curve(points: np.ndarray, segments: int) -> np.ndarray:
    """A natural cubic spline through points, at positions evenly spread over each span between two of them.

    The parameter is centripetal (the square root of the distance), which keeps sharp turns from making loops.

    Args:
        points: (k, d), at least two different ones; repeated neighbours count once.
        segments: about how many pieces; every point of ``points`` is on the curve.

    Returns:
        (n, d)
    """
    points = np.asarray(points, np.float64)
    points = points[np.append(True, np.any(np.diff(points, axis=0) != 0, axis=1))]
    if len(points) < 2:
        raise ValueError("a curve needs at least two different points")
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    knots = np.append(0.0, np.cumsum(np.sqrt(lengths)))
    counts = np.ones(1, int) if len(points) == 2 else np.ceil(segments * lengths / lengths.sum()).astype(int)
    spans = [np.linspace(knots[i], knots[i + 1], n, endpoint=False) for i, n in enumerate(counts)]
    return spline_matrix(knots, np.append(np.concatenate(spans), knots[-1])) @ points


def stack(rings: np.ndarray, cap: np.ndarray | None = None, closed: bool = False) -> Surface:
    """The solid whose skin runs through rings one above another.

    Args:
        rings: (k, n, 3), each counter-clockwise as seen from the next. A ring may shrink to a point, and neighbouring points
            may coincide: what becomes degenerate is left out.
        cap: triangles (m, 3) that fill a ring, indices into it; by default a fan, which is right for convex rings.
        closed: the last ring joins the first, as on a torus, and there are no caps.
    """
    k, n = rings.shape[:2]
    below = (np.arange(k if closed else k - 1)[:, None] * n + np.arange(n)).ravel()
    right = below - below % n + (below + 1) % n
    above, opposite = (below + n) % (k * n), (right + n) % (k * n)
    faces = [np.stack([below, right, opposite], 1), np.stack([below, opposite, above], 1)]
    if not closed:
        if cap is None:
            cap = np.stack([np.zeros(n - 2, int), np.arange(1, n - 1), np.arange(2, n)], axis=1)
        faces += [cap[:, ::-1], cap + (k - 1) * n]
    return merge(rings.reshape(-1, 3), np.concatenate(faces))


def merge(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    """Make vertices at exactly the same place one, and drop the triangles and vertices that this leaves without use."""
    vertices, inverse = np.unique(vertices + 0.0, axis=0, return_inverse=True)
    faces = inverse.reshape(-1)[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    used, inverse = np.unique(faces, return_inverse=True)
    return vertices[used], inverse.reshape(-1, 3)


def triangulate(polygon: np.ndarray) -> np.ndarray:
    """Triangles that fill a simple polygon, by ear clipping (Meisters 1975).

    Args:
        polygon: (n, 2) corners, counter-clockwise.

    Returns:
        (n - 2, 3) indices of corners, counter-clockwise.

    Raises:
        ValueError: the polygon crosses itself or is clockwise.
    """
    left = list(range(len(polygon)))
    triangles = []
    while len(left) > 3:
        for i, tip in enumerate(left):
            ear = left[i - 1], tip, left[(i + 1) % len(left)]
            a, b, c = polygon[list(ear)]
            others = polygon[[j for j in left if j not in ear]]
            if _cross(b - a, c - a) > 0 and not np.any(
                (_cross(b - a, others - a) >= 0) & (_cross(c - b, others - b) >= 0) & (_cross(a - c, others - c) >= 0)
            ):
                triangles.append(ear)
                del left[i]
                break
        else:
            raise ValueError("a polygon's corners must run counter-clockwise and its sides must not cross")
    return np.array([*triangles, left])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def inset_rings(polygon: np.ndarray, bevel: float, insets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A polygon whose outward corners are rounded, moved inwards by several distances.

    Args:
        polygon: (n, 2) corners, counter-clockwise.
        bevel: radius of the corners; 0 leaves them sharp. See :func:`largest_bevel`.
        insets: (k,) distances in 0…bevel; at the last the arcs have shrunk to their centres.

    Returns:
        (k, p, 2) the moved polygons, and (n,) for each corner the place of its first point in them.
    """
    direction, tangent = _corners(polygon)
    normal = np.stack([direction[:, 1], -direction[:, 0]], axis=1)  # of the side that starts at the corner, outwards
    points, first = [], []
    for i, corner in enumerate(polygon):
        before, after = normal[i - 1], normal[i]
        inwards = tangent[i] * direction[i] - after  # moves both sides inwards by 1
        first.append(len(points))
        if tangent[i] <= 0 or bevel == 0:
            points.append(corner + insets[:, None] * inwards)
            continue
        turn = (
            2
            * np.arctan(tangent[i])
            * np.linspace(0, 1, max(2, 1 + int(np.ceil(np.degrees(2 * np.arctan(tangent[i])) / 22.5))))
        )
        for angle in turn:
            spoke = np.cos(angle) * before + np.sin(angle) * np.array([-before[1], before[0]])
            points.append(corner + bevel * inwards + (bevel - insets)[:, None] * spoke)
    return np.stack(points, axis=1), np.array(first)


def largest_bevel(polygon: np.ndarray) -> float:
    """The largest radius with which a polygon's corners can be rounded and its sides moved without meeting."""
    direction, tangent = _corners(polygon)
    lengths = np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=1)
    shrink = tangent + np.roll(tangent, -1)
    limits = [length / rate for length, rate in zip(lengths, shrink, strict=True) if rate > 0]
    for i, corner in enumerate(polygon):  # a reflex corner moves towards the sides across
        if tangent[i] < 0:
            speed = 1 + np.hypot(1, tangent[i])
            for j in range(len(polygon)):
                if j not in (i, (i - 1) % len(polygon)):
                    along = np.clip((corner - polygon[j]) @ direction[j], 0, lengths[j])
                    limits.append(np.linalg.norm(corner - polygon[j] - along * direction[j]) / speed)
    return 0.9 * min(limits)


def _corners(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit direction of the side that starts at each corner, and the tangent of half the turn there (left is positive)."""
    side = np.roll(polygon, -1, axis=0) - polygon
    direction = side / np.linalg.norm(side, axis=1, keepdims=True)
    before = np.roll(direction, 1, axis=0)
    return direction, _cross(before, direction) / (1 + np.sum(before * direction, axis=1))


def cells_surface(filled: np.ndarray, edges: list[np.ndarray]) -> Surface:
    """The skin of a set of filled cells of a grid.

    Args:
        filled: (nx, ny, nz) bool.
        edges: for each axis the positions of the planes between cells, one more than there are cells.
    """
    padded = np.pad(filled, 1)
    corners = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for sign in (1, -1):
            inside = padded & ~np.roll(padded, -sign, axis)
            low = np.argwhere(inside) - 1
            low[:, axis] += sign > 0
            quad = np.repeat(low[:, None], 4, axis=1)
            quad[:, 1:3, u] += 1
            quad[:, 2:4, v] += 1
            corners.append(quad if sign > 0 else quad[:, ::-1])
    index = np.concatenate(corners).reshape(-1, 3)
    vertices = np.stack([edges[axis][index[:, axis]] for axis in range(3)], axis=1)
    quads = np.arange(len(index)).reshape(-1, 4)
    return merge(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
