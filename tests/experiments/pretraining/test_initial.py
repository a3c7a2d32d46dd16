import numpy as np
import pytest
from flax import nnx

from experiments.pretraining.initial import initial_model, sinusoidal_positions
from tests.experiments.training.tiny import CONFIG
from vggt_jax.deltas import dotted


@pytest.fixture(scope="module")
def parameters():
    state = nnx.state(initial_model(CONFIG, seed=3))
    return {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(state)}


def test_positions_are_sines_and_cosines_of_row_and_column():
    found = sinusoidal_positions(5, 16)[0]
    assert found.shape == (26, 16) and not found[0].any()
    frequencies = [1, 0.1, 0.01, 0.001]
    row, column = 3, 2
    token = found[1 + 5 * row + column]
    for place, value in ((0, row), (8, column)):
        np.testing.assert_allclose(token[place : place + 4], [np.sin(value * f) for f in frequencies], atol=1e-6)
        np.testing.assert_allclose(token[place + 4 : place + 8], [np.cos(value * f) for f in frequencies], atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        sinusoidal_positions(5, 18)


def test_scales_at_which_a_network_trains(parameters):
    for path, value in parameters.items():
        if path.endswith(".gamma"):
            assert (value == 1).all(), path
    qkv, proj = (parameters[f"aggregator.frame_blocks.attn.{name}.kernel"] for name in ("qkv", "proj"))
    layers, width = CONFIG.aggregator.depth, CONFIG.width
    assert qkv.shape == (layers, width, 3 * width)
    limit = np.sqrt(6 / (4 * width))
    assert 0.9 * limit < np.abs(qkv).max() <= limit
    limit = np.sqrt(6 / (2 * width)) / np.sqrt(4 * layers)  # frame and global blocks write to one stream, twice each
    assert 0.8 * limit < np.abs(proj).max() <= limit
    assert not np.allclose(proj[0], proj[1])
    assert not parameters["aggregator.frame_blocks.attn.qkv.bias"].any()
    token = parameters["aggregator.camera_token"]
    assert 0.005 < token.std() < 0.05
    assert not parameters["camera_head.pose_branch.fc2.bias"].any()


def test_no_two_matrices_are_drawn_alike(parameters):
    frame, across = (parameters[f"aggregator.{name}_blocks.mlp.fc1.kernel"] for name in ("frame", "global"))
    assert abs(np.corrcoef(frame.ravel(), across.ravel())[0, 1]) < 0.2


def test_the_seed_decides(parameters):
    def patches(seed):
        return np.asarray(initial_model(CONFIG, seed).aggregator.patch_embed.patch_embed.proj.kernel[...])

    np.testing.assert_array_equal(patches(3), parameters["aggregator.patch_embed.patch_embed.proj.kernel"])
    assert not np.array_equal(patches(4), patches(3))
