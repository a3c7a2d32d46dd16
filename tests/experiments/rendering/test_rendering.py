"""What Blender renders, against exact answers. About 20 s, after the first time when uv fetches Blender."""

import dataclasses
import json
import subprocess
from typing import get_args, get_type_hints

import msgspec
import numpy as np
import OpenEXR
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import SimpleMaterial

from experiments.data import passes
from experiments.rendering.blender_command import worker_command
from experiments.rendering.export import object_mesh
from experiments.scenes import mesh_files, schema
from tests.experiments.scenes.examples import GREY, first_hits, look, rays, scene, thing

pytestmark = pytest.mark.slow
FAMILIES = get_args(get_type_hints(schema.Pattern)["family"])


class Worker:
    """A running worker; without Blender and a way to get it, the tests that need one are skipped."""

    def __init__(self):
        try:
            command = worker_command(None)
        except OSError as error:
            pytest.skip(str(error))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin and self.process.stdout
        self.jobs, self.answers = self.process.stdin, self.process.stdout
        self.hello = self.read()

    def read(self):
        return json.loads(self.answers.readline())

    def send(self, **job):
        print(json.dumps({name: str(value) for name, value in job.items()}), file=self.jobs, flush=True)

    def render(self, described, folder):
        """The views' passes."""
        folder.mkdir(parents=True)
        (folder / "scene.json").write_bytes(schema.to_json(described))
        self.send(spec=folder / "scene.json", output=folder / "views")
        answer = self.read()
        assert answer["ok"], answer
        return [
            passes.read(folder / "views" / f"{i:06}.exr", np.reshape(view.world_to_camera, (3, 4)))
            for i, view in enumerate(described.cameras.views)
        ]


@pytest.fixture(scope="module")
def worker():
    made = Worker()
    yield made
    made.jobs.close()
    assert made.process.wait(timeout=30) == 0


def inside(ids):
    """Pixels whose eight neighbours show the same object."""
    padded = np.pad(ids.astype(int), 1, mode="edge")
    height, width = ids.shape
    return np.all([padded[y : y + height, x : x + width] == ids for y in range(3) for x in range(3)], axis=0)


def test_it_says_which_blender_it_is(worker):
    assert worker.hello == {"ready": True, "blender": "4.5.15 LTS"}


WIDTH, HEIGHT, RADIUS = 72, 56, 0.2
CENTRE = np.array([0.1, -0.1, 0.3])
VIEWS = [  # pixels wider than high, higher than wide; principal points far off the centre; the plane from below
    look((0.9, -1.0, 0.9), CENTRE, WIDTH, HEIGHT, 70.0, 95.0, 30.0, 35.0),
    look((-1.2, 0.3, 0.5), CENTRE, WIDTH, HEIGHT, 110.0, 80.0, 41.5, 20.0),
    look((0.5, 0.8, -0.9), CENTRE, WIDTH, HEIGHT, 80.0, 80.0, 36.0, 28.0),
]


@pytest.fixture(scope="module")
def ball_above_plane(worker, tmp_path_factory):
    glass = schema.Material(schema.Plain((1.0, 1.0, 1.0)), roughness=(0.0, 0.0), transmission=1.0)
    objects = [
        thing(schema.Rectangle(), (1.5, 2.0, 0.0), material=0),
        thing(schema.Ellipsoid(), (2 * RADIUS,) * 3, tuple(CENTRE.tolist()), material=1),
    ]
    described = scene(objects, [GREY, glass], VIEWS, WIDTH, HEIGHT)
    return worker.render(described, tmp_path_factory.mktemp("analytic") / "scene")


