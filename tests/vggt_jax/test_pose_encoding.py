"""Pose encoding against the official functions' outputs, as a round trip, and where it must stay finite."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vggt_jax.pose_encoding import decode_pose, encode_pose, matrix_to_quaternion, quaternion_to_matrix

FIXTURE = Path(__file__).parents[1] / "fixtures" / "losses" / "pose_encoding_case.npz"

components = st.floats(-1, 1, width=32).map(lambda value: round(value, 3))
quaternions = st.tuples(*[components] * 4).filter(lambda q: sum(c * c for c in q) > 1e-2)


@pytest.fixture(scope="module")
def case():
    with np.load(FIXTURE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def image_size(case):
    height, width = case["image_hw"].tolist()
    return height, width


def test_encoding_equals_the_official_one(case, image_size, error_of):
    encoded = encode_pose(jnp.asarray(case["extrinsics"]), jnp.asarray(case["intrinsics"]), image_size)
    assert error_of(encoded, case["pose_enc"]) <= 1e-6


@pytest.mark.parametrize(
    ("given_encoding", "prefix", "suffix"),
    [("pose_enc", "", "_back"), ("raw_pose_enc", "raw_", "")],
    ids=["of-cameras", "unnormalised-quaternions"],
)
def test_decoding_equals_the_official_one(case, image_size, given_encoding, prefix, suffix, error_of):
    extrinsics, intrinsics = decode_pose(jnp.asarray(case[given_encoding]), image_size)
    assert error_of(extrinsics, case[f"{prefix}extrinsics{suffix}"]) <= 1e-6
    assert error_of(intrinsics, case[f"{prefix}intrinsics{suffix}"]) <= 1e-6


def test_fixture_reaches_all_four_branches(case):
    largest = np.abs(case["pose_enc"][..., 3:7]).argmax(-1)
    assert set(largest.ravel()) == {0, 1, 2, 3}


@settings(max_examples=50, deadline=None)
@given(quaternions)
def test_quaternion_round_trip(quaternion):
    raw = np.array(quaternion, np.float32)
    unit = raw / np.linalg.norm(raw)
    back = matrix_to_quaternion(quaternion_to_matrix(jnp.asarray(raw)))
    assert back[3] >= 0
    sign = np.sign(np.dot(back, unit))  # a quaternion and its negative are one rotation
    np.testing.assert_allclose(sign * np.asarray(back), unit, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(quaternions)
def test_matrix_is_a_rotation_whatever_the_length_of_the_quaternion(quaternion):
    matrix = np.asarray(quaternion_to_matrix(jnp.asarray(quaternion, jnp.float32)))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=5e-6)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=5e-6)


@settings(max_examples=30, deadline=None)
@given(quaternions, st.tuples(*[st.floats(-10, 10, width=32)] * 3), st.tuples(*[st.floats(0.125, 2.75, width=32)] * 2))
def test_camera_round_trip(quaternion, translation, fields_of_view):
    unit = np.array(quaternion) / np.linalg.norm(quaternion)
    unit = unit if unit[3] >= 0 else -unit
    encoding = np.concatenate([translation, unit, fields_of_view]).astype(np.float32)
    back = np.array(encode_pose(*decode_pose(jnp.asarray(encoding), (98, 42)), (98, 42)))
    if abs(unit[3]) < 1e-5:  # the sign of a half turn is undetermined
        back[3:7] *= np.sign(np.dot(back[3:7], unit))
    np.testing.assert_allclose(back, encoding, atol=1e-5)


def test_no_turn_and_half_turns_have_finite_gradients():
    diagonals = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
    matrices = jnp.asarray(diagonals[:, None] * np.eye(3, dtype=np.float32))
    gradients = jax.jit(jax.vmap(jax.jacobian(matrix_to_quaternion)))(matrices)
    assert np.isfinite(gradients).all()


def test_quaternion_of_length_zero_is_the_identity_with_finite_gradient():
    zero = jnp.zeros(4)
    np.testing.assert_array_equal(quaternion_to_matrix(zero), np.eye(3))
    assert np.isfinite(jax.jacobian(quaternion_to_matrix)(zero)).all()


@pytest.mark.parametrize("length", [1e-36, 1e-25, 1e-3, 1e20, 1e38])
def test_quaternions_of_any_length_are_the_rotation_of_the_unit_one(length):
    unit = np.array([0.1, -0.5, 0.7, 0.5])
    x, y, z, w = unit / np.linalg.norm(unit)
    expected = [  # Rodrigues' formula
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    quaternion = jnp.asarray(length * unit, jnp.float32)
    np.testing.assert_allclose(quaternion_to_matrix(quaternion), expected, atol=1e-6)
    if 1e-30 < length < 1e30:
        turned = np.asarray(jax.jacobian(quaternion_to_matrix)(quaternion)) * length  # by dq / length
        plain = jax.jacobian(quaternion_to_matrix)(jnp.asarray(unit, jnp.float32))
        np.testing.assert_allclose(turned, plain, atol=1e-5)


def test_cut_field_of_view_is_an_infinite_focal_length_with_gradient_zero():
    encoding = jnp.asarray([0.0, 0, 0, 0, 0, 0, 1, 0, 1])
    _, intrinsics = decode_pose(encoding, (98, 42))
    assert intrinsics[1, 1] == jnp.inf
    np.testing.assert_allclose(intrinsics[0, 0], 21 / np.tan(0.5), rtol=1e-6)
    np.testing.assert_array_equal(encode_pose(*decode_pose(encoding, (98, 42)), (98, 42)), encoding)
    gradient = jax.grad(lambda e: 1 / decode_pose(e, (98, 42))[1][1, 1] + decode_pose(e, (98, 42))[1][0, 0])(encoding)
    assert np.isfinite(gradient).all()
    assert gradient[7] == 0
    assert gradient[8] < 0


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quaternion_to_matrix(jnp.zeros((2, 3))), r"quaternion must have shape \(\.\.\., 4\), got \(2, 3\)"),
        (lambda: matrix_to_quaternion(jnp.zeros((3, 4))), r"matrix must have shape"),
        (lambda: decode_pose(jnp.zeros(8), (2, 2)), r"pose_encoding must have shape"),
        (lambda: decode_pose(jnp.zeros(9), (0, 2)), r"image_size must be \(height, width\)"),
        (lambda: encode_pose(jnp.zeros((4, 4)), jnp.zeros((3, 3)), (2, 2)), r"extrinsics must have shape"),
        (lambda: encode_pose(jnp.zeros((3, 4)), jnp.zeros((2, 3)), (2, 2)), r"intrinsics must have shape"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
