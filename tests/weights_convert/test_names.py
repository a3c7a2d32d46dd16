"""The official names: every tensor has one place, and comes back from it bit by bit."""

import json
import re
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from vggt_jax import VGGTConfig
from vggt_jax.parameters import parameter_shapes
from weights_convert.names import OFFICIAL, from_official, leaf_shapes, to_official, without_absent_heads
from weights_convert.table import AS_IS, Rule, Table, assemble, permutation, take_apart

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def small():
    folder = FIXTURES / "vggt_small"
    return VGGTConfig.from_json(folder / "config.json"), load_file(folder / "weights.safetensors")


def manifest():
    """Name → shape of the 1,797 tensors of VGGT-1B; the file writes ``blocks.0-23.`` for 24 layers of one shape."""
    names = {}
    for name, shape in json.loads((FIXTURES / "vggt_1b_manifest.json").read_text())["state_dict"].items():
        if not (layers := re.search(r"\.0-(\d+)\.", name)):
            names[name] = tuple(shape)
            continue
        for layer in range(int(layers[1]) + 1):
            names[name.replace(layers[0], f".{layer}.")] = tuple(shape)
    return names


def test_full_model_has_a_place_for_every_official_tensor():
    names, leaves = manifest(), parameter_shapes(VGGTConfig.vggt_1b())
    assert len(names) == 1797
    pieces = OFFICIAL.plan(names, leaves)
    assert [piece.name for piece in pieces] == list(names)
    filled = {(piece.path, piece.layer) for piece in pieces}
    assert len(filled) == 1797
    assert {path for path, _ in filled} == set(leaves)
    assert set(OFFICIAL.names(leaves)) == set(names)


def test_small_model_comes_back_bit_by_bit(small):
    config, tensors = small
    back = to_official(from_official(tensors, config))
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and back[name].shape == tensor.shape
        assert back[name].tobytes() == tensor.tobytes(), name


def test_half_precision_and_odd_values_survive(small):
    config, tensors = small
    name = "aggregator.global_blocks.1.mlp.fc2.weight"
    odd = tensors[name].copy()
    odd.view(np.uint32)[0, :4] = [
        0x7FC12345,
        0x80000000,
        0x00000001,
        0xFF800000,
    ]  # NaN with a payload, -0, subnormal, -inf
    assert to_official(from_official({**tensors, name: odd}, config))[name].tobytes() == odd.tobytes()
    half = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    back = to_official(from_official(half, config))
    assert all(back[name].tobytes() == half[name].tobytes() for name in half)


def test_layers_are_stacked_in_their_order_and_linears_transposed(small):
    config, tensors = small
    params = from_official(tensors, config)
    for layer in range(5):
        kernel = params["aggregator"]["frame_blocks"]["attn"]["qkv"]["kernel"][layer]
        np.testing.assert_array_equal(kernel, tensors[f"aggregator.frame_blocks.{layer}.attn.qkv.weight"].T)
    conv = params["depth_head"]["scratch"]["output_conv2"][0]["kernel"][...]
    np.testing.assert_array_equal(conv, tensors["depth_head.scratch.output_conv2.0.weight"].transpose(2, 3, 1, 0))


def test_order_of_the_tensors_does_not_matter(small):
    config, tensors = small
    shuffled = dict(sorted(tensors.items(), key=lambda item: hash(item[0])))
    found, expected = (nnx.to_flat_state(from_official(t, config)) for t in (shuffled, tensors))
    for (path, one), (other_path, other) in zip(found, expected, strict=True):
        assert path == other_path
        np.testing.assert_array_equal(one[...], other[...])


@pytest.mark.parametrize("kinds", [("bfloat16", "float32"), ("float32", "bfloat16"), ("float16", "bfloat16")])
def test_layers_of_several_types_are_not_rounded_to_the_first(kinds, small):
    config, tensors = small
    names = [f"aggregator.frame_blocks.{i}.attn.qkv.weight" for i in range(2)]
    mixed = {name: tensors[name].astype(kind) for name, kind in zip(names, kinds, strict=True)}
    back = to_official(from_official({**tensors, **mixed}, config))
    for name, tensor in mixed.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name], tensor.astype(np.float32))
    table = Table([Rule("{a}.{layer}", "{a}")], {"a": "x"})
    values = {"x.0": np.array([0.1], np.float16), "x.1": np.array([0.1], np.float64)}
    leaves = {"x": (2, 1)}
    stack = assemble(table.plan({name: (1,) for name in values}, leaves), values.__getitem__, leaves)["x"]
    np.testing.assert_array_equal(stack[:, 0], [np.float16(0.1), 0.1])


