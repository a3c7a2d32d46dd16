"""Shapes' triangles against closed forms, trimesh and SciPy."""

import numpy as np
import pytest
import trimesh
from scipy.interpolate import CubicSpline
from scipy.special import beta

from experiments.rendering.blender import meshes
from experiments.rendering.blender.surfaces import largest_bevel, smooth_curve, spline_matrix, triangulate

SIZE = (1.0, 0.8, 0.6)
HALF = np.array(SIZE) / 2
L_SHAPE = ((-1, -1), (1, -1), (1, 0), (0, 0), (0, 1), (-1, 1))
HEIGHTS = ((0.1, -0.4, 0.3, 0.0), (1.0, 0.2, -0.6, 0.5), (-0.3, 0.0, 0.4, -1.0))

# For each solid its volume as a multiple of the half extents' product.
SOLIDS = {
    "ellipsoid": ({}, 4 / 3 * np.pi),
    "superellipsoid": ({"n": 0.4, "e": 1.6}, 2 * 0.4 * 1.6 * beta(1.2, 0.4) * beta(0.8, 0.8)),
    "box": ({"bevel": 0.0}, 8.0),
    "cylinder": ({"bevel": 0.0}, 2 * np.pi),
    "cone": ({"top": 0.3}, 2 * np.pi * (1 + 0.3 + 0.09) / 3),
    "torus": ({"tube": 0.3}, 2 * np.pi * 0.7 * np.pi * 0.3),
    "lathe": ({"profile": ((1.0, -1), (0.2, 1))}, 2 * np.pi * (1 + 0.2 + 0.04) / 3),
    "prism": ({"polygon": L_SHAPE, "bevel": 0.0}, 6.0),
    "wire_box": ({"thickness": 0.05}, (4 * 0.05**2 * (sum(SIZE) - 0.3) + 8 * 0.05**3) / HALF.prod()),
    "tube": ({"points": ((-1, 0, 0), (1, 0, 0)), "radius": 0.1}, np.pi * 0.01 * 1.0 / HALF.prod()),
}


def build(kind, size=SIZE, **measures):
    mesh = meshes.build({"kind": kind, **measures}, size)
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def assert_solid(mesh):
    """Closed, and all faces look outwards."""
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert mesh.area_faces.min() > 0


@pytest.mark.parametrize("kind", SOLIDS)
def test_solids_are_closed_and_have_their_volume(kind):
    measures, volume = SOLIDS[kind]
    mesh = build(kind, **measures)
    assert_solid(mesh)
    missed = {"tube": 0.04, "torus": 0.011}.get(kind, 6e-3)  # round things are inscribed; narrow ones have fewer sides
    assert volume * HALF.prod() * (1 - missed) < mesh.volume < volume * HALF.prod() * (1 + 1e-6)


@pytest.mark.parametrize("kind", sorted(set(SOLIDS) - {"tube"}))
def test_solids_fill_their_size(kind):
    np.testing.assert_allclose(build(kind, **SOLIDS[kind][0]).bounds, [-HALF, HALF], atol=1e-6)


def minkowski_volume(volume, surface, mean_width, radius):
    """Steiner's formula: a convex body grown by a ball."""
    return volume + surface * radius + mean_width * radius**2 + 4 / 3 * np.pi * radius**3


def test_rounded_box_is_a_smaller_box_grown_by_a_ball():
    bevel = 0.08
    x, y, z = np.array(SIZE) - 2 * bevel
    expected = minkowski_volume(x * y * z, 2 * (x * y + y * z + z * x), np.pi * (x + y + z), bevel)
    mesh = build("box", bevel=bevel)
    assert_solid(mesh)
    assert mesh.volume == pytest.approx(expected, rel=3e-3)
    np.testing.assert_allclose(mesh.bounds, [-HALF, HALF], atol=1e-6)


def test_rounded_cylinder_is_a_smaller_cylinder_grown_by_a_ball():
    bevel, radius, height = 0.1, 0.5 - 0.1, 0.6 - 0.2
    surface = 2 * np.pi * radius * (radius + height)
    expected = minkowski_volume(np.pi * radius**2 * height, surface, np.pi * height + np.pi**2 * radius, bevel)
    mesh = build("cylinder", size=(1.0, 1.0, 0.6), bevel=bevel)
    assert_solid(mesh)
    assert mesh.volume == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("kind", ["box", "cylinder"])
def test_rounded_edges_are_shaded_smoothly_and_flat_faces_stay(kind):
    angles = np.degrees(build(kind, bevel=0.03).face_adjacency_angles)
    assert angles.max() < meshes.SHARP_ANGLE
    assert (angles < 0.01).any()


def test_only_the_inner_corner_of_a_rounded_polygon_stays_sharp():
    mesh = build("prism", polygon=L_SHAPE, bevel=0.03)
    creases = mesh.face_adjacency_edges[np.degrees(mesh.face_adjacency_angles) > meshes.SHARP_ANGLE]
    assert len(creases) > 0
    assert np.abs(mesh.vertices[creases][..., :2]).max() < 0.031


@pytest.mark.parametrize("seed", range(8))
def test_any_bevel_of_any_polygon_gives_a_solid(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 3 + seed)) + np.arange(3 + seed) * 0.1
    angle *= 2 * np.pi / (angle[-1] + 0.5)
    radius = rng.uniform(0.3, 1.0, len(angle))
    star = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    plain = build("prism", polygon=star, bevel=0.0)
    assert_solid(plain)
    previous = plain.volume
    for bevel in (0.004, 0.02, 10.0):
        mesh = build("prism", polygon=star, bevel=bevel)
        assert_solid(mesh)
        assert mesh.volume <= previous * (1 + 1e-6)
        assert np.all(np.abs(mesh.vertices) <= np.abs(plain.vertices).max(0) + 1e-6)
        previous = mesh.volume


