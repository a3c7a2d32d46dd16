"""Relative poses and their errors, of NumPy's arrays and of JAX's, against SciPy's rotations in double precision."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.data.poses import direction_error, relative_pose, rotation_error

RNG = np.random.default_rng(11)
PAIRS = 6


def cameras():
    turns = Rotation.from_rotvec(RNG.normal(size=(PAIRS, 3)))
    return turns, np.concatenate([turns.as_matrix(), RNG.normal(size=(PAIRS, 3, 1))], axis=-1)


@pytest.fixture(params=["numpy", "jax"])
def of(request):
    """A function as it stands, or compiled and of single precision; and how exact it has to be."""
    if request.param == "numpy":
        return lambda function, *arrays, **settings: function(*arrays, **settings), 1e-9
    return (
        lambda function, *arrays, **settings: jax.jit(lambda *x: function(*x, **settings))(
            *(np.float32(array) for array in arrays)
        ),
        2e-4,
    )


def test_a_relative_pose_leads_from_one_camera_to_the_other(of):
    call, tolerance = of
    (_, first), (_, second) = cameras(), cameras()
    found = np.asarray(call(relative_pose, first, second))
    points = RNG.normal(size=(PAIRS, 3, 1))
    in_first, in_second = (pose[..., :3] @ points + pose[..., 3:] for pose in (first, second))
    np.testing.assert_allclose(found[..., :3] @ in_first + found[..., 3:], in_second, atol=10 * tolerance)


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 20.0, 90.0, 179.9])
def test_rotations_are_off_by_what_was_planted(of, degrees):
    call, tolerance = of
    true, _ = cameras()
    axes = RNG.normal(size=(PAIRS, 3))
    planted = Rotation.from_rotvec(np.radians(degrees) * axes / np.linalg.norm(axes, axis=1, keepdims=True))
    found = call(rotation_error, (true * planted).as_matrix(), true.as_matrix())
    np.testing.assert_allclose(found, degrees, atol=max(tolerance, 1e-6) * 200 * (tolerance > 1e-6) + 1e-6)


def test_directions_have_a_sign_unless_either_way_counts(of):
    call, tolerance = of
    true = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [1, 1, 0], [0, 0, 0]])
    found = np.array([[5.0, 0, 0], [0, -1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(call(direction_error, found, true), [0, 180, 90, 45, 90], atol=100 * tolerance)
    either = call(direction_error, found, true, either_way=True)
    np.testing.assert_allclose(either, [0, 0, 90, 45, 90], atol=100 * tolerance)
