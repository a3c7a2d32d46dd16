"""Everything stands, hangs, leans or is fixed to something, nothing is where a camera is, and shapes end where they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from experiments.scenes import schema
from experiments.scenes.support import bounds, distance, extreme
from experiments.synthetic import cluster, interior, rooms, shapes, things
from experiments.synthetic.cameras import CLOSEST, centers
from experiments.synthetic.draws import direction
from experiments.synthetic.furniture import AT_WALL, LOW
from experiments.synthetic.placement import solid
from tests.experiments.synthetic import solids
from tests.experiments.synthetic.conftest import ATTRIBUTES, SETTINGS, draw

GAP = 1e-3  # metres
seeds = st.integers(0, 10_000)
few = settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


@few
@given(st.sampled_from(ATTRIBUTES), st.sampled_from(SETTINGS), seeds)
def test_scenes_are_sound(attribute, setting, seed):
    scene = draw(attribute, setting, seed, views=5)
    for thing in scene.objects:
        assert abs(np.linalg.norm(thing.rotation) - 1) < 1e-8
        flat = isinstance(thing.shape, schema.Rectangle | schema.Tube)
        assert min(thing.size[:2] if flat else thing.size) > 0 and 0 <= thing.material < len(scene.materials)
    groups = solids.touching_groups(scene.objects, GAP)
    floating = [scene.objects[index].name for group in groups[1:] for index in group]
    assert not floating
    assert schema.from_json(schema.to_json(scene)) == scene
    places = centers(scene.cameras)
    for thing in scene.objects:
        assert not solids.inside(thing, places, margin=0.8 * CLOSEST).any()


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_oracle_sees_what_floats(setting):
    objects = list(draw("mixed", setting).objects)
    index = next(i for i, thing in enumerate(objects) if thing.role == "clutter" and thing.size[2] > 0.02)
    x, y, z = objects[index].location
    lifted = solid("lifted", schema.Box(), (0.02, 0.02, 0.02), 5, (x, y, z + 3.5))
    assert len(solids.touching_groups([*objects, lifted], GAP)) == 2


@few
@given(seeds)
def test_furnished_rooms_keep_their_things_inside_and_the_cameras_free(seed):
    room = interior.furnished_room(np.random.default_rng(seed), rooms.EXTREME)
    floor, ceiling = room[0], room[1]
    half_width, back, height = floor.size[0] / 2, floor.location[1] + floor.size[1] / 2, ceiling.location[2]
    assert half_width >= rooms.SMALLEST[1, 0] and back >= rooms.SMALLEST[1, 1] and height >= rooms.SMALLEST[1, 2]
    low, high = np.array([-half_width, -rooms.FRONT, 0]), np.array([half_width, back, height])
    zone = rooms.CAMERA_ZONE + rooms.CLEARANCE * np.array([[-1], [1]]) * 0.999
    for thing in room:
        if thing.role == "room":
            continue
        points = solids.world_points(thing)
        assert not np.all((points > zone[0]) & (points < zone[1]), axis=1).any(), thing.name
        assert thing.location[1] > -rooms.FRONT and points[:, 2].min() > -GAP
        if thing.role not in ("decoration", "thin"):  # those may be sunk into a wall
            assert np.all(points > low - GAP) and np.all(points < high + GAP), thing.name


@few
@given(seeds, st.sampled_from([cluster.EXTREME, cluster.MODERATE]))
def test_clusters_keep_inside_their_sphere(seed, ranges):
    objects = cluster.cluster(np.random.default_rng(seed), ranges, np.random.default_rng(seed + 1))
    farthest = max(np.linalg.norm(solids.world_points(thing), axis=1).max() for thing in objects)
    assert 0.6 * cluster.RADIUS[0] < farthest < cluster.RADIUS[1]


def test_the_jitter_moves_a_little_and_touches_the_same():
    plain, first, second = (
        cluster.cluster(np.random.default_rng(4), cluster.MODERATE, rng)
        for rng in (None, np.random.default_rng(1), np.random.default_rng(2))
    )
    for a, b in ((plain, first), (first, second)):
        assert [(t.name, type(t.shape), t.material) for t in a] == [(t.name, type(t.shape), t.material) for t in b]
        shifts = [np.linalg.norm(np.subtract(s.location, t.location)) for s, t in zip(a, b, strict=True)]
        assert 0.001 < np.mean(shifts) < 0.15
    assert len(solids.touching_groups(second, GAP)) == 1


@pytest.mark.parametrize(
    "maker", [m for m, _ in (*LOW, *AT_WALL)] + [m for m, _ in things._MAKERS], ids=lambda m: m.__name__
)
def test_assemblies_stand_on_the_floor(maker):
    """Their lowest point is on z = 0, every part is connected to it, and what they offer as a surface is there."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        made = maker(rng) if maker.__module__.endswith("furniture") else maker(rng, 0.5)
        made = made.moved((1.0, 2.0, 0.3), yaw=0.7, scale=0.8)
        floor = solid("floor", schema.Rectangle(), (9, 9, 0), 0, (0, 0, 0.3))
        assert len(solids.touching_groups([floor, *made.objects], GAP)) == 1
        assert min(solids.world_points(thing)[:, 2].min() for thing in made.objects) > 0.3 - GAP
        for surface in made.surfaces:
            ball = solid("ball", schema.Ellipsoid(), (0.04,) * 3, 0, np.add(surface.center, (0, 0, 0.02)))
            assert len(solids.touching_groups([*made.objects, ball], GAP)) == 1


