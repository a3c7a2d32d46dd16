"""The model as a user meets it: inputs, outputs, choices."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vggt_jax import VGGT, VGGTConfig
from vggt_jax.blocks import Block
from vggt_jax.parameters import abstract_model


def test_nano_says_something_about_images_of_any_size():
    config = VGGTConfig.nano()
    model = nnx.eval_shape(lambda: VGGT(config, rngs=nnx.Rngs(0)))
    found = nnx.eval_shape(lambda model: model(jnp.zeros((2, 5, 64, 112, 3))), model)
    shapes = {name: value.shape for name, value in vars(found).items() if value is not None}
    assert shapes == {
        "pose_enc": (2, 5, 9),
        "pose_enc_list": (4, 2, 5, 9),
        "depth": (2, 5, 64, 112, 1),
        "depth_conf": (2, 5, 64, 112),
        "world_points": (2, 5, 64, 112, 3),
        "world_points_conf": (2, 5, 64, 112),
    }
    assert {value.dtype for value in vars(found).values() if value is not None} == {jnp.dtype("float32")}


def test_a_model_without_heads_says_that_it_has_none():
    model = nnx.eval_shape(lambda: VGGT(replace(VGGTConfig.nano(), heads=()), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="this model has no heads"):
        model(jnp.zeros((1, 1, 96, 96, 3)))


@pytest.mark.slow
def test_initial_block_is_reasonable():
    """PyTorch's bounds, neutral layer scales, no two layers alike."""
    blocks = Block(16, 2, mlp_ratio=4.0, layer_scale=0.01, qk_norm=True, stack=(3,), rngs=nnx.Rngs(0))
    kernel = np.asarray(blocks.mlp.fc2.kernel[...])
    assert kernel.shape == (3, 64, 16)
    assert 0.9 / 8 < np.abs(kernel).max() <= 1 / 8
    assert not np.allclose(kernel[0], kernel[1])
    assert (blocks.ls1.gamma[...] == np.float32(0.01)).all()