def test_all_problems_are_reported_together(small):
    config, tensors = small
    wrong = dict(tensors)
    del wrong["camera_head.empty_pose_tokens"]
    del wrong["aggregator.frame_blocks.3.attn.qkv.weight"]
    wrong["aggregator.frame_blocks.5.attn.qkv.weight"] = tensors["aggregator.frame_blocks.4.attn.qkv.weight"]
    wrong["aggregator.frame_blocks.04.attn.qkv.weight"] = tensors["aggregator.frame_blocks.4.attn.qkv.weight"]
    wrong["module.camera_head.token_norm.weight"] = tensors["camera_head.token_norm.weight"]
    wrong["depth_head.norm.weight"] = tensors["depth_head.norm.weight"][:-1]
    wrong["depth_head.projects.0.weight"] = tensors["depth_head.projects.0.weight"][:, :, 0, 0]
    with pytest.raises(ValueError) as raised:
        from_official(wrong, config)
    assert str(raised.value).splitlines()[1:] == [
        "  wrong shape: depth_head.norm.weight (127,), the model needs (128,)",
        "  wrong shape: depth_head.projects.0.weight (16, 128), the model needs (16, 128, 1, 1)",
        "  unexpected: aggregator.frame_blocks.5.attn.qkv.weight (192, 64)",
        "  unexpected: module.camera_head.token_norm.weight (128,)",
        "  given twice: aggregator.frame_blocks.attn.qkv.kernel[4] by aggregator.frame_blocks.4.attn.qkv.weight and "
        "aggregator.frame_blocks.04.attn.qkv.weight",
        "  missing: aggregator.frame_blocks.3.attn.qkv.weight",
        "  missing: camera_head.empty_pose_tokens",
    ]


def test_model_with_fewer_heads_takes_a_full_checkpoint(small):
    config, tensors = small
    fewer = replace(config, heads=("camera", "depth"))
    params = from_official(tensors, fewer)
    assert set(params) == {"aggregator", "camera_head", "depth_head"}
    assert set(to_official(params)) == set(without_absent_heads({n: t.shape for n, t in tensors.items()}, fewer))
    with pytest.raises(ValueError, match=r"missing: point_head\.norm\.weight"):
        from_official(to_official(params), config)


def test_parameters_fit_the_model(small):
    config, tensors = small
    assert leaf_shapes(from_official(tensors, config)) == parameter_shapes(config)


def test_a_name_that_two_rules_match_is_reported():
    table = Table([Rule("{a}.weight", "{a}.kernel"), Rule("{b}.weight", "{b}.scale")], {"a": r"x\d?", "b": r"x|y"})
    with pytest.raises(ValueError) as raised:
        table.plan({"x.weight": (1,), "y.weight": (1,)}, {"y.scale": (1,)})
    assert "matched by several rules: x.weight ({a}.weight, {b}.weight)" in str(raised.value)


def test_a_path_that_no_rule_makes_is_reported():
    table = Table([Rule("{a}.weight", "{a}.kernel")], {"a": "x"})
    with pytest.raises(ValueError, match=r"y\.kernel: 0 rules match this path"):
        table.plan({}, {"y.kernel": (1,)})


def test_a_table_is_read_both_ways():
    table = Table(
        [Rule("{a}.{layer}.weight", "{a}.kernel", permutation(1, 2, 0)), Rule("{a}.scalar", "{a}.scalar", AS_IS)],
        {"a": "x"},
    )
    source = {f"x.{i}.weight": np.arange(24).reshape(2, 3, 4) + i for i in (2, 0, 1)} | {"x.scalar": np.array(7.0)}
    leaves = {"x.kernel": (3, 3, 4, 2), "x.scalar": ()}
    pieces = table.plan({name: value.shape for name, value in source.items()}, leaves)
    arrays = assemble(pieces, source.__getitem__, leaves)
    assert {path: array.shape for path, array in arrays.items()} == leaves
    np.testing.assert_array_equal(arrays["x.kernel"][1], source["x.1.weight"].transpose(1, 2, 0))
    back = take_apart(table.names(leaves), arrays)
    assert set(back) == set(source)
    for name, value in source.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].flags.c_contiguous and back[name].shape == value.shape