@pytest.mark.parametrize("number", range(len(VIEWS)))
def test_depth_normals_and_ids_of_a_glass_ball_above_a_plane(ball_above_plane, number):
    view, seen = VIEWS[number], ball_above_plane[number]
    origin, directions = rays(view, WIDTH, HEIGHT)
    plane = -origin[2] / directions[..., 2]
    point = origin + plane[..., None] * directions
    plane = np.where((np.abs(point[..., 0]) < 0.75) & (np.abs(point[..., 1]) < 1.0) & (plane > 0), plane, np.inf)
    a, b = (directions**2).sum(-1), directions @ (origin - CENTRE)
    discriminant = b**2 - a * (np.sum((origin - CENTRE) ** 2) - RADIUS**2)
    ball = np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)
    depth = np.minimum(plane, ball)
    ids = np.where(np.isinf(depth), 0, np.where(ball < plane, 2, 1))

    sure = inside(ids)
    np.testing.assert_array_equal(seen.object_id[sure], ids[sure])
    np.testing.assert_array_equal(seen.valid[sure], ids[sure] > 0)
    hit = sure & (ids > 0)
    steep = np.sqrt(np.maximum(discriminant, 0) / a) / RADIUS < 0.5  # cosine of the angle of incidence on the ball
    hit &= (ids == 1) | ~steep
    assert (hit & (ids == 1)).sum() > 300
    assert (hit & (ids == 2)).sum() > 60 or origin[2] < 0
    assert np.abs(seen.depth - depth)[hit].max() < 1e-3

    position = origin + np.where(hit, depth, 0)[..., None] * directions
    upwards = np.array([0.0, 0.0, np.sign(origin[2])])  # the plane is seen from below in the last view
    normal = np.where((ids == 2)[..., None], (position - CENTRE) / RADIUS, upwards)
    normal = normal @ np.reshape(view.world_to_camera, (3, 4))[:, :3].T
    cosine = (seen.normal * normal).sum(-1)[hit]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 3
    assert np.all(cosine[ids[hit] == 1] > 1 - 1e-6)
    assert np.all(
        (seen.normal[hit] * (directions[hit] @ np.reshape(view.world_to_camera, (3, 4))[:, :3].T)).sum(-1) < 0
    )


SHAPES = [
    schema.Ellipsoid(),
    schema.Superellipsoid(0.3, 1.5),
    schema.Box(0.02),
    schema.Cylinder(0.02),
    schema.Cone(0.2),
    schema.Torus(0.3),
    schema.Lathe(((0.4, -1.0), (0.8, -0.5), (0.3, 0.3), (0.5, 1.0))),
    schema.Prism(((-1.0, -1.0), (1.0, -1.0), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (-1.0, 1.0)), 0.02),
    schema.HeightField(((0.0, 1.0, -0.5), (0.3, -1.0, 0.2), (0.5, 0.1, 0.0)), 12),
    schema.Rectangle(),
    schema.WireBox(0.05),
    schema.Tube(((-1.0, -1.0, -1.0), (0.0, 0.5, 0.0), (0.3, 0.2, 1.0), (1.0, 1.0, 1.0)), 0.04),
]


def pattern(family, repeats=6.0, **more):
    stops = (schema.ColorStop(0.0, (0.02, 0.02, 0.3)), schema.ColorStop(1.0, (0.9, 0.5, 0.05)))
    return schema.Pattern(family, schema.Mapping(repeats), stops, **more)