def test_largest_bevel_of_a_square_is_a_little_less_than_its_inscribed_circle():
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    assert largest_bevel(square) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("kind", "measures"),
    [
        ("cone", {"top": 0.0}),
        ("superellipsoid", {"n": 0.1, "e": 0.1}),
        ("superellipsoid", {"n": 2.0, "e": 2.0}),
        ("lathe", {"profile": ((0.0, -1), (0.7, -0.4), (0.1, 0.2), (0.9, 1.0))}),
        ("lathe", {"profile": ((0.5, -1), (0.5, -1), (0.0, 1.0))}),
        ("tube", {"points": ((-1, -1, -1), (0, 1, 0), (0.2, 0.4, 1), (1, 1, 1)), "radius": 0.02}),
        ("tube", {"points": ((0, 0, -1), (0, 0, 1)), "radius": 0.01}),
        ("wire_box", {"thickness": 5.0}),
    ],
)
def test_extreme_measures_still_give_solids(kind, measures):
    mesh = build(kind, **measures)
    assert_solid(mesh)
    assert np.all(np.abs(mesh.vertices) <= HALF + 0.1)


@pytest.mark.parametrize("kind", SOLIDS)
def test_no_object_has_many_triangles(kind):
    assert len(build(kind, size=(6.0, 6.0, 6.0), **SOLIDS[kind][0]).faces) <= 5000


def test_a_tube_follows_its_points_at_its_radius():
    points = np.array([(-1, -1, -1), (0, 0.5, 0), (0.3, 0.2, 1), (1, 1, 1)])
    mesh = build("tube", points=points, radius=0.03)
    distance = np.linalg.norm(mesh.vertices[:, None] - (points * HALF)[None, 1:-1], axis=2).min(0)
    np.testing.assert_allclose(distance, 0.03, atol=2e-3)


def test_splines_are_natural_cubic_ones():
    rng = np.random.default_rng(0)
    knots, values = np.cumsum(rng.uniform(0.1, 1, 7)), rng.normal(size=(7, 2))
    at = np.linspace(knots[0], knots[-1], 50)
    expected = CubicSpline(knots, values, bc_type="natural")(at)
    np.testing.assert_allclose(spline_matrix(knots, at) @ values, expected, atol=1e-12)


def test_curves_pass_through_their_points():
    points = np.random.default_rng(1).normal(size=(6, 3))
    curve = smooth_curve(points, 40)
    assert np.abs(curve[:, None] - points).max(2).min(0).max() < 1e-12


def test_height_fields_are_bicubic():
    field = build("height_field", heights=HEIGHTS, resolution=13)
    assert len(field.vertices) == 13**2
    rows, columns = np.linspace(-1, 1, 3), np.linspace(-1, 1, 4)
    inner = CubicSpline(columns, np.array(HEIGHTS), axis=1, bc_type="natural")
    x, y, z = (field.vertices / HALF).T
    expected = [CubicSpline(rows, inner(a), bc_type="natural")(b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(z, expected, atol=1e-5)
    assert np.all(field.face_normals[:, 2] > 0)


def test_rectangles_face_upwards():
    rectangle = build("rectangle", size=(2.0, 1.0, 0.0))
    assert rectangle.area == pytest.approx(2.0)
    np.testing.assert_allclose(rectangle.face_normals, [[0, 0, 1]] * 2)


def test_box_coordinates_are_metric_and_never_mirrored():
    mesh = meshes.build({"kind": "box", "bevel": 0.0}, SIZE)
    flat = meshes.box_coordinates(mesh)
    assert flat.shape == (len(mesh.faces), 3, 2)
    corners = mesh.vertices[mesh.faces]
    for i in range(3):
        np.testing.assert_allclose(
            np.linalg.norm(flat[:, i] - flat[:, i - 1], axis=1),
            np.linalg.norm(corners[:, i] - corners[:, i - 1], axis=1),
            rtol=1e-5,
        )
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    assert np.all(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0)
    side = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])).argmax(1) != 2
    np.testing.assert_array_equal(flat[side, :, 1], corners[side, :, 2])  # up is up


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ({"kind": "teapot"}, SIZE, "unknown shape 'teapot'"),
        ({"kind": "ellipsoid"}, (1.0, 0.0, 1.0), r"ellipsoid needs positive extents, got size \(1.0, 0.0, 1.0\)"),
        ({"kind": "rectangle"}, (1.0, -1.0, 0.0), "rectangle needs positive extents"),
        ({"kind": "box", "bevel": 0.0}, (1.0, float("nan"), 1.0), "box needs positive extents"),
        ({"kind": "prism", "polygon": L_SHAPE[::-1], "bevel": 0.0}, SIZE, "counter-clockwise"),
        ({"kind": "tube", "points": ((0, 0, 0), (0, 0, 0)), "radius": 0.1}, SIZE, "two different points"),
    ],
)
def test_shapes_without_a_surface_are_refused(shape, size, message):
    with pytest.raises(ValueError, match=message):
        meshes.build(shape, size)


def test_ears_fill_a_polygon():
    polygon = np.array(L_SHAPE, float)
    a, b, c = np.moveaxis(polygon[triangulate(polygon)], 1, 0)
    areas = np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2] / 2
    assert np.all(areas > 0)
    assert areas.sum() == pytest.approx(3.0)
