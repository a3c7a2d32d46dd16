"""Every stored array of the official model, against this one in float32."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vggt_jax.correlation import feature_pyramid, sample_features
from vggt_jax.geometry import unproject_depth
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.rope import rotation

CASES = ("case_a", "case_b", "case_c")
COMPILED_ANEW = CASES[1:]
"""Of other shapes than the first."""
INPUTS = ("images", "query_points")


def stored_names(case):
    with np.load(Path(__file__).parents[1] / "fixtures" / "vggt_small" / f"{case}.npz") as stored:
        return [name for name in stored.files if name not in INPUTS]


def tolerance(name):
    """The tolerances that the reference data's README suggests: 10 to 20 times the official model's own float32 noise."""
    if name in ("vis", "conf"):
        return 1e-4
    dense = ("depth", "world_points", "unprojected", "track", "probe_depth_head", "probe_point_head", "probe_track")
    return 2e-5 if name.startswith(dense) else 1e-5


def intermediate(model, images, query_points):
    """What happens inside, through the same methods that the model calls, under the reference's names."""
    aggregator, size = model.aggregator, images.shape[2:4]
    encoder = aggregator.patch_embed
    b, s = images.shape[:2]
    normalised = aggregator.normalise(images.reshape(b * s, *size, 3))
    embedded = encoder.embed(normalised)
    found = {
        "probe_dino_conv_patches": encoder.patch_embed(normalised),
        "probe_dino_tokens_in": embedded,
        "probe_dino_block0_out": encoder.blocks[0](embedded),
        "probe_dino_cls_token": encoder.all_tokens(normalised)[:, 0],
        "dino_patch_tokens": encoder(normalised),
    }

    patch_tokens = aggregator.encode(images)
    entering = aggregator.assemble(patch_tokens)
    by_frame = entering.reshape(b * s, *entering.shape[2:])
    frame_rope, global_rope = aggregator.rotations(*size, frames=s)
    frame_block, global_block = aggregator.frame_blocks[0], aggregator.global_blocks[0]
    within = frame_block(by_frame, rope=frame_rope)
    found |= {
        "probe_aggregator_tokens_in": by_frame,
        "probe_frame_block0_attn_out": frame_block.attn(frame_block.norm1(by_frame), rope=frame_rope),
        "probe_frame_block0_out": within,
        "probe_global_block0_out": global_block(within.reshape(b, -1, within.shape[-1]), rope=global_rope),
    }
    tokens = aggregator(patch_tokens, size, layers=range(model.config.aggregator.depth))
    found |= {f"agg_tokens_{layer}": tokens[layer] for layer in range(len(tokens))}

    head = model.camera_head
    camera_tokens = head.camera_tokens(tokens[-1])
    empty = jnp.broadcast_to(head.empty_pose_tokens[...], (b, s, 9))
    found |= {
        "probe_camera_token_normed": camera_tokens,
        "probe_camera_trunk_out_iter0": head.refined_tokens(camera_tokens, empty),
    }

    for name in ("depth", "point"):
        head = getattr(model, f"{name}_head")
        read = tokens[jnp.asarray(getattr(model.config, name).layers)][..., model.config.patch_start :, :]
        maps = head.pyramid(read.reshape(4, b * s, *read.shape[-2:]), size)
        fused = head.fuse(maps)
        probes = {f"resize{i}": x for i, x in enumerate(maps)}
        probes |= {"refinenet1": fused[0], "refinenet4": fused[3], "output_conv1": head.scratch.output_conv1(fused[0])}
        found |= {f"probe_{name}_head_{probe}": x.transpose(0, 3, 1, 2) for probe, x in probes.items()}

    tracker = model.track_head.tracker
    read = tokens[jnp.asarray(model.config.track.extractor.layers)]
    features = model.track_head.feature_extractor(read, size)
    maps = tracker.fmap_norm(features)
    points = query_points / model.config.track.stride
    coordinates = jnp.repeat(points[:, :, None], s, axis=2)
    queries = jnp.repeat(sample_features(maps[:, 0], points)[:, :, None], s, axis=2)
    pyramid = feature_pyramid(maps, model.config.track.corr_levels)
    correlations = tracker.correlations(pyramid, coordinates, queries).reshape(
        -1, s, tracker.corr_mlp.fc1.kernel.shape[0]
    )
    entering = tracker.tokens(pyramid, coordinates, queries) + tracker.query_context(points, s, maps.shape[2:4])
    return found | {
        "probe_track_feature_maps": features.transpose(0, 1, 4, 2, 3),
        "probe_track_corr_iter0": correlations,
        "probe_track_corr_mlp_iter0": tracker.corr_mlp(correlations),
        "probe_track_updateformer_in_iter0": entering,
        "probe_track_updateformer_out_iter0": tracker.updateformer(entering),
    }


