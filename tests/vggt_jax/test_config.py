import json
from dataclasses import replace
from math import prod
from pathlib import Path

import jax
import pytest
from flax import nnx

from subspace.errors import InputError
from vggt_jax import DenseHeadConfig, VGGTConfig
from vggt_jax.adaptable import ConvGeometry
from vggt_jax.parameters import abstract_model, adaptable_matrices, parameter_shapes

FIXTURES = Path(__file__).parents[1] / "fixtures"


def counts(config):
    """Parameters of each part, in the words of the reference data."""
    found = {}
    for path, shape in parameter_shapes(config).items():
        for part in (path.split(".")[0], ".".join(path.split(".")[:2])):
            found[part] = found.get(part, 0) + prod(shape)
    return found | {"total": sum(prod(shape) for shape in parameter_shapes(config).values())}


def test_small_model_has_the_official_parameter_counts():
    content = json.loads((FIXTURES / "vggt_small" / "config.json").read_text())
    expected = content["param_counts"]
    found = counts(VGGTConfig.from_json(content))
    assert {part: found[part] for part in expected} == expected


def test_full_model_has_the_official_parameter_counts():
    expected = json.loads((FIXTURES / "vggt_1b_manifest.json").read_text())["param_counts"]
    found = counts(VGGTConfig.vggt_1b())
    found["aggregator.other"] = found["aggregator.camera_token"] + found["aggregator.register_token"]
    assert {part: found[part] for part in expected} == expected
    assert found["total"] == 1_256_537_516


def test_nano_is_small_enough_to_ship():
    config = VGGTConfig.nano()
    assert counts(config)["total"] == 4_679_416
    assert (config.image_size // config.patch_size) ** 2 == 144


@pytest.mark.parametrize("config", [VGGTConfig.nano(), VGGTConfig.vggt_1b()], ids=["nano", "vggt_1b"])
def test_goes_through_json(config, tmp_path):
    file = tmp_path / "config.json"
    changed = replace(config, heads=("depth",), dtype="bfloat16", remat=True)
    file.write_text(json.dumps(changed.to_dict()))
    assert VGGTConfig.from_json(file) == changed
    assert VGGTConfig.from_json(changed.to_dict()) == changed


def test_knows_the_shapes_that_it_was_trained_on():
    nano, official = VGGTConfig.nano(), VGGTConfig.vggt_1b()
    assert [nano.knows(height, 96) for height in (88, 96, 104)] == [False, True, False]
    assert [official.knows(height, 518) for height in (154, 168, 518, 532)] == [False, True, True, False]
    assert official.knows(112, 224) and not official.knows(224, 112)
    assert "trained_heights" not in official.to_dict(), "configurations of earlier versions keep their digests"
    wide = replace(nano, trained_heights=(48, 96))
    assert wide.knows(56, 96) and VGGTConfig.from_json(json.loads(json.dumps(wide.to_dict()))) == wide


def test_reads_the_official_arguments():
    config = VGGTConfig.from_json(FIXTURES / "vggt_small" / "config.json")
    assert (config.width, config.encoder.depth, config.aggregator.depth, config.camera.depth) == (64, 3, 5, 2)
    assert config.track.extractor.layers == config.depth.layers == (0, 2, 3, 4)
    assert (config.track.corr_levels, config.track.corr_radius, config.track.num_virtual_tracks) == (5, 3, 64)


def test_only_the_layers_that_existing_heads_read():
    config = replace(VGGTConfig.vggt_1b(), point=DenseHeadConfig(layers=(0, 1, 2, 3)))
    assert config.layers == (0, 1, 2, 3, 4, 11, 17, 23)
    assert replace(config, heads=("camera",)).layers == (23,)
    assert replace(config, heads=("point",)).layers == (0, 1, 2, 3)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 500}, "image_size 500 is not a multiple of patch_size 14"),
        ({"width": 1000}, "encoder.num_heads 16 does not divide its width 1000"),
        ({"width": 96}, "multiple of 4 channels a head, got 6"),
        ({"heads": ("depth", "normals")}, "heads has 'normals'"),
        ({"heads": ("depth", "depth")}, "repeats one"),
        (
            {"depth": DenseHeadConfig(layers=(4, 11, 17, 24))},
            r"depth: layers \(4, 11, 17, 24\) must ascend within 0..23",
        ),
        ({"dtype": "float16"}, "dtype 'float16' is not one of float32, bfloat16"),
        ({"frames_chunk": 0}, "frames_chunk 0"),
        ({"trained_heights": (518, 168)}, r"trained_heights \(518, 168\)"),
    ],
)
def test_contradictions_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(VGGTConfig.vggt_1b(), **changes)


@pytest.mark.wrong_types
def test_unknown_entries_are_named():
    with pytest.raises(ValueError, match="EncoderConfig has no colour"):
        VGGTConfig.from_json({"encoder": {"colour": 1}})


@pytest.mark.parametrize("text", ["5", "null", "[]", '"embed_dim"'])
def test_other_json_is_no_configuration(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError):
        VGGTConfig.from_json(tmp_path / "config.json")


def test_every_abstract_model_is_its_own():
    config = VGGTConfig.nano()
    changed, other = abstract_model(config), abstract_model(config)
    changed.aggregator.camera_token.set_value(1)
    del changed.depth_head
    for model in (other, abstract_model(config)):
        leaves = jax.tree.leaves(nnx.state(model))
        assert len(leaves) > 100 and all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
        assert model.depth_head


def test_adaptable_matrices_of_the_full_model():
    matrices = adaptable_matrices(VGGTConfig.vggt_1b())
    assert sum(prod(matrix.stack) for matrix in matrices.values()) == 242
    assert sum(prod(m.stack) for path, m in matrices.items() if path.startswith("aggregator")) == 192
    qkv = matrices["aggregator.frame_blocks.attn.qkv"]
    assert (qkv.stack, qkv.n, qkv.m, qkv.conv) == ((24,), 3072, 1024, None)
    resize = matrices["depth_head.resize_layers.3"]
    assert (resize.stack, resize.n, resize.m) == ((), 1024, 9 * 1024)
    assert resize.conv == ConvGeometry(kernel=3, stride=2, padding=1)
