"""What depends on what: every output on all that it should see, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

FRAMES, SPECIAL, PATCHES = 3, 2, 16


def influence(function, x):
    """|∂ output token / ∂ input token| of a function from tokens (*lead, c) to tokens (*lead2, c2), as a matrix."""
    outputs = jax.eval_shape(function, x)
    direction = jax.random.normal(jax.random.key(1), outputs.shape[-1:])
    jacobian = jax.jit(jax.jacrev(lambda x: (function(x) @ direction).ravel()))(x)
    return np.linalg.norm(jacobian.reshape(jacobian.shape[0], -1, x.shape[-1]), axis=-1)


@pytest.fixture(scope="module")
def tiny_model(tiny, random_model_of):
    return random_model_of(tiny, 0)


@pytest.fixture(scope="module")
def patch_tokens(tiny_model, tiny_images):
    return jax.jit(tiny_model.aggregator.encode)(tiny_images)


def frame_of(tokens_per_frame):
    return np.repeat(np.arange(FRAMES), tokens_per_frame)


def test_encoder_sees_its_own_frame_and_all_of_it(tiny_model, tiny_images):
    patches = tiny_images.reshape(FRAMES, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(FRAMES * PATCHES, 48)

    def encode(patches):
        images = patches.reshape(FRAMES, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, FRAMES, 16, 16, 3)
        return tiny_model.aggregator.encode(images).reshape(-1, 16)

    own = frame_of(PATCHES)[:, None] == frame_of(PATCHES)
    np.testing.assert_array_equal(influence(encode, patches) > 0, own)


def test_frame_attention_sees_its_own_frame_global_attention_every_frame(tiny_model, patch_tokens):
    def first_layer(half):
        def run(patch_tokens):
            return tiny_model.aggregator(patch_tokens, (16, 16), layers=[0])[0][..., half]

        return run

    own = frame_of(SPECIAL + PATCHES)[:, None] == frame_of(PATCHES)
    np.testing.assert_array_equal(influence(first_layer(slice(0, 16)), patch_tokens) > 0, own)
    assert (influence(first_layer(slice(16, 32)), patch_tokens) > 0).all()


def test_attention_is_over_tokens_not_heads(tiny_model):
    """Two heads over tokens: with one head's output cut off, the other head's still sees every token."""
    x = jax.random.normal(jax.random.key(2), (1, 7, 16))
    attention = tiny_model.aggregator.global_blocks[0].attn
    kernel = attention.proj.kernel[...]
    for head in range(2):
        attention.proj.kernel[...] = kernel.at[8 * head : 8 * head + 8].set(0)
        assert (influence(lambda x: attention(x)[0], x[0][None]) > 0).all()


def test_first_frame_is_special_and_the_others_are_alike(tiny_model, patch_tokens):
    """Without the reference frame's own tokens, permuting the other frames permutes their outputs."""
    run = jax.jit(lambda tokens: tiny_model.aggregator(tokens, (16, 16), layers=[3])[0])
    plain, swapped, rotated = (run(patch_tokens[:, order]) for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0]))
    np.testing.assert_allclose(swapped, plain[:, [0, 2, 1]], atol=1e-5)
    assert np.abs(rotated - plain[:, [1, 2, 0]]).max() > 1e-2


def test_sequences_of_a_batch_are_independent(tiny_model, tiny_images):
    graphdef, params = nnx.split(tiny_model)
    run = jax.jit(lambda params, images: nnx.merge(graphdef, params)(images))
    one, other = tiny_images, tiny_images[:, ::-1] ** 2
    both = run(params, jnp.concatenate([one, other]))
    for i, alone in enumerate((run(params, one), run(params, other))):
        for name, value in vars(alone).items():
            if value is not None:
                axis = 1 if name.endswith("_list") else 0
                np.testing.assert_allclose(np.take(getattr(both, name), [i], axis), value, rtol=1e-4, atol=1e-5)


def test_every_pose_depends_on_every_frame_and_depth_maps_on_their_own_tokens(tiny_model, patch_tokens):
    tokens = jax.random.normal(jax.random.key(3), (4, 1, FRAMES, SPECIAL + PATCHES, 32))
    last = tokens[-1]

    def poses(camera_tokens):
        return tiny_model.camera_head(last.at[:, :, 0].set(camera_tokens))[-1]

    assert (influence(poses, last[:, :, 0]) > 0).all()

    @jax.jit
    def depth(first_frame):
        return tiny_model.depth_head(tokens.at[:, :, 0].set(first_frame), (16, 16))[0].reshape(FRAMES, -1, 2)

    change = depth(-tokens[:, :, 0]) - depth(tokens[:, :, 0])
    # A pixel may stay where a ReLU cuts off every channel of the last hidden layer.
    assert (change[0] != 0).any(-1).mean() > 0.9 and (change[1:] == 0).all()


def test_layers_that_nobody_reads_change_nothing(tiny_model, patch_tokens):
    def run(layers):
        return jax.jit(lambda tokens: tiny_model.aggregator(tokens, (16, 16), layers=layers))(patch_tokens)

    every = run([0, 1, 2, 3])
    np.testing.assert_allclose(run([1, 3]), every[np.asarray([1, 3])], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run([2])[0], every[2], rtol=1e-5, atol=1e-6)
