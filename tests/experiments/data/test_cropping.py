"""A point in space stays on its pixel when a picture is cropped and resized."""

import numpy as np
import pytest

from experiments.data.cropping import CentredSquare
from experiments.data.geometry import normals_from_depth

K = np.array([[70.0, 0, 41.0], [0, 75.0, 29.5], [0, 0, 1]])


def bump(width, height, centre, spread=3.0):
    """A bright spot around a position in pixels, whose centres are integers."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    value = np.exp(-((column - centre[0]) ** 2 + (row - centre[1]) ** 2) / (2 * spread**2))
    return np.repeat(np.rint(255 * value).astype(np.uint8)[..., None], 3, axis=2)


def centroid(image):
    weights = image[..., 0].astype(float)
    column, row = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    return np.array([(weights * column).sum(), (weights * row).sum()]) / weights.sum()


@pytest.mark.parametrize(("width", "height"), [(80, 60), (60, 81), (64, 64)])
@pytest.mark.parametrize("resolution", [17, 30, 60, 96])
def test_points_stay_on_their_pixels(width, height, resolution):
    point = np.array([-0.14, 0.05, 2.0])
    before = (K @ point)[:2] / point[2]
    square = CentredSquare(width, height, resolution)
    after = (square.intrinsics(K) @ point)[:2] / point[2]
    image = square.picture(bump(width, height, before))
    assert image.shape == (resolution, resolution, 3)
    np.testing.assert_allclose(centroid(image), after, atol=0.02)


def test_the_crop_is_the_largest_in_the_middle():
    values = np.arange(5 * 8).reshape(5, 8)
    np.testing.assert_array_equal(CentredSquare(8, 5, 5).nearest(values), values[:, 1:6])
    np.testing.assert_array_equal(CentredSquare(5, 8, 5).nearest(values.T), values.T[1:6])
    shifted = CentredSquare(8, 5, 5).intrinsics(K)
    np.testing.assert_array_equal(shifted, K - [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_maps_take_the_value_that_covers_the_pixel_and_none_between():
    edges = np.where(np.arange(60) < 30, 1.0, 9.0) * np.ones((45, 1))
    found = CentredSquare(60, 45, 10).nearest(edges)
    np.testing.assert_array_equal(found, np.where(np.arange(10) < 5, 1, 9) * np.ones((10, 1)))
    small = np.arange(3 * 4).reshape(3, 4)
    square = CentredSquare(1920, 1440, 6)  # columns 240 to 1680 of 1920: of the map's four, half, two and half
    np.testing.assert_array_equal(square.nearest(small)[0], [0, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(square.nearest(small)[:, 1], [1, 1, 5, 5, 9, 9])
    square.nearest(np.zeros((192, 256)))
    with pytest.raises(ValueError, match="256 × 190 pixels are of another shape than the picture's 1920 × 1440"):
        square.nearest(np.zeros((190, 256)))


def plane(normal, distance, size=24):
    """Depth of a plane normal · x = distance."""
    intrinsics = np.array([[30.0, 0, 11], [0, 28.0, 12], [0, 0, 1]])
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(intrinsics).T
    return distance / (rays @ normal), intrinsics


def test_normals_of_a_plane_and_none_at_edges_and_gaps():
    normal = np.array([0.3, -0.5, -1.0])
    normal /= np.linalg.norm(normal)
    depth, intrinsics = plane(normal, -2.0)
    found = normals_from_depth(depth, intrinsics)
    np.testing.assert_allclose(found[1:-1, 1:-1], np.broadcast_to(normal, (22, 22, 3)), atol=1e-6)
    assert not found[[0, -1]].any() and not found[:, [0, -1]].any()

    depth[5, 7] = 0
    depth[:, 16:] += 1
    there = np.linalg.norm(normals_from_depth(depth, intrinsics), axis=-1)
    expected = np.zeros((24, 24), bool)
    expected[1:-1, 1:15] = expected[1:-1, 17:-1] = True
    expected[5, 6:9] = expected[4:7, 7] = False
    np.testing.assert_allclose(there, expected, atol=1e-9)


def test_normals_of_a_sphere():
    depth, intrinsics = plane(np.array([0, 0, 1.0]), 1.0, 100)
    intrinsics = np.diag([4.0, 4.0, 1]) @ intrinsics
    column, row = np.meshgrid(np.arange(100), np.arange(100))
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(intrinsics).T
    centre, radius = np.array([0.05, 0.02, 3.0]), 1.0
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    depth = (b - np.sqrt(np.maximum(b**2 - a * c, 0))) / a
    depth[b**2 < a * c] = 0
    expected = (depth[..., None] * rays - centre) / radius
    found = normals_from_depth(depth, intrinsics)
    facing = (np.einsum("hwi,hwi->hw", expected, -rays) > 0.6) & found.any(-1)
    assert facing.mean() > 0.2
    np.testing.assert_allclose(found[facing], expected[facing], atol=0.02)
