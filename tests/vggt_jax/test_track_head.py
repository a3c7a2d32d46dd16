"""The tracker alone, fed with the official feature maps, and its behaviour beyond the official arrays.

The whole model's parity tests cover the other cases, where no feature maps are stored.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vggt_jax.config import DenseHeadConfig, TrackHeadConfig
from vggt_jax.correlation import feature_pyramid, sample_features
from vggt_jax.track_head import Tracker

PREFIX = "track_head.tracker."


@pytest.fixture(scope="module")
def tracker(small):
    return small.model().track_head.tracker


@pytest.fixture(scope="module")
def case(reference):
    return reference("case_a")


@pytest.fixture(scope="module")
def official_loss(reference):
    return reference("grads_case")


@pytest.fixture(scope="module")
def inputs(case):
    return jnp.asarray(case["probe_track_feature_maps"].transpose(0, 1, 3, 4, 2)), jnp.asarray(case["query_points"])


@pytest.fixture(scope="module")
def track(tracker):
    """The jitted tracker, with its parameters as an argument so that all tests share one compilation."""
    graphdef, params = nnx.split(tracker)
    jitted = jax.jit(lambda params, maps, points: nnx.merge(graphdef, params)(maps, points))
    return lambda maps, points: jitted(params, maps, points)


@pytest.fixture(scope="module")
def first_iteration(tracker, inputs):
    """Pyramid, coordinates, features and the query's context that the first iteration starts from."""
    maps, points = tracker.fmap_norm(inputs[0]), inputs[1] / tracker.config.stride
    frames = maps.shape[1]
    coords = jnp.repeat(points[:, :, None], frames, axis=2)
    features = jnp.repeat(sample_features(maps[:, 0], points)[:, :, None], frames, axis=2)
    pyramid = feature_pyramid(maps, tracker.config.corr_levels)
    return pyramid, coords, features, tracker.query_context(points, frames, maps.shape[2:4])


def test_correlations_of_the_first_iteration(tracker, case, first_iteration, error_of):
    pyramid, coords, features, _ = first_iteration
    correlations = tracker.correlations(pyramid, coords, features)
    expected = case["probe_track_corr_iter0"].reshape(correlations.shape)
    assert error_of(correlations, expected) <= 1e-5
    assert error_of(tracker.corr_mlp(correlations)[0], case["probe_track_corr_mlp_iter0"]) <= 1e-5


def test_tokens_and_update_of_the_first_iteration(tracker, case, first_iteration, error_of):
    pyramid, coords, features, context = first_iteration
    tokens = tracker.tokens(pyramid, coords, features) + context
    assert error_of(tokens, case["probe_track_updateformer_in_iter0"]) <= 1e-5
    assert error_of(tracker.updateformer(tokens), case["probe_track_updateformer_out_iter0"]) <= 1e-5


def test_tracks_of_all_iterations(track, inputs, case, error_of):
    tracks, visibility, confidence = track(*inputs)
    assert tracks.shape == case["track_list"].shape
    for actual, expected in zip(tracks, case["track_list"], strict=True):
        assert error_of(actual, expected) <= 2e-5
    assert error_of(tracks[-1], case["track"]) <= 2e-5
    assert error_of(visibility, case["vis"]) <= 1e-4
    assert error_of(confidence, case["conf"]) <= 1e-4


@pytest.fixture(scope="module")
def loss_and_gradients(tracker, official_loss):
    """The official weighting of coordinates, visibility and confidence; gradients by parameters, maps and points."""
    graphdef, params = nnx.split(tracker)

    def loss(params, maps, points):
        outputs = nnx.merge(graphdef, params)(maps, points)
        weights = (official_loss[f"w_{name}"] for name in ("track_list", "vis", "conf"))
        return sum(jnp.mean(weight * output) for weight, output in zip(weights, outputs, strict=True))

    jitted = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    return lambda maps, points: jitted(params, maps, points)


@pytest.mark.slow
def test_official_gradients_show_every_stop_gradient(loss_and_gradients, inputs, official_loss, error_of):
    value, (gradient, _, _) = loss_and_gradients(*inputs)
    np.testing.assert_allclose(value, official_loss["loss_track"], rtol=1e-5)
    transformer = gradient["updateformer"]
    for name, actual in {
        "updateformer.flow_head.weight": transformer["flow_head"]["kernel"][...].T,
        "corr_mlp.fc1.weight": gradient["corr_mlp"]["fc1"]["kernel"][...].T,
        "query_ref_token": gradient["query_ref_token"][...],
        "updateformer.virual_tracks": transformer["virual_tracks"][...],
        "updateformer.time_blocks.0.attn.in_proj_weight": transformer["time_blocks"]["attn"]["in_proj"]["kernel"][0].T,
        "vis_predictor.0.weight": gradient["vis_predictor"][0]["kernel"][...].T,
    }.items():
        assert error_of(actual, official_loss[f"grad_track/{PREFIX}{name}"]) <= 2e-4