def all_materials(folder):
    """One of each family, a set of PBR maps, and layers."""
    rng = np.random.default_rng(3)
    for name in ("color", "normal", "roughness", "metallic"):
        values = np.full((8, 8, 3), (128, 128, 255)) if name == "normal" else rng.integers(0, 256, (8, 8, 3))
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{name}.png")
    files = {name: str(folder / f"{name}.png") for name in ("color", "normal", "roughness", "metallic")}
    picture = schema.Picture(mapping=schema.Mapping(3.0, (0.0, 0.0, 30.0)), **files)
    made = [
        schema.Material(pattern(family, distortion=0.2 * (i % 2)), roughness=(0.2, 0.7), metallic=0.3 * (i % 3))
        for i, family in enumerate(FAMILIES)
    ]
    layered = schema.Layered(picture, schema.Plain((0.7, 0.0, 0.0)), pattern("noise", interpolation="constant"))
    return [*made, schema.Material(picture, coat=0.5, sheen=0.3), schema.Material(layered, specular=0.8)]


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory):
    """Every shape, turned at random, every material, every light."""
    rng = np.random.default_rng(7)
    objects = []
    for i, shape in enumerate(SHAPES):
        turn = rng.normal(size=4)
        place = (0.45 * (i % 4 - 1.5), 0.45 * (i // 4 - 1), 0.3 + 0.1 * rng.uniform())
        turn = tuple((turn / np.linalg.norm(turn)).tolist())
        size = (0.42, 0.36, 0.0 if isinstance(shape, schema.Rectangle) else 0.4)
        objects.append(thing(shape, size, place, i, turn))
    objects += [
        thing(schema.Rectangle(), (3.0, 3.0, 0.0), (0.0, 0.0, -0.05), 12),
        thing(SHAPES[0], (0.2,) * 3, (0, 0.9, 0.4), 13),
    ]
    lights = (
        schema.Sun((0.6, 0.0, -0.8), (1.0, 0.9, 0.8), 2.0),
        schema.AreaLight((0.0, -2.0, 2.0), (0.0, 0.7071, -0.7071), (0.5, 1.0), (0.5, 0.7, 1.0), 60.0),
        schema.PointLight((1.0, 1.0, 1.5), (1.0, 0.3, 0.3), 20.0),
    )
    lighting = schema.Lighting(schema.Hdri("city.exr", 0.5, 40.0, (1.0, 0.8, 0.6)), lights)
    views = [look(eye, (0, 0, 0.2), 48, 40, 44.0, 46.0, 25.0, 19.0) for eye in ((1.0, -1.6, 1.3), (-1.8, 0.2, 0.9))]
    materials = all_materials(tmp_path_factory.mktemp("pictures"))
    return scene(objects, materials, views, 48, 40, lighting, samples=4, denoise=True)


@pytest.fixture(scope="module")
def rendered_kinds(worker, all_kinds, ball_above_plane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds") / "scene"
    return folder, worker.render(all_kinds, folder)


def test_the_exported_meshes_are_what_is_seen(all_kinds, rendered_kinds):
    meshes = [object_mesh(item) for item in all_kinds.objects]
    cameras = all_kinds.cameras
    shown = set()
    for view, seen in zip(cameras.views, rendered_kinds[1], strict=True):
        depth, index, _ = first_hits(*rays(view, cameras.width, cameras.height), meshes)
        depth, index = (a.reshape(cameras.height, cameras.width) for a in (depth, index))
        assert np.mean(seen.object_id == index) > 0.995
        same = (seen.object_id == index) & (index > 0)
        error = np.abs(seen.depth - depth)[same]
        assert np.mean(error < 1e-3) > 0.995
        sure = inside(index) & same
        np.testing.assert_array_equal(seen.object_id[sure], index[sure])
        shown |= set(np.unique(seen.object_id))
    assert shown >= set(range(1, len(meshes) + 1))


def test_every_material_is_lit(all_kinds, rendered_kinds):
    for number in range(1, len(all_kinds.objects) + 1):
        pixels = np.concatenate([seen.color[seen.object_id == number] for seen in rendered_kinds[1]])
        assert np.isfinite(pixels).all()
        assert pixels.max() > 0.05, all_kinds.objects[number - 1]


def test_another_process_renders_the_same_bits(all_kinds, rendered_kinds, tmp_path):
    """Though here it is the worker's first scene."""
    other = Worker()
    other.render(all_kinds, tmp_path / "scene")
    other.jobs.close()
    assert other.process.wait(timeout=30) == 0
    for i in range(len(all_kinds.cameras.views)):
        files = [folder / "views" / f"{i:06}.exr" for folder in (rendered_kinds[0], tmp_path / "scene")]
        with OpenEXR.File(str(files[0])) as one, OpenEXR.File(str(files[1])) as two:
            assert one.channels().keys() == two.channels().keys()
            for name, channel in one.channels().items():
                np.testing.assert_array_equal(channel.pixels, two.channels()[name].pixels)


DOWN = look((0.0, 0.0, 2.0), (0.0, 0.0, 0.0), 16, 16, 32.0, 32.0, 8.0, 8.0)
"""On a square of 1 m; x to the right, y up."""


@pytest.mark.parametrize(("turn", "expected"), [(0.0, "rgb"), (90.0, "g r")])
def test_pictures_lie_the_right_way_round_on_all_sides(worker, tmp_path, turn, expected):
    """The picture: red and green above, blue and black below, once per metre. It turns counter-clockwise when the
    coordinates turn the other way."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16, 0] = picture[:16, 16:, 1] = picture[16:, :16, 2] = 255
    Image.fromarray(picture).save(tmp_path / "picture.png")
    mapping = schema.Mapping(1.0, (0.0, 0.0, -turn), (0.5, 0.5, 0.0))
    material = schema.Material(schema.Picture(str(tmp_path / "picture.png"), mapping), specular=0.0)
    sides = [sign * 2.5 * axis for axis in np.eye(3) for sign in (1, -1)]
    views = [look(eye, (0.0, 0.0, 0.0), 16, 16, 32.0, 32.0, 8.0, 8.0) for eye in sides]
    box = thing(schema.Box(), (1.0, 1.0, 1.0))
    for seen in worker.render(scene([box], [material], views, 16, 16, samples=16), tmp_path / "scene"):
        corners = seen.color[[3, 3, 12], [3, 12, 3]]  # upper left, upper right, lower left
        assert np.all(np.sort(corners, axis=1)[:, :2] < 0.05)
        assert "".join("rgb"[c.argmax()] if c.max() > 0.5 else " " for c in corners) == expected


def quadrants(folder):
    """Red and green above, blue and black below."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16, 0] = picture[:16, 16:, 1] = picture[16:, :16, 2] = 255
    return mesh_files.write_picture(Image.fromarray(picture), folder / "quadrants.png")


def seen_quadrants(color):
    corners = color[[4, 4, 11, 11], [4, 11, 4, 11]]
    return "".join("rgb"[c.argmax()] if c.max() > 0.5 else " " for c in corners)


def test_a_picture_fills_a_rectangle_upright_and_unmirrored(worker, tmp_path):
    material = schema.Material(quadrants(tmp_path), specular=0.0)
    flat = thing(schema.Rectangle(), (1.0, 1.0, 0.0))
    [seen] = worker.render(scene([flat], [material], [DOWN], 16, 16, samples=16), tmp_path / "scene")
    assert seen_quadrants(seen.color) == "rgb "


def mesh_file(folder, suffix):
    """A square of 1 m in the xy plane of the file, facing z, with the quadrants, as trimesh writes it."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    bright = SimpleMaterial(image=Image.open(quadrants(folder).color), diffuse=[255, 255, 255, 255])
    visual = TextureVisuals(uv=corners[:, :2], material=bright)
    trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False).export(folder / f"square{suffix}")
    return folder / f"square{suffix}"


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_meshes_keep_their_textures_the_right_way_round(worker, tmp_path, suffix):
    [part] = mesh_files.read(mesh_file(tmp_path, suffix))
    square = thing(mesh_files.write(part, tmp_path, "part"), (1.0, 1.0, 1e-6))
    material = schema.Material(mesh_files.write_picture(part.picture, tmp_path / "part.png"), specular=0.0)
    [seen] = worker.render(scene([square], [material], [DOWN], 16, 16, samples=16), tmp_path / "scene")
    assert seen_quadrants(seen.color) == "rgb "


def test_meshes_show_the_colours_of_their_vertices(worker, tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    colors = np.tile([188, 0, 0, 255], (4, 1)).astype(np.uint8)  # half of the light, in sRGB
    trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], vertex_colors=colors, process=False).export(tmp_path / "a.ply")
    [part] = mesh_files.read(tmp_path / "a.ply")
    square = thing(mesh_files.write(part, tmp_path, "part"), (1.0, 1.0, 1e-6))
    material = schema.Material(schema.VertexColors(), roughness=(1.0, 1.0), specular=0.0)
    [seen] = worker.render(scene([square], [material], [DOWN], 16, 16, samples=16), tmp_path / "scene")
    np.testing.assert_allclose(seen.color[8, 8], (0.5, 0, 0), atol=0.03)


def test_a_changed_mesh_is_refused(worker, tmp_path):
    [part] = mesh_files.read(mesh_file(tmp_path, ".glb"))
    shape = mesh_files.write(part, tmp_path, "part")
    mesh_files.write(dataclasses.replace(part, vertices=part.vertices[:, [1, 0, 2]]), tmp_path, "part")
    changed = scene([thing(shape, (1.0, 1.0, 1e-6))], [GREY], [DOWN], 16, 16)
    (tmp_path / "scene.json").write_bytes(schema.to_json(changed))
    worker.send(spec=tmp_path / "scene.json", output=tmp_path / "views")
    assert "is not the mesh that the scene was made with" in worker.read()["error"]


@pytest.mark.parametrize(("turn", "expected"), [(0.0, (0.6, 0.0, -0.8)), (90.0, (0.0, -0.6, -0.8))])
def test_normal_maps_tilt_the_surface_with_the_picture(worker, tmp_path, turn, expected):
    Image.new("RGB", (4, 4), (128, 128, 128)).save(tmp_path / "color.png")
    Image.new("RGB", (4, 4), (204, 128, 230)).save(tmp_path / "normal.png")  # (0.6, 0, 0.8)
    mapping = schema.Mapping(1.0, (0.0, 0.0, -turn))
    picture = schema.Picture(str(tmp_path / "color.png"), mapping, normal=str(tmp_path / "normal.png"))
    described = scene([thing(schema.Rectangle(), (1.0, 1.0, 0.0))], [schema.Material(picture)], [DOWN], 16, 16)
    [seen] = worker.render(described, tmp_path / "scene")
    np.testing.assert_allclose(seen.normal[4:12, 4:12], np.broadcast_to(expected, (8, 8, 3)), atol=0.02)


DARK = schema.UniformSky((0.0, 0.0, 0.0), 0.0)
MATT = schema.Material(schema.Plain((0.5, 0.4, 0.3)), roughness=(1.0, 1.0), specular=0.0)


def test_a_sun_lights_a_matt_surface_by_lamberts_law(worker, tmp_path):
    sun = schema.Sun((0.6, 0.0, -0.8), (1.0, 0.5, 1.0), irradiance=np.pi)
    floor = thing(schema.Rectangle(), (1.0, 1.0, 0.0))
    described = scene([floor], [MATT], [DOWN], 16, 16, schema.Lighting(DARK, (sun,)), samples=4)
    [seen] = worker.render(described, tmp_path / "scene")
    np.testing.assert_allclose(seen.color[8, 8], 0.8 * np.array([0.5, 0.2, 0.3]), rtol=1e-3)


@pytest.mark.parametrize(("clear", "share"), [(True, np.array([0.25, 1.0, 0.5])), (msgspec.UNSET, np.zeros(3))])
def test_light_passes_straight_through_glass_that_is_said_to_be_clear(worker, tmp_path, clear, share):
    sun = schema.Sun((0.6, 0.0, -0.8), (1.0, 0.5, 1.0), irradiance=np.pi)
    tint = schema.Plain((0.25, 1.0, 0.5))
    pane = schema.Material(tint, roughness=(0.0, 0.0), transmission=1.0, clear_shadow=clear)
    objects = [
        thing(schema.Rectangle(), (1.0, 1.0, 0.0)),
        thing(schema.Rectangle(), (40.0, 40.0, 0.0), (0.0, 0.0, 9.0), material=1),  # above the camera
    ]
    described = scene(objects, [MATT, pane], [DOWN], 16, 16, schema.Lighting(DARK, (sun,)), samples=4)
    [seen] = worker.render(described, tmp_path / "scene")
    np.testing.assert_allclose(seen.color[8, 8], 0.8 * np.array([0.5, 0.2, 0.3]) * share, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "light",
    [
        schema.PointLight((0.0, 0.0, 3.0), (1.0, 1.0, 1.0), power=4 * np.pi * 9),
        schema.AreaLight((0.0, 0.0, 3.0), (0.0, 0.0, -1.0), (0.05, 0.05), (1.0, 1.0, 1.0), power=np.pi * 9),
    ],
)
def test_lamps_have_their_power(worker, tmp_path, light):
    """An irradiance of 1 W/m² at 3 m: a point shines into the whole sphere, a small area as the cosine."""
    floor = thing(schema.Rectangle(), (1.0, 1.0, 0.0))
    described = scene([floor], [MATT], [DOWN], 16, 16, schema.Lighting(DARK, (light,)), samples=16)
    [seen] = worker.render(described, tmp_path / "scene")
    np.testing.assert_allclose(seen.color[8, 8] * np.pi, (0.5, 0.4, 0.3), rtol=0.02)


def test_a_gradient_sky_has_its_zenith_above(worker, tmp_path):
    sky = schema.GradientSky((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), strength=2.0)
    targets = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    views = [look((0.0, 0.0, 0.0), at, 8, 8, 80.0, 80.0, 4.0, 4.0) for at in targets]
    seen = worker.render(scene([], [GREY], views, 8, 8, schema.Lighting(sky, ())), tmp_path / "scene")
    np.testing.assert_allclose(seen[0].color[4, 4], (0, 0, 2), atol=0.05)
    assert seen[1].color[3:5].mean((0, 1)).argmax() == 1
    np.testing.assert_allclose(seen[2].color[4, 4], (2, 0, 0), atol=0.05)


def test_an_environment_map_turns_counter_clockwise(worker, tmp_path):
    def background(turn, toward):
        at = (np.cos(np.radians(toward)), np.sin(np.radians(toward)), 0.1)
        lighting = schema.Lighting(schema.Hdri("courtyard.exr", 1.0, turn), ())
        described = scene([], [GREY], [look((0, 0, 0), at, 16, 16, 12.0, 12.0, 8.0, 8.0)], 16, 16, lighting)
        return worker.render(described, tmp_path / f"{turn} {toward}")[0].color

    plain, turned, other = background(0.0, 20.0), background(70.0, 90.0), background(70.0, 20.0)
    difference = np.abs(turned - plain).mean()
    assert difference < 0.02 * plain.mean()
    assert difference < 0.2 * np.abs(other - plain).mean()


def test_lights_are_not_seen(worker, tmp_path):
    light = schema.AreaLight((0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (4.0, 4.0), (1.0, 1.0, 1.0), 10.0)
    lighting = schema.Lighting(DARK, (light,))
    box = thing(schema.Rectangle(), (0.4, 0.4, 0.0))
    [seen] = worker.render(scene([box], [GREY], [DOWN], 16, 16, lighting), tmp_path / "scene")
    assert seen.color[8, 8].min() > 0.03
    assert seen.color[0, 0].max() == 0
    assert not seen.valid[0, 0]


@pytest.mark.parametrize(
    ("base", "lacking"),
    [
        (schema.Picture("/nowhere/wood.png", schema.Mapping(1.0)), "/nowhere/wood.png"),
        (schema.Picture("CORRUPT", schema.Mapping(1.0)), "picture.png"),
    ],
)
def test_one_bad_scene_is_one_line_and_the_next_is_fine(worker, tmp_path, base, lacking):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    if base.color == "CORRUPT":
        base = schema.Picture(str(tmp_path / "picture.png"), base.mapping)
    bad = scene([thing(schema.Rectangle(), (1.0, 1.0, 0.0))], [schema.Material(base)], [DOWN], 16, 16)
    (tmp_path / "bad.json").write_bytes(schema.to_json(bad))
    worker.send(spec=tmp_path / "bad.json", output=tmp_path / "views")
    answer = worker.read()
    assert answer["ok"] is False
    assert lacking in answer["error"]
    assert "\n" not in answer["error"]
    good = scene([thing(schema.Box(), (1.0, 1.0, 0.1))], [GREY], [DOWN], 16, 16)
    [seen] = worker.render(good, tmp_path / "good")
    assert seen.valid.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"objects": [', "JSONDecodeError"), ("{}", "the field 'objects' is missing"), (None, "scene.json")],
)
def test_an_unusable_spec_is_one_line(worker, tmp_path, text, message):
    if text is not None:
        (tmp_path / "scene.json").write_text(text)
    worker.send(spec=tmp_path / "scene.json", output=tmp_path / "views")
    answer = worker.read()
    assert answer["ok"] is False
    assert message in answer["error"]
    assert "\n" not in answer["error"]


def test_it_ends_while_rendering_when_nobody_reads_any_longer(tmp_path):
    long = scene([thing(schema.Box(), (1.0, 1.0, 0.1))], [GREY], [DOWN], 2000, 2000, samples=4000)
    (tmp_path / "scene.json").write_bytes(schema.to_json(long))
    alone = Worker()
    alone.send(spec=tmp_path / "scene.json", output=tmp_path / "views")
    with pytest.raises(subprocess.TimeoutExpired):
        alone.process.wait(timeout=2)
    alone.answers.close()
    assert alone.process.wait(timeout=10) == 1
    alone.jobs.close()
