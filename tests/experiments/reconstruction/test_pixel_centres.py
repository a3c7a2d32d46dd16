"""From the model's numbers to pixels: with true depth and true poses, views must not miss each other."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.data.geometry import unproject
from experiments.reconstruction.framing import frame_photos
from experiments.reconstruction.inference import ModelOutputs, scene_of
from tests.experiments.analytic_scene import render, ring
from vggt_jax.pixels import cut_and_scaled, from_corner, to_corner

SIZE, PATCH = 112, 14
SIZES = [(640, 480), (640, 480), (480, 640), (500, 500)]


def truth(camera, framing):
    """The camera with its principal point in the middle, as the model's picture has it."""
    K = np.linalg.inv(framing.to_photo) @ camera.intrinsics
    K[:2, 2] = (framing.width - 1) / 2, (framing.height - 1) / 2
    return K


@pytest.fixture(scope="module", params=["crop", "pad"])
def case(request):
    """True cameras and the scene that a model makes of them that is never wrong."""
    cameras = ring(SIZES)
    framings = frame_photos(SIZES, request.param, SIZE, PATCH)
    intrinsics = np.stack([truth(camera, framing) for camera, framing in zip(cameras, framings, strict=True)])
    extrinsics = np.stack([camera.extrinsics for camera in cameras])
    height, width = framings[0].height, framings[0].width
    seen = [render(E, K, width, height) for E, K in zip(extrinsics, intrinsics, strict=True)]
    colours, depth, confidence = (np.stack(arrays) for arrays in zip(*seen, strict=True))
    # what a camera head says: translation, rotation, and the angles between the picture's edges
    turns = Rotation.from_matrix(extrinsics[:, :, :3]).as_quat()
    fields = 2 * np.arctan(np.array([height, width]) / 2 / intrinsics[:, [1, 0], [1, 0]])
    encoded = np.concatenate([extrinsics[:, :, 3], turns, fields], axis=1).astype(np.float32)
    outputs = ModelOutputs(encoded, depth.astype(np.float32), confidence.astype(np.float32))
    scene = scene_of([f"{i}.png" for i in range(4)], framings, (colours / 255).astype(np.float32), outputs)
    return extrinsics, intrinsics, depth, scene


def projected(points, E, K):
    x, y, z = K @ (points @ E[:, :3].T + E[:, 3]).T
    return np.stack([x / z, y / z], axis=-1)


def misses(case, points, intrinsics):
    """How far, in the model's pixels, each view's points land in the other views from where these see them."""
    extrinsics, true_intrinsics, depth, _ = case
    found = []
    for source in range(len(depth)):
        row, column = np.indices(depth[source].shape)
        pixels = np.stack([column, row, np.ones_like(row)], axis=-1)
        rays = pixels @ np.linalg.inv(true_intrinsics[source]).T * depth[source][..., None]
        E = extrinsics[source]
        real = ((rays - E[:, 3]) @ E[:, :3]).reshape(-1, 3)
        for target in {*range(len(depth))} - {source}:
            claimed = projected(points[source].reshape(-1, 3), extrinsics[target], intrinsics[target])
            there = projected(real, extrinsics[target], true_intrinsics[target])
            inside = ((there >= 0) & (there < depth.shape[:0:-1])).all(axis=1)
            found.append(np.linalg.norm(claimed - there, axis=1)[inside])
    return np.concatenate(found)


def test_views_do_not_miss_each_other(case):
    *_, scene = case
    assert misses(case, scene.points, scene.intrinsics).max() < 2e-3


def test_the_official_unprojection_misses(case):
    """The official code takes a principal point that is counted from the corner for one counted from a pixel's centre."""
    extrinsics, intrinsics, depth, _ = case
    official = to_corner(intrinsics)
    assert np.median(misses(case, unproject(depth, extrinsics, official), official)) > 0.2


def test_cameras_are_the_true_ones(case):
    extrinsics, intrinsics, _, scene = case
    np.testing.assert_allclose(scene.intrinsics, intrinsics, rtol=1e-5)
    np.testing.assert_allclose(scene.extrinsics, extrinsics, atol=1e-5)
    middle = [[(p.photo_width - 1) / 2, (p.photo_height - 1) / 2] for p in scene.framings]
    np.testing.assert_allclose(scene.photo_intrinsics[:, :2, 2], middle, atol=1e-9)


def test_corner_and_centre():
    K = np.array([[100.0, 0, 48], [0, 90, 32], [0, 0, 1]])  # 96 × 64 pixels, from the corner
    np.testing.assert_array_equal(from_corner(K)[:2, 2], [47.5, 31.5])
    np.testing.assert_array_equal(to_corner(from_corner(K)), K)
    assert K[0, 2] == 48
    half = cut_and_scaled((0.5, 0.5), (16, 0))  # its right 80 columns, at half the size
    np.testing.assert_allclose(half @ [15.5, -0.5, 1], [-0.5, -0.5, 1])
    np.testing.assert_allclose(half @ [95.5, 63.5, 1], [39.5, 31.5, 1])