@pytest.mark.slow
def test_initial_model_is_reasonable(tiny, tiny_images):
    model = VGGT(tiny, rngs=nnx.Rngs(0))
    found = nnx.jit(lambda model: model(tiny_images))(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert (found.depth > 0).all() and (found.depth_conf > 1).all()


@pytest.fixture
def predict(tiny, random_model_of, tiny_images):
    """The predictions of the tiny model with other choices, and handed-over features if any."""

    def run(patch_tokens=None, **choices):
        graphdef, params = nnx.split(random_model_of(replace(tiny, **choices), 0))
        return jax.jit(lambda params: nnx.merge(graphdef, params)(tiny_images, patch_tokens=patch_tokens))(params)

    return run


def test_heads_left_out_change_nothing_for_the_others(tiny_model, predict, tiny_images):
    both = predict()
    params = nnx.state(tiny_model)
    config = replace(tiny_model.config, heads=("depth",))
    fewer = nnx.State({name: part for name, part in params.items() if name != "camera_head"})
    graphdef = nnx.graphdef(abstract_model(config))
    alone = jax.jit(lambda params: nnx.merge(graphdef, params)(tiny_images))(fewer)
    assert alone.pose_enc is None and alone.world_points is None and alone.track is None
    np.testing.assert_allclose(alone.depth, both.depth, rtol=1e-5)


def test_chunks_of_frames_change_nothing(tiny, random_model_of):
    tokens = jax.random.normal(jax.random.key(3), (4, 1, 5, 18, 32))

    def depth(size):
        graphdef, params = nnx.split(random_model_of(replace(tiny, frames_chunk=size), 0))
        return jax.jit(lambda params: nnx.merge(graphdef, params).depth_head(tokens, (16, 16)))(params)

    whole = depth(8)
    for size in (1, 2, 4):  # 5 frames: one by one; in twos with one of padding; in threes, two chunks being enough
        np.testing.assert_allclose(depth(size), whole, rtol=1e-5, atol=1e-6)


def test_encoder_features_can_be_handed_over(tiny_model, predict, tiny_images):
    features = jax.jit(tiny_model.aggregator.encode)(tiny_images)
    assert features.shape == (1, 3, 16, 16)
    handed, computed = predict(features), predict()
    np.testing.assert_allclose(handed.depth, computed.depth, rtol=1e-5)
    np.testing.assert_allclose(handed.pose_enc, computed.pose_enc, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_bfloat16_stays_near_float32(predict):
    """Rounding at every product: 2⁻⁹ each, a few percent in the end; not equal, or the choice had no effect."""
    exact, rounded = predict(), predict(dtype="bfloat16")
    for name in ("pose_enc", "depth", "depth_conf"):
        one, other = getattr(rounded, name), getattr(exact, name)
        assert one.dtype == jnp.float32
        assert 1e-4 < np.abs(one - other).max() / np.abs(other).max() < 0.1


@pytest.mark.slow
def test_weights_stored_in_bfloat16_are_rounded_and_nothing_else(small, reference):
    """All heads: the same predictions as from the rounded weights in float32."""
    case = reference("case_b")
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), small.params)
    run = jax.jit(
        lambda params: nnx.merge(small.graphdef, params)(jnp.asarray(case["images"]), jnp.asarray(case["query_points"]))
    )
    found, expected = run(half), run(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_cached_features_may_be_bfloat16(tiny_model, predict, tiny_images):
    features = jax.jit(tiny_model.aggregator.encode)(tiny_images)
    found, exact = predict(features.astype(jnp.bfloat16)), predict()
    assert found.depth.dtype == jnp.float32
    assert np.abs(found.depth - exact.depth).max() < 0.05 * np.abs(exact.depth).max()


def test_bfloat16_is_the_type_of_every_product_in_the_aggregator(tiny, random_model_of, tiny_images):
    graphdef, params = nnx.split(random_model_of(replace(tiny, dtype="bfloat16"), 0))

    def tokens(params):
        aggregator = nnx.merge(graphdef, params).aggregator
        return aggregator(aggregator.encode(tiny_images), (16, 16), layers=[3])

    text = jax.jit(tokens).lower(params).as_text()
    products = [
        line for line in text.splitlines() if "stablehlo.dot_general" in line or "stablehlo.convolution" in line
    ]
    # softmax(q kᵀ) is summed in float32 from products of bfloat16
    assert products and all("xbf16>, tensor" in line for line in products)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 16, 16, 3), r"images: needs the shape \(B, S, H, W, 3\), got \(3, 16, 16, 3\)"),
        ((1, 2, 3, 16, 16), r"images: needs the shape \(B, S, H, W, 3\), got \(1, 2, 3, 16, 16\)"),
        ((1, 2, 16, 18, 3), r"multiples of the patch size 4, none of them 0, got \(1, 2, 16, 18, 3\)"),
        ((1, 0, 16, 16, 3), "none of them 0"),
    ],
)
def test_wrong_images_are_named(tiny_model, shape, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(jnp.zeros(shape))


@pytest.mark.wrong_types
def test_bytes_are_not_images_in_0_to_1(tiny_model):
    with pytest.raises(ValueError, match="images: needs floating-point values in \\[0, 1\\], got uint8"):
        tiny_model(jnp.zeros((1, 1, 16, 16, 3), jnp.uint8))


def test_points_need_a_track_head(tiny_model, tiny_images):
    with pytest.raises(ValueError, match="query_points: this model has no track head"):
        tiny_model(tiny_images, jnp.zeros((1, 2, 2)))


@pytest.mark.wrong_types
def test_features_of_another_size_are_named(tiny_model, tiny_images):
    with pytest.raises(ValueError, match=r"patch_tokens: needs the shape \(1, 3, 16, 16\), got \(1, 3, 9, 16\)"):
        tiny_model(tiny_images, patch_tokens=jnp.zeros((1, 3, 9, 16)))
