"""From a described camera, which a renderer is given, to the arrays that training and evaluation are given."""

import numpy as np

from experiments.data.geometry import unproject
from experiments.data.scene_folder import camera_arrays
from experiments.scenes import schema
from tests.experiments.scenes.examples import look, rays


def test_pixels_are_unprojected_along_the_rays_that_are_rendered():
    width, height = 12, 9
    views = (
        look((0.9, -1.0, 0.9), (0.1, -0.1, 0.3), width, height, 14.0, 17.0, 5.0, 6.5),
        look((-1.2, 0.3, 0.5), (0.1, -0.1, 0.3), width, height, 11.0, 11.0, width / 2, height / 2),
    )
    intrinsics, extrinsics = camera_arrays(schema.Cameras(width, height, views))
    depths = np.random.default_rng(0).uniform(1, 3, (2, height, width))
    for view, points, depth in zip(views, unproject(depths, extrinsics, intrinsics), depths, strict=True):
        origin, directions = rays(view, width, height)
        np.testing.assert_allclose(points, origin + depth[..., None] * directions, atol=1e-12)
    np.testing.assert_array_equal(intrinsics[1, :2, 2], [(width - 1) / 2, (height - 1) / 2])
