"""Small scenes for the renderer, and exact answers about them."""

import numpy as np

from experiments.scenes import schema

NO_TURN = (1.0, 0.0, 0.0, 0.0)
GREY = schema.Material(schema.Plain((0.5, 0.5, 0.5)))
WHITE_SKY = schema.Lighting(schema.UniformSky((1.0, 1.0, 1.0), 1.0), ())


def look(eye, at, width, height, fx, fy, cx, cy):
    """A view from one point to another, the world's z up in the picture."""
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, [0.0, 0.0, 1.0] if abs(forward[2]) < 0.999 else [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.concatenate([rotation, -rotation @ np.array(eye)[:, None]], axis=1)
    return schema.View(fx, fy, cx, cy, tuple(matrix.ravel().tolist()))


def thing(shape, size, location=(0.0, 0.0, 0.0), material=0, rotation=NO_TURN):
    return schema.Object("thing", "clutter", shape, size, rotation, location, material)


def scene(objects, materials, views, width, height, lighting=WHITE_SKY, **render):
    return schema.Scene(
        version=1,
        provenance=schema.Provenance("mixed", "object_centric", seed=0, dataset=0, scene=0),
        objects=tuple(objects),
        materials=tuple(materials),
        lighting=lighting,
        cameras=schema.Cameras(width, height, tuple(views)),
        render=schema.RenderSettings(**{"samples": 1, "denoise": False, **render}),
    )


def rays(view, width, height):
    """Origin (3,) and directions (H, W, 3) of the rays through the pixels' centres; z is 1 in the camera's frame, so
    that a distance along a ray is a depth."""
    matrix = np.reshape(view.world_to_camera, (3, 4))
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(column - view.cx) / view.fx, (row - view.cy) / view.fy, np.ones_like(row)], axis=-1)
    return -matrix[:, :3].T @ matrix[:, 3], local @ matrix[:, :3]


def first_hits(origin, directions, meshes):
    """Depth, id and geometric normal of the nearest triangle along each ray (Möller and Trumbore 1997)."""
    directions = directions.reshape(-1, 3)
    depth, index = np.full(len(directions), np.inf), np.zeros(len(directions), int)
    normal = np.zeros((len(directions), 3))
    for i, mesh in enumerate(meshes):
        to_centre = mesh.bounds.mean(0) - origin
        along = directions @ to_centre / (directions**2).sum(1)
        near = np.linalg.norm(along[:, None] * directions - to_centre, axis=1) <= np.linalg.norm(mesh.extents) / 2
        near = np.flatnonzero(near)
        a, b, c = np.moveaxis(mesh.triangles, 1, 0)
        p = np.cross(directions[near][:, None], c - a)
        determinant = np.einsum("rtj,tj->rt", p, b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.einsum("rtj,tj->rt", p, origin - a) / determinant
            q = np.cross(origin - a, b - a)
            v = directions[near] @ q.T / determinant
            t = np.einsum("tj,tj->t", c - a, q) / determinant
        t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-4), t, np.inf)
        nearest = t.argmin(1)
        t = t[np.arange(len(near)), nearest]
        closer = t < depth[near]
        depth[near[closer]], index[near[closer]] = t[closer], i + 1
        normal[near[closer]] = mesh.face_normals[nearest[closer]]
    return depth, index, normal
