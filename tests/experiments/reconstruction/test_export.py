"""Every output of a scene with known cameras, read back by another library and compared by value."""

import dataclasses
import io
import json
import struct
from typing import Any

import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

from experiments.reconstruction import overview, point_files, records
from experiments.reconstruction.colmap import colmap_model
from experiments.reconstruction.colmap_files import write_colmap
from experiments.reconstruction.scene import FRUSTUM_EDGES
from tests.experiments.analytic_scene import HALF, make_scene, render, ring

SIZES = [(640, 480), (500, 500), (480, 640), (1600, 900)]
PIXELS = 1e-3
load: Any = trimesh.load


@pytest.fixture(scope="module", params=["crop", "pad"])
def case(request, tmp_path_factory):
    cameras = ring(SIZES)
    folder = tmp_path_factory.mktemp(request.param)
    return cameras, make_scene(folder, cameras, request.param, 112, 14)


def on_surface(points, tolerance):
    """Whether points lie on the box or on the floor."""
    outside = np.abs(points) - HALF
    on_box = (outside.max(axis=1) < tolerance) & (np.abs(outside).min(axis=1) < tolerance)
    return on_box | (np.abs(points[:, 1] - HALF[1]) < tolerance)


def test_points_lie_on_the_surfaces_with_the_right_colours(case):
    cameras, scene = case
    cloud = scene.cloud(50.0)
    assert on_surface(cloud.positions, 1e-5).all()
    # the picture comes through Pillow, the reference through the camera: equal but at edges and in far stripes
    for view, (camera, K) in enumerate(zip(cameras, scene.intrinsics, strict=True)):
        colours, _, _ = render(camera.extrinsics, K, *scene.pictures.shape[2:0:-1])
        at = cloud.pixels[cloud.pixels[:, 0] == view]
        difference = np.abs(
            colours[at[:, 1], at[:, 2]].astype(int) - scene.pictures[view, at[:, 1], at[:, 2]].astype(int)
        )
        assert np.median(difference) <= 1 and np.percentile(difference, 90) <= 8


def test_photo_intrinsics_are_the_cameras(case):
    cameras, scene = case
    np.testing.assert_allclose(scene.photo_intrinsics, [camera.intrinsics for camera in cameras], rtol=1e-12)
    np.testing.assert_allclose(scene.centres, [-c.extrinsics[:, :3].T @ c.extrinsics[:, 3] for c in cameras])


def test_percentile_is_over_the_photos_pixels_of_all_views(case):
    _, scene = case
    count = scene.is_photo.sum()
    for percentile in (0.0, 30.0, 90.0):
        assert len(scene.cloud(percentile)) == pytest.approx(count * (1 - percentile / 100), abs=0.02 * count)
    assert len(scene.cloud(0.0)) == count
    kept = scene.cloud(80.0).pixels
    assert scene.confidence[tuple(kept.T)].min() == np.float32(scene.threshold(80.0))
    assert scene.is_photo[tuple(kept.T)].all()


def test_ply(case, tmp_path):
    _, scene = case
    cloud = scene.cloud(40.0)
    point_files.write_ply(tmp_path / "points.ply", cloud)
    found = load(tmp_path / "points.ply")
    np.testing.assert_array_equal(found.vertices, cloud.positions.astype(np.float32))
    view, row, column = cloud.pixels.T
    np.testing.assert_array_equal(found.colors[:, :3], scene.pictures[view, row, column])


def test_glb(case, tmp_path):
    cameras, scene = case
    cloud = scene.cloud(40.0)
    point_files.write_glb(tmp_path / "points.glb", cloud, scene.frusta(cloud))
    found = load(tmp_path / "points.glb")
    assert sorted(found.geometry) == [*(f"camera_{i}" for i in range(len(cameras))), "points"]
    points = found.geometry["points"]
    np.testing.assert_allclose(points.vertices * [1, -1, -1], cloud.positions, atol=1e-5)
    # trimesh rounds light to eight bits as it reads: half a step is seven steps of sRGB in the dark
    assert np.abs(srgb(points.colors[:, :3] / 255) - cloud.colours).max() <= 7
    assert found.geometry["points"].vertices[:, 1].min() == pytest.approx(-HALF[1], abs=1e-5), "the floor is below"
    for view, centre in enumerate(scene.centres):
        camera = found.geometry[f"camera_{view}"]
        length = np.linalg.norm(np.diff(scene.frusta(cloud)[view][[0, 1]], axis=0))
        assert np.linalg.norm(camera.vertices - centre * [1, -1, -1], axis=1).min() < 0.03 * length
        assert len(camera.faces) == 24 * len(FRUSTUM_EDGES)