@pytest.fixture(scope="module")
def computed(small, reference):
    """``computed(case)``: everything this model says about a case's inputs, one compilation for each case."""

    def run(params, images, query_points):
        model = nnx.merge(small.graphdef, params)
        predictions = model(images, query_points)
        extrinsic, intrinsic = decode_pose(predictions.pose_enc, images.shape[2:4])
        return intermediate(model, images, query_points) | {
            **{name: value for name, value in vars(predictions).items() if value is not None},
            "extrinsic": extrinsic,
            "intrinsic": intrinsic,
            "unprojected_points": unproject_depth(predictions.depth[..., 0], extrinsic, intrinsic),
        }

    @cache
    def compute(case, jit=jax.jit):
        return jit(run)(small.params, *(jnp.asarray(reference(case)[name]) for name in INPUTS))

    return compute


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, marks=pytest.mark.slow if case in COMPILED_ANEW else ())
        for case in CASES
        for name in stored_names(case)
    ],
)
def test_equals_the_official_model(computed, reference, error_of, case, name):
    assert_official(computed(case), reference(case), error_of, name)


@pytest.mark.slow
def test_as_users_compile_it_equals_the_official_model(computed, reference, error_of, as_users_jit):
    """The case with several sequences and frames."""
    found = computed("case_b", as_users_jit)
    for name in stored_names("case_b"):
        assert_official(found, reference("case_b"), error_of, name)


def assert_official(found, reference, error_of, name):
    found, expected = found[name], reference[name]
    if name.endswith("_list"):  # every iteration by its own size
        for one, other in zip(found, expected, strict=True):
            assert error_of(one, other) <= tolerance(name)
    assert error_of(found, expected) <= tolerance(name)


def test_fields_of_view_cut_to_zero(small, reference, error_of):
    case = reference("case_camera_extra")
    found = small.model().camera_head(jnp.asarray(case["last_layer_tokens"]))
    assert (case["pose_enc_list"][..., 7:] == 0).any()
    assert error_of(found, case["pose_enc_list"]) <= 1e-5


def small_variance(model, case):
    """Single modules on inputs so small that a wrong epsilon of a norm shows."""
    aggregator = model.aggregator
    part = model.config.aggregator
    rope = rotation(jnp.asarray(case["frame_pos_yx"][0]), model.config.width // part.num_heads, part.rope_base)
    frame_block = aggregator.frame_blocks[0]
    attention = aggregator.frame_blocks[0].attn
    attention.qkv.kernel[...] = jnp.asarray(case["frame_attn_qkv_weight"]).T
    attention.qkv.bias[...] = jnp.asarray(case["frame_attn_qkv_bias"])
    return {
        "dino_block": aggregator.patch_embed.blocks[0],
        "dino_final_norm": aggregator.patch_embed.norm,
        "frame_block": lambda x: frame_block(x, rope=rope),
        "frame_attn": lambda x: attention(x, rope=rope),
        "camera_trunk_block": model.camera_head.trunk[0],
        "camera_tokens": model.camera_head,
        "depth_norm": model.depth_head.norm,
        "fmap_norm": model.track_head.tracker.fmap_norm,
        "updateformer": model.track_head.tracker.updateformer,
    }


@pytest.mark.parametrize(
    "name", [n.removeprefix("out_") for n in stored_names("case_small_variance") if n.startswith("out_")]
)
def test_epsilon_of_every_norm(small, reference, error_of, name):
    case = reference("case_small_variance")
    module = small_variance(small.model(), case)[name]
    assert error_of(module(jnp.asarray(case[f"in_{name}"])), case[f"out_{name}"]) <= 1e-5