SHAPES = [
    schema.Ellipsoid(),
    schema.Superellipsoid(n=0.2, e=0.3),
    schema.Superellipsoid(n=1.4, e=0.7),
    schema.Box(),
    schema.Box(bevel=0.05),
    schema.Cylinder(),
    schema.Cone(top=0.3),
    schema.Torus(tube=0.2),
    schema.WireBox(thickness=0.02),
    schema.Rectangle(),
    shapes.lathe(np.random.default_rng(0)),
    shapes.prism(np.random.default_rng(3)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: type(s).__name__)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seeds)
def test_shapes_end_where_their_points_end(shape, seed):
    """And distances from bounding boxes never exceed those from the points."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.2, 0.6, 3)
    thing = solid(
        "thing", shape, size, 0, rng.uniform(-1, 1, 3), Rotation.from_rotvec(direction(rng) * rng.uniform(0, 3))
    )
    points, way = solids.world_points(thing), direction(rng)
    assert extreme(thing, way) @ way == pytest.approx((points @ way).max(), abs=2.5e-3)
    assert (points @ way).max() < extreme(thing, way) @ way + 1e-9
    np.testing.assert_allclose(bounds(thing), [points.min(axis=0), points.max(axis=0)], atol=2.5e-3)
    outside = np.asarray(thing.location) + rng.uniform(-1, 1, (5, 3))
    nearest = np.linalg.norm(outside[:, None] - points, axis=-1).min(axis=1)
    assert np.all(distance(outside, thing) <= nearest + 1e-9)


def test_tubes_and_cylinders_with_bevel_end_where_their_points_end():
    rng = np.random.default_rng(0)
    bent = schema.Tube(points=((-1.0, -1.0, -1.0), (0.0, 0.3, 1.0), (1.0, 1.0, -0.5)), radius=0.02)
    for shape, size in ((schema.Cylinder(bevel=0.04), (0.4, 0.4, 0.3)), (bent, (0.5, 0.2, 0.4))):
        for _ in range(20):
            thing = solid("thing", shape, size, 0, rotation=Rotation.from_rotvec(direction(rng) * 2))
            way = direction(rng)
            assert extreme(thing, way) @ way == pytest.approx((solids.world_points(thing) @ way).max(), abs=1.5e-3)