def srgb(linear):
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_glb_keeps_every_level_of_the_photos(case, tmp_path):
    _, scene = case
    cloud = scene.cloud(40.0)
    levels = np.arange(256, dtype=np.uint8)
    colours = np.resize(np.stack([levels, levels[::-1], np.roll(levels, 100)], axis=1), (len(cloud), 3))
    cloud = dataclasses.replace(cloud, colours=colours)
    point_files.write_glb(tmp_path / "points.glb", cloud, scene.frusta(cloud))

    content = (tmp_path / "points.glb").read_bytes()
    magic, version, length, json_length, kind = struct.unpack_from("<4s3I4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    tree = json.loads(content[20 : 20 + json_length])
    binary_length, kind = struct.unpack_from("<I4s", content, 20 + json_length)
    binary = content[28 + json_length :]
    assert (binary_length, kind) == (len(binary), b"BIN\0") and tree["buffers"] == [{"byteLength": len(binary)}]

    def values(number):
        accessor = tree["accessors"][number]
        view = tree["bufferViews"][accessor["bufferView"]]
        assert accessor["componentType"] == 5126 and accessor["type"] == "VEC3" and "normalized" not in accessor
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == 12 * accessor["count"]
        return np.frombuffer(binary, "<f4", 3 * accessor["count"], view["byteOffset"]).reshape(-1, 3)

    [points] = [mesh for mesh in tree["meshes"] if mesh["name"] == "points"]
    attributes = points["primitives"][0]["attributes"]
    np.testing.assert_allclose(values(attributes["POSITION"]) * [1, -1, -1], cloud.positions, atol=1e-5)
    np.testing.assert_array_equal(np.rint(srgb(values(attributes["COLOR_0"]))), colours)
    read = load(tmp_path / "points.glb").geometry["points"]
    np.testing.assert_array_equal(read.colors[:, :3], np.rint(255 * values(attributes["COLOR_0"])))


def test_frusta_are_the_corners_of_the_photos(case):
    cameras, scene = case
    frusta = scene.frusta(scene.cloud(50.0))
    for camera, frustum in zip(cameras, frusta, strict=True):
        x, y, z = camera.intrinsics @ (frustum[1:] @ camera.extrinsics[:, :3].T + camera.extrinsics[:, 3]).T
        w, h = camera.width - 0.5, camera.height - 0.5
        expected = [[-0.5, -0.5], [w, -0.5], [w, h], [-0.5, h]]
        np.testing.assert_allclose(np.stack([x / z, y / z], axis=-1), expected, atol=1e-6)


NAMES = [f"{i}.png" for i in range(len(SIZES))]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_colmap_model(case, tmp_path, text):
    cameras, scene = case
    cloud = scene.cloud(40.0).subsample(2000)
    assert len(cloud) == 2000
    write_colmap(tmp_path / "sparse", colmap_model(scene, cloud, NAMES), text=text)
    assert {path.suffix for path in (tmp_path / "sparse").iterdir()} == {".txt" if text else ".bin"}
    model = pycolmap.Reconstruction(str(tmp_path / "sparse"))
    assert (model.num_cameras(), model.num_images(), model.num_points3D()) == (4, 4, 2000)
    observations = 0
    for view, expected in enumerate(cameras):
        image, camera = model.images[view + 1], model.cameras[model.images[view + 1].camera_id]
        assert image.name == NAMES[view]
        assert (camera.model.name, camera.width, camera.height) == ("PINHOLE", expected.width, expected.height)
        np.testing.assert_allclose(camera.calibration_matrix()[:2, 2], expected.intrinsics[:2, 2] + 0.5, rtol=1e-12)
        np.testing.assert_allclose(image.projection_center(), scene.centres[view], atol=1e-12)
        np.testing.assert_allclose(image.cam_from_world().matrix(), expected.extrinsics, atol=1e-12)
        for observed in image.points2D:
            point = model.points3D[observed.point3D_id]
            assert [element.image_id for element in point.track.elements] == [view + 1]
            projected = image.project_point(point.xyz)
            assert projected is not None and np.abs(projected - observed.xy).max() < PIXELS
            observations += 1
    assert observations == 2000
    assert model.compute_mean_reprojection_error() < PIXELS
    for i, (position, colour) in enumerate(zip(cloud.positions, cloud.colours, strict=True)):
        np.testing.assert_array_equal(model.points3D[i + 1].xyz, position)
        np.testing.assert_array_equal(model.points3D[i + 1].color, colour)
    # independent of our map: a pixel's centre in the photo lies where its share of the picture says
    framing, first = scene.framings[0], model.images[1].points2D[0].xy
    _, row, column = cloud.pixels[0]
    assert first[0] / 640 == pytest.approx((column + 0.5 - framing.left) / framing.resized_width)
    assert first[1] / 480 == pytest.approx((row + 0.5 - framing.top) / framing.resized_height)


def test_colmap_view_without_points(case, tmp_path):
    _, scene = case
    cloud = scene.cloud(99.9)
    assert len(np.unique(cloud.pixels[:, 0])) < 4
    write_colmap(tmp_path / "sparse", colmap_model(scene, cloud, NAMES))
    model = pycolmap.Reconstruction(str(tmp_path / "sparse"))
    assert model.num_images() == 4 and model.num_points3D() == len(cloud)
    assert model.compute_mean_reprojection_error() < PIXELS


@pytest.mark.parametrize("camera", ["PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_types_of_cameras(tmp_path, camera, shared):
    """Focal lengths are what the type allows, and every point stays on its pixel."""
    cameras = ring([(160, 120)] * 3)
    scene = make_scene(tmp_path, cameras, "pad", 56, 14)
    factors = np.array([0.9, 1.0, 1.2])  # the views' focal lengths differ
    scene.intrinsics[:, [0, 1], [0, 1]] *= factors[:, None]
    cloud = scene.cloud(70.0)
    write_colmap(tmp_path / "0", colmap_model(scene, cloud, NAMES[:3], camera, shared=shared))
    model = pycolmap.Reconstruction(str(tmp_path / "0"))
    assert model.num_cameras() == (1 if shared else 3)
    true = cameras[0].intrinsics
    focal = true[[0, 1], [0, 1]]
    if camera != "PINHOLE":
        focal = np.sqrt(focal.prod())
    for view, factor in enumerate([1.0] * 3 if shared else factors):
        image = model.images[view + 1]
        found = model.cameras[image.camera_id]
        assert (found.model.name, found.width, found.height) == (camera, 160, 120)
        middle = true[:2, 2] + 0.5
        distortion = [0] if camera == "SIMPLE_RADIAL" else []
        np.testing.assert_allclose(found.params, np.hstack([factor * focal, middle, distortion]), rtol=1e-9)
        for seen in image.points2D:
            projected = image.project_point(model.points3D[seen.point3D_id].xyz)
            assert projected is not None and np.abs(projected - seen.xy).max() < PIXELS
    assert model.num_points3D() == len(cloud)


def test_depth_maps_and_cameras_json(case, tmp_path):
    cameras, scene = case
    stems = [f"folder/{name}" for name in "abcd"]
    unit = records.write_depth_maps(tmp_path / "depth", scene, stems)
    records.write_cameras(tmp_path / "cameras.json", scene, stems, NAMES, {"depth_png_unit": unit})
    content = json.loads((tmp_path / "cameras.json").read_text(encoding="utf-8"))
    assert content["depth_png_unit"] == unit
    assert set(content["conventions"]) >= {"world_to_camera", "intrinsics", "photo", "preprocessed", "depth_png"}
    for view, entry in enumerate(content["cameras"]):
        with Image.open(tmp_path / entry["depth_png"]) as image:
            assert image.mode == "I;16" and float(image.info["depth_unit"]) == unit
            values = np.asarray(image).astype(float)
        is_photo = scene.is_photo[view]
        assert np.abs(values * unit - scene.depth[view])[is_photo].max() <= 0.5 * unit * (1 + 1e-6)
        assert (values[~is_photo] == 0).all() and (values[is_photo] > 0).all()
        with np.load(tmp_path / entry["depth_npz"]) as arrays:
            np.testing.assert_array_equal(arrays["depth"], scene.depth[view])
            np.testing.assert_array_equal(arrays["confidence"], scene.confidence[view])
            np.testing.assert_array_equal(arrays["is_photo"], is_photo)
            np.testing.assert_allclose(arrays["points"], scene.points[view], rtol=1e-6, atol=1e-6)
        assert (entry["photo"]["width"], entry["photo"]["height"]) == (cameras[view].width, cameras[view].height)
        np.testing.assert_allclose(entry["photo"]["intrinsics"], cameras[view].intrinsics, rtol=1e-12)
        np.testing.assert_allclose(entry["world_to_camera"], cameras[view].extrinsics)
        # the documented conventions alone lead from a pixel to its point
        K, E = np.array(entry["preprocessed"]["intrinsics"]), np.array(entry["world_to_camera"])
        row, column = np.argwhere(is_photo)[777]
        point = E[:, :3].T @ (scene.depth[view, row, column] * np.linalg.solve(K, [column, row, 1]) - E[:, 3])
        np.testing.assert_allclose(point, scene.points[view, row, column], atol=1e-9)


def test_overview(case, tmp_path):
    _, scene = case
    overview.draw_overview(tmp_path / "overview.png", scene, scene.cloud(50.0), "a title with a $ and 漢字")
    with Image.open(io.BytesIO((tmp_path / "overview.png").read_bytes())) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 800
    assert (np.ptp(pixels.reshape(-1, 3), axis=0) > 200).all()


def test_upward_direction_is_the_floors_normal(case):
    _, scene = case
    np.testing.assert_allclose(overview._up(scene.extrinsics), [0, -1, 0], atol=0.05)
    alone = overview._up(scene.extrinsics[:1])
    np.testing.assert_allclose(alone, -scene.extrinsics[0, 1, :3], atol=1e-6)
