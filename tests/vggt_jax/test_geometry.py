"""Unprojection against the official arrays; projection and transforms as inverses of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vggt_jax.geometry import (
    MIN_DEPTH,
    depth_to_camera_points,
    invert_se3,
    project_points,
    transform_points,
    unproject_depth,
)
from vggt_jax.pose_encoding import decode_pose

HEIGHT, WIDTH = 6, 9

angles = st.floats(0.25, 2.0, width=32)
cameras = st.builds(
    lambda translation, quaternion, fields: jnp.asarray([*translation, *quaternion, *fields], jnp.float32),
    st.tuples(*[st.floats(-4, 4, width=32)] * 3),
    st.tuples(*[st.floats(-1, 1, width=32)] * 4).filter(lambda q: sum(c * c for c in q) > 0.1),
    st.tuples(angles, angles),
)


@pytest.mark.parametrize("name", ["case_a", "case_b", "case_c"])
def test_unprojection_equals_the_official_one(reference, error_of, name):
    case = reference(name)
    depth, extrinsics, intrinsics = (jnp.asarray(case[key]) for key in ("depth", "extrinsic", "intrinsic"))
    points = unproject_depth(depth[..., 0], extrinsics, intrinsics)
    assert error_of(points, case["unprojected_points"]) <= 2e-6


@settings(max_examples=40, deadline=None)
@given(cameras, st.integers(0, 2**31))
def test_projection_undoes_unprojection(camera, seed):
    extrinsics, intrinsics = decode_pose(camera, (HEIGHT, WIDTH))
    depth = jax.random.uniform(jax.random.key(seed), (HEIGHT, WIDTH), minval=0.5, maxval=3.0)
    points = unproject_depth(depth, extrinsics, intrinsics).reshape(-1, 3)
    pixels, depth_again = project_points(points, extrinsics, intrinsics)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=5e-4)
    np.testing.assert_allclose(depth_again, depth.ravel(), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(cameras)
def test_inverse_twice_and_inverse_applied_give_back_the_points(camera):
    extrinsics, _ = decode_pose(camera, (HEIGHT, WIDTH))
    inverse = invert_se3(extrinsics)
    np.testing.assert_allclose(invert_se3(inverse), extrinsics, atol=2e-5)
    points = jnp.asarray([[0.0, 0, 0], [1, -2, 3]])
    np.testing.assert_allclose(transform_points(transform_points(points, extrinsics), inverse), points, atol=2e-5)


def test_four_row_transforms_keep_their_last_row():
    extrinsics, _ = decode_pose(jnp.asarray([1.0, 2, 3, 0.1, 0.2, 0.3, 0.9, 1, 1]), (HEIGHT, WIDTH))
    square = jnp.concatenate([extrinsics, jnp.asarray([[0.0, 0, 0, 1]])])
    inverse = invert_se3(square)
    np.testing.assert_array_equal(inverse[:3], invert_se3(extrinsics))
    np.testing.assert_allclose(inverse @ square, np.eye(4), atol=1e-6)


def test_skewed_intrinsics_are_undone_by_projection():
    intrinsics = jnp.asarray([[5.0, 0.7, 4], [0, 6, 3], [0, 0, 1]])
    depth = jnp.full((HEIGHT, WIDTH), 2.0)
    points = depth_to_camera_points(depth, intrinsics).reshape(-1, 3)
    pixels, _ = project_points(points, jnp.eye(4)[:3], intrinsics)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=1e-5)


def test_pixel_at_the_principal_point_lies_on_the_axis():
    intrinsics = jnp.asarray([[5.0, 0, 4], [0, 6, 3], [0, 0, 1]])
    points = depth_to_camera_points(jnp.full((HEIGHT, WIDTH), 2.0), intrinsics)
    np.testing.assert_array_equal(points[3, 4], [0, 0, 2])
    np.testing.assert_allclose(points[3, 5], [2 / 5, 0, 2], rtol=1e-6)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_columns_are_counted_in_float32_whatever_the_type_of_the_depth(kind):
    intrinsics = jnp.asarray([[500.0, 0, 259], [0, 500, 3], [0, 0, 1]])
    points = depth_to_camera_points(jnp.ones((2, 518), kind), intrinsics)
    np.testing.assert_allclose(points[0, :, 0], (np.arange(518) - 259) / 500, atol=1e-6)
    assert points.dtype == jnp.float32


def test_pixels_without_depth_lie_at_the_camera_centre():
    camera = jnp.asarray([1.0, 2, 3, 0.1, 0.2, 0.3, 0.9, 1, 1])
    extrinsics, intrinsics = decode_pose(camera, (HEIGHT, WIDTH))
    points = unproject_depth(jnp.zeros((HEIGHT, WIDTH)), extrinsics, intrinsics)
    np.testing.assert_allclose(points, np.broadcast_to(invert_se3(extrinsics)[:, 3], points.shape), atol=1e-6)


@pytest.mark.slow
def test_gradients_are_finite_at_depth_zero_and_behind_the_camera():
    camera = jnp.asarray([0.0, 0, 0, 0, 0, 0, 1, 1, 1])

    def pixels(points, camera):
        return project_points(points, *decode_pose(camera, (HEIGHT, WIDTH)))[0].sum()

    points = jnp.asarray([[0.0, 0, 0], [1, 1, 0], [1, 1, -2], [1, 1, MIN_DEPTH], [1, 1, 2]])
    for gradient in jax.grad(pixels, argnums=(0, 1))(points, camera):
        assert np.isfinite(gradient).all()

    def unprojected(depth, camera):
        return jnp.square(unproject_depth(depth, *decode_pose(camera, (HEIGHT, WIDTH)))).sum()

    for gradient in jax.grad(unprojected, argnums=(0, 1))(jnp.zeros((HEIGHT, WIDTH)), camera):
        assert np.isfinite(gradient).all()


def test_cut_field_of_view_puts_points_on_the_axis_plane_with_finite_gradient():
    """The model may predict a field of view of 0: an infinite focal length must not spoil the other pixels."""
    camera = jnp.asarray([0.0, 0, 0, 0, 0, 0, 1, 0, 1])

    def points(camera):
        return unproject_depth(jnp.ones((HEIGHT, WIDTH)), *decode_pose(camera, (HEIGHT, WIDTH)))

    np.testing.assert_array_equal(points(camera)[..., 1], 0)
    assert np.isfinite(jax.grad(lambda camera: points(camera).sum())(camera)).all()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: invert_se3(jnp.eye(3)),
            r"transform must have shape \(\.\.\., 3, 4\) or \(\.\.\., 4, 4\), got \(3, 3\)",
        ),
        (lambda: transform_points(jnp.zeros((5, 2)), jnp.zeros((3, 4))), "points must have shape"),
        *(
            (
                lambda views=views: unproject_depth(
                    jnp.zeros((1, views, 8, 8, 1)), jnp.zeros((1, views, 3, 4)), jnp.zeros((1, views, 3, 3))
                ),
                r"depth must have shape \(\.\.\., height, width\), got .*: give depth\[\.\.\., 0\]",
            )
            for views in (1, 3)
        ),
        (lambda: transform_points(jnp.zeros((5, 3)), jnp.zeros((4, 4))), "transform must have shape"),
        (lambda: depth_to_camera_points(jnp.zeros((2, 2)), jnp.zeros((3, 4))), "intrinsics must have shape"),
        (lambda: unproject_depth(jnp.zeros((2, 2)), jnp.eye(4), jnp.eye(3)), "extrinsics must have shape"),
        (lambda: project_points(jnp.zeros((5, 3)), jnp.zeros((3, 4)), jnp.eye(4)), "intrinsics must have shape"),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
