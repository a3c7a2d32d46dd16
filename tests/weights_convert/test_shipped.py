"""The models that come with the package, on pairs of views of rendered objects that neither was trained on."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from scipy.spatial.transform import Rotation

from vggt_jax.pose_encoding import decode_pose
from weights_convert import load_vggt
from weights_convert.matcher import load_matcher
from weights_convert.sources import shipped_models

PAIRS = Path(__file__).parents[1] / "fixtures" / "orbits" / "pairs.npz"
"""Two views each of six held-out scenes, turned by 23° to 45°; its README says how it was made."""


def errors(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Degrees that the second view's rotation and direction are off, relative to the first."""
    pairs = np.load(PAIRS)
    graphdef, state = nnx.split(load_vggt(name))
    images = pairs["images"].astype(np.float32) / 255
    encoded = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images).pose_enc)(state, images)
    predicted, _ = decode_pose(encoded, images.shape[2:4])
    (turned, moved), (true_turned, true_moved) = relative(np.asarray(predicted)), relative(pairs["extrinsics"])
    cosines = np.sum(moved * true_moved, -1) / np.linalg.norm(moved, axis=-1) / np.linalg.norm(true_moved, axis=-1)
    return np.degrees((turned * true_turned.inv()).magnitude()), np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def relative(extrinsics: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """From the first camera to the second."""
    first, second = extrinsics[:, 0].astype(np.float64), extrinsics[:, 1].astype(np.float64)
    turn = second[:, :, :3] @ first[:, :, :3].transpose(0, 2, 1)
    return Rotation.from_matrix(turn), second[:, :, 3] - np.einsum("nij,nj->ni", turn, first[:, :, 3])


def test_nano_2_sees_turns_about_objects_which_nano_does_not():
    rotation, direction = errors("nano_2")
    assert np.median(rotation) < 15 and np.median(direction) < 40
    rotation, direction = errors("nano")
    assert np.median(rotation) > 15 and np.median(direction) > 40


@pytest.mark.parametrize("name", ["nano", "nano_2"])
def test_each_has_its_matcher_beside_it(name):
    assert name in shipped_models()
    assert load_matcher(name).kernel.shape == load_matcher("nano").kernel.shape


def test_a_name_that_is_nearly_a_shipped_model_is_asked_about():
    for name in ("nano_3", "nano-2"):
        with pytest.raises(FileNotFoundError, match="did you mean nano_2"):
            load_vggt(name)
