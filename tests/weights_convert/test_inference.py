"""Sizes read off the tensors, against the configurations that made them."""

import json
from dataclasses import replace

import pytest

from tests.weights_convert.conftest import SMALL
from tests.weights_convert.random_checkpoint import vggt_1b_shapes
from vggt_jax import VGGTConfig
from vggt_jax.config import CameraHeadConfig, EncoderConfig
from vggt_jax.parameters import parameter_shapes
from weights_convert import read_config
from weights_convert.inference import infer_config
from weights_convert.names import OFFICIAL


def official_shapes(config):
    """What the official checkpoint of a configuration looks like."""
    leaves = parameter_shapes(config)
    return {name: piece.source_shape(leaves[piece.path]) for name, piece in OFFICIAL.names(leaves).items()}


def test_vggt_1b():
    """All 1,797 tensors of the official manifest, each used once."""
    shapes = vggt_1b_shapes()
    assert infer_config(shapes) == VGGTConfig.vggt_1b()
    assert len(OFFICIAL.plan(shapes, parameter_shapes(VGGTConfig.vggt_1b()))) == len(shapes) == 1797


def deep(config):
    """``config`` with the depth from which inference knows the dense heads' layers."""
    layers = VGGTConfig.vggt_1b().depth.layers
    dense = {name: replace(getattr(config, name), layers=layers) for name in ("depth", "point")}
    track = replace(config.track, extractor=replace(config.track.extractor, layers=layers), max_scale=518.0)
    return replace(config, aggregator=replace(config.aggregator, depth=24), track=track, **dense)


SMALL_CONFIG = VGGTConfig.from_json(SMALL / "config.json")
VARIANTS = {
    "small": SMALL_CONFIG,
    "uneven": replace(
        SMALL_CONFIG,
        image_size=48,
        patch_size=16,
        width=48,
        encoder=EncoderConfig(depth=2, num_heads=3, mlp_ratio=100 / 48, num_registers=2),
        aggregator=replace(SMALL_CONFIG.aggregator, num_heads=3, mlp_ratio=3.0, num_registers=3),
        camera=CameraHeadConfig(depth=1, num_heads=3, mlp_ratio=2.0),
        depth=replace(SMALL_CONFIG.depth, features=8, out_channels=(4, 8, 12, 16), last_features=4),
        point=replace(SMALL_CONFIG.point, features=12, last_features=6),
        track=replace(
            SMALL_CONFIG.track, corr_levels=2, corr_radius=2, time_depth=4, mlp_ratio=2.0, num_virtual_tracks=7
        ),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_size(name):
    config = deep(VARIANTS[name])
    inferred = infer_config(official_shapes(config))
    # The initial values of scales leave no trace, and matter to no loaded model.
    for part in ("encoder", "aggregator", "camera"):
        scale = getattr(config, part).layer_scale
        inferred = replace(inferred, **{part: replace(getattr(inferred, part), layer_scale=scale)})
    assert inferred == config


def test_fewer_heads_of_another_depth():
    """Without dense heads any depth is clear."""
    config = replace(SMALL_CONFIG, heads=("camera",))
    inferred = infer_config(official_shapes(config))
    assert (inferred.heads, inferred.aggregator.depth, inferred.encoder.depth) == (("camera",), 5, 3)


def test_dense_heads_of_another_depth_need_a_configuration():
    with pytest.raises(ValueError, match="has 5 layers where VGGT-1B has 24"):
        infer_config(official_shapes(SMALL_CONFIG))


def test_a_missing_tensor_is_left_to_the_comparison():
    """Where a size cannot be read, VGGT-1B's stands in, so that all that is missing can be reported together."""
    shapes = vggt_1b_shapes()
    for name in list(shapes):
        if not any(f".{i}." in name for i in range(24)):
            del shapes[name]
    assert infer_config(shapes) == VGGTConfig.vggt_1b()
    assert infer_config({name: () for name in vggt_1b_shapes()}) == VGGTConfig.vggt_1b()
    assert infer_config({}) == replace(VGGTConfig.vggt_1b(), heads=())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"img_size": 70, "patch_size": 14, "embed_dim": 32},
            r"config.json: says embed_dim 32, the tensors .* have 64",
        ),
        ({"vocab_size": 3}, "config.json: has no sizes of a VGGT"),
        ({"width": 64, "deepness": 3}, "config.json: VGGTConfig has no deepness"),
        ({"embed_dim": 64, "dino": {}}, "config.json: has no "),
        ({"width": "wide"}, "config.json: "),
        ([1, 2], "config.json: needs a JSON object, holds a list"),
        ("{", "config.json: not JSON"),
    ],
)
def test_configurations_that_cannot_be_used(official, content, message, monkeypatch):
    monkeypatch.setattr("weights_convert.checkpoint.infer_config", lambda shapes: SMALL_CONFIG)
    (official / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_config(official)


def test_hugging_face_configuration_that_agrees(official, monkeypatch):
    monkeypatch.setattr("weights_convert.checkpoint.infer_config", lambda shapes: SMALL_CONFIG)
    (official / "config.json").write_text(json.dumps({"img_size": 70, "patch_size": 14, "embed_dim": 64}))
    assert read_config(official) == SMALL_CONFIG


def test_converted_weights_need_their_configuration(converted, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(converted / "model.safetensors")
    with pytest.raises(ValueError, match=r"config.json: needed with converted weights, but is missing"):
        read_config(tmp_path)
