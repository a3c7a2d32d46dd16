"""Scenes from folders of scans."""

import numpy as np
import pytest
import trimesh
from trimesh.visual import ColorVisuals

from experiments.data.manifest import TaskSettings
from experiments.process.reporting import Reporter
from experiments.rendering.export import object_mesh
from experiments.scenes import mesh_files, schema
from experiments.tasks import scans
from experiments.tasks.naming import Name
from tests.experiments.scenes.written_meshes import UV, base, plain_picture, write_gltf

SETTINGS = TaskSettings(task="humans", split="train", seed=1, samples=1, views=12, resolution=64, turn=360.0)


def scan(path, height=1.8, axis=1):
    """A long ball with an arm, its long axis along y (or z), away from the origin."""
    body = trimesh.creation.icosphere(subdivisions=2)
    scale = np.full(3, 0.2 * height)
    scale[axis] = height / 2
    body.apply_scale(scale)
    arm = trimesh.creation.box((0.9 * height, 0.05 * height, 0.05 * height))
    both = trimesh.util.concatenate([body, arm]).apply_translation((3.0, -2.0, 1.0))
    colors = np.tile([200, 120, 90, 255], (len(both.vertices), 1)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(both.vertices, both.faces, vertex_colors=colors, process=False).export(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    paths = [scan(folder / "a.ply"), scan(folder / "deep" / "er" / "b.ply", height=1.5)]
    make = scans.MeshScenes(paths, folder / "parts")
    return make, [make(Name(SETTINGS, 0, scene, 0)) for scene in range(2)]


def test_meshes_are_found_at_any_depth_in_order(tmp_path):
    expected = [tmp_path / "0001" / "0001.obj", tmp_path / "b.PLY", tmp_path / "z" / "y" / "a.glb"]
    for path in [*expected, tmp_path / "b.png", tmp_path / ".hidden.obj"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert scans.find_meshes(tmp_path) == expected


def test_folders_without_meshes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no meshes"):
        scans.find_meshes(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        scans.find_meshes(tmp_path / "none")


@pytest.mark.parametrize(("height", "expected"), [(1.8, 1.8), (164.0, 1.64), (950.0, 0.95), (8.0, 1.7), (0.3, 1.7)])
def test_bodies_stand_on_the_ground_at_their_height_in_metres(tmp_path, height, expected):
    parts = scans.standing(mesh_files.read(scan(tmp_path / "a.ply", height)))
    low, high = parts[0].vertices.min(axis=0), parts[0].vertices.max(axis=0)
    assert high[2] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(low[2], 0, atol=1e-6)
    np.testing.assert_allclose(low[:2] + high[:2], 0, atol=1e-5)


def test_the_up_axis_can_be_z(tmp_path):
    path = scan(tmp_path / "a.ply", axis=2)
    vertices = scans.standing(mesh_files.read(path), "z")[0].vertices
    assert vertices[:, 2].max() == pytest.approx(1.8, rel=1e-3)
    assert vertices[:, 1].max() < 0.5


def test_a_file_with_y_up_is_turned_not_mirrored():
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1.7, 0], [0, 0, 1]], float)
    part = mesh_files.Part(corner, np.array([[0, 1, 2]]), None, None, np.zeros((4, 3), np.float32))
    [turned] = scans.standing([part])
    axes = turned.vertices[1:] - turned.vertices[0]
    np.testing.assert_allclose(axes, [[1, 0, 0], [0, 0, 1.7], [0, -1, 0]], atol=1e-9)


def test_every_view_shows_the_whole_body(made):
    for scene in made[1]:
        [item] = scene.objects
        points = object_mesh(item).vertices
        filled = []
        for view in scene.cameras.views:
            pose = np.reshape(view.world_to_camera, (3, 4))
            local = points @ pose[:, :3].T + pose[:, 3]
            assert local[:, 2].min() > 0
            pixels = local[:, :2] / local[:, 2:] * (view.fx, view.fy) + (view.cx, view.cy)
            filled.append(np.abs(pixels / 32 - 1).max())
        assert scans.FILLED[0] - 0.01 < max(filled) < scans.FILLED[1] + 0.01


def test_the_cameras_go_all_the_way_round_at_one_height(made):
    for scene in made[1]:
        poses = np.array([view.world_to_camera for view in scene.cameras.views]).reshape(-1, 3, 4)
        centers = -np.einsum("vji,vj->vi", poses[:, :, :3], poses[:, :, 3])
        azimuth = np.sort(np.degrees(np.arctan2(centers[:, 1], centers[:, 0])))
        np.testing.assert_allclose(np.diff(azimuth), 30, atol=1e-6)
        np.testing.assert_allclose(centers[:, 2], centers[0, 2])


def test_the_same_name_gives_the_same_scene(made):
    make, scenes = made
    assert schema.to_json(make(Name(SETTINGS, 0, 1, 0))) == schema.to_json(scenes[1])
    assert scenes[0].cameras != scenes[1].cameras


class Lines(Reporter):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.infos, self.warnings = [], []

    def info(self, line):
        self.infos.append(line)

    def warning(self, line):
        self.warnings.append(line)


def block(path, size):
    box = trimesh.creation.box(size)
    box.visual = ColorVisuals(box, vertex_colors=np.full((8, 4), 200, np.uint8))
    box.export(path)
    return path


@pytest.mark.parametrize(
    ("size", "up", "words"),
    [
        ((1.0, 0.34, 1.7), "y", ["5.0 × 8.5 × 1.7 m", "up=z"]),
        ((0.5, 1.7, 0.3), "z", ["up=y"]),
        ((1.7, 0.5, 0.3), "y", ["seems to lie"]),
        ((1.8, 1.75, 0.4), "y", []),
        ((0.5, 1.7, 0.3), "y", []),
    ],
)
def test_bodies_that_seem_to_lie_are_said_once(tmp_path, size, up, words):
    reporter = Lines()
    paths = [block(tmp_path / f"{name}.ply", size) for name in "ab"]
    make = scans.MeshScenes(paths, tmp_path / "parts", up, reporter)
    for number in (0, 1, 0):
        make(Name(SETTINGS, 0, number, 0))
    assert len(reporter.warnings) == (1 if words else 0)
    assert all(word in reporter.warnings[0] and str(paths[0]) in reporter.warnings[0] for word in words)


def test_what_is_not_rendered_is_said_once_of_each_kind(tmp_path):
    attributes, normal = {"TEXCOORD_0": UV}, {**base(), "normalTexture": {"index": 0}}
    paths = [
        write_gltf(tmp_path / f"{i}.glb", attributes=attributes, material=material, picture=plain_picture())
        for i, material in enumerate([base(), normal, {**normal, "occlusionTexture": {"index": 0}}])
    ]
    reporter = Lines()
    make = scans.MeshScenes(paths, tmp_path / "parts", "y", reporter)
    for number in range(3):
        make(Name(SETTINGS, 0, number, 0))
    assert [[str(path) in line for path in paths[1:]] for line in reporter.infos] == [[True, False], [False, True]]
    assert "normal maps" in reporter.infos[0] and "normal maps" not in reporter.infos[1]