@pytest.mark.slow
def test_gradients_are_finite_for_points_on_and_beyond_the_border(loss_and_gradients, inputs, official_loss, error_of):
    maps, _ = inputs
    points = jnp.asarray([[[0, 0], [69, 69], [68, 1.5], [-50, 4], [1e9, -1e9], [70, 69.5]]], jnp.float32)
    _, (by_params, by_maps, by_points) = loss_and_gradients(maps, points)
    for leaf in jax.tree.leaves((by_params, by_maps)):
        assert np.isfinite(leaf).all()
    # Frame 0 passes the query on in every iteration; everything else is detached from it.
    weights = official_loss["w_track_list"]
    assert error_of(by_points, weights[:, :, 0].sum(0) / weights.size) <= 1e-5


def test_first_frame_stays_at_the_query(track, inputs):
    tracks, _, _ = track(*inputs)
    np.testing.assert_array_equal(tracks[:, :, 0], np.broadcast_to(inputs[1], tracks[:, :, 0].shape))


def test_a_track_depends_on_the_other_tracks_and_frames(track, inputs):
    maps, points = inputs
    tracks, visibility, _ = track(maps, points)
    moved_tracks, moved_visibility, _ = track(maps, points.at[:, -1].add(9.0))
    assert np.abs(moved_tracks[-1, :, 1:, 0] - tracks[-1, :, 1:, 0]).max() > 1e-3
    assert np.abs(moved_visibility[:, :, 0] - visibility[:, :, 0]).max() > 1e-4
    changed_tracks, _, _ = track(maps.at[:, 2].multiply(-1.0), points)
    assert np.abs(changed_tracks[-1, :, 1] - tracks[-1, :, 1]).max() > 1e-3


def test_order_of_the_points_does_not_matter(track, inputs, error_of):
    maps, points = inputs
    tracks, visibility, confidence = track(maps, points)
    reversed_tracks, reversed_visibility, reversed_confidence = track(maps, points[:, ::-1])
    assert error_of(reversed_tracks[..., ::-1, :], np.asarray(tracks)) <= 2e-5
    assert error_of(reversed_visibility[..., ::-1], np.asarray(visibility)) <= 1e-4
    assert error_of(reversed_confidence[..., ::-1], np.asarray(confidence)) <= 1e-4


def small_tracker(dtype="float32", **sizes):
    defaults = {"hidden_size": 16, "space_depth": 1, "time_depth": 2, "num_heads": 2, "num_virtual_tracks": 4}
    config = TrackHeadConfig(
        extractor=DenseHeadConfig(features=8), corr_levels=2, corr_radius=1, iterations=2, **{**defaults, **sizes}
    )
    return Tracker(config, dtype=dtype, rngs=nnx.Rngs(0))


def test_bfloat16_matrix_products_keep_float32_tracks():
    """Only traced: the iterations' loop refuses a state whose types change."""
    maps, points = jnp.zeros((1, 2, 6, 5, 8), jnp.bfloat16), jnp.zeros((1, 3, 2))
    outputs = nnx.eval_shape(lambda: small_tracker("bfloat16")(maps, points))
    assert [output.shape for output in outputs] == [(2, 1, 2, 3, 2), (1, 2, 3), (1, 2, 3)]
    assert all(output.dtype == jnp.float32 for output in outputs)


def test_full_size_has_the_official_number_of_parameters():
    tracker = nnx.eval_shape(lambda: Tracker(TrackHeadConfig(), rngs=nnx.Rngs(0)))
    # The sum over track_head.tracker.* in the full model's manifest.
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(tracker))) == 43_107_348


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("maps", "points", "iterations", "message"),
    [
        (
            (1, 2, 6, 5, 7),
            (1, 3, 2),
            1,
            r"feature_maps must have shape \(B, S, height, width, 8\), got \(1, 2, 6, 5, 7\)",
        ),
        ((2, 6, 5, 8), (1, 3, 2), 1, "feature_maps must have shape"),
        ((1, 2, 6, 5, 8), (2, 3, 2), 1, r"query_points must have shape \(B, N, 2\) with B = 1, got \(2, 3, 2\)"),
        ((1, 2, 6, 5, 8), (1, 3, 3), 1, "query_points must have shape"),
        ((1, 2, 6, 5, 8), (1, 0, 2), 1, "query_points holds no point"),
        ((1, 2, 6, 5, 8), (1, 3, 2), 0, "iterations must be at least 1"),
        ((1, 2, 6, 1, 8), (1, 3, 2), 1, "too small for 2 correlation levels"),
    ],
)
def test_bad_inputs_are_named(maps, points, iterations, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: small_tracker()(jnp.zeros(maps), jnp.zeros(points), iterations))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"space_depth": 2, "time_depth": 3}, "space_depth 2 must divide time_depth 3"),
        ({"num_heads": 3}, "num_heads 3 must divide hidden_size 16"),
    ],
)
def test_contradictory_sizes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        small_tracker(**sizes)


@pytest.mark.wrong_types
def test_features_that_the_embeddings_cannot_divide_are_named():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        Tracker(TrackHeadConfig(extractor=DenseHeadConfig(features=6)), rngs=nnx.Rngs(0))
