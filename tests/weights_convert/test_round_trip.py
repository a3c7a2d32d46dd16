"""Official weights → this project's form → official weights, from every kind of source, bit by bit."""

import json
import sys
import types

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from subspace.errors import InputError
from tests.weights_convert.conftest import SMALL
from vggt_jax import VGGTConfig
from vggt_jax.deltas import dotted
from weights_convert import load_vggt, read_config
from weights_convert.checkpoint import open_checkpoint
from weights_convert.convert import convert
from weights_convert.names import from_official


def assert_identical(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def leaves(model):
    return {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def test_converted_form_is_the_model(converted, tensors):
    """The stored tensors are the parameters themselves, in a file that the safetensors library accepts."""
    config = VGGTConfig.from_json(converted / "config.json")
    assert config == VGGTConfig.from_json(SMALL / "config.json")
    expected = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(from_official(tensors, config))}
    assert_identical(load_file(converted / "model.safetensors"), expected)


@pytest.mark.parametrize("through", ["converted", "official"])
def test_back_bit_by_bit(converted, tensors, tmp_path, through):
    source = {"converted": converted, "official": SMALL}[through]
    convert(open_checkpoint(source), tmp_path / "back.safetensors", to="official")
    assert_identical(load_file(tmp_path / "back.safetensors"), tensors)


def test_written_official_file_needs_no_config_beside_it(converted, tmp_path):
    convert(open_checkpoint(converted), tmp_path / "back.safetensors", to="official")
    assert read_config(tmp_path / "back.safetensors") == read_config(converted)
    convert(open_checkpoint(tmp_path / "back.safetensors"), tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (converted / name).read_bytes()


def test_what_becomes_infinite_in_the_type_to_write_is_refused(folder_with, tensors, tmp_path):
    name = "aggregator.frame_blocks.1.attn.qkv.weight"
    large = np.array(tensors[name])
    large[0, 0] = 3.4e38
    checkpoint = open_checkpoint(folder_with(tensors | {name: large}))
    with pytest.raises(InputError, match=r"frame_blocks\.1\.attn\.qkv\.weight has numbers that bfloat16 cannot hold"):
        convert(checkpoint, tmp_path / "jax", dtype="bfloat16")
    assert not list(tmp_path.glob("jax*"))
    convert(checkpoint, tmp_path / "jax")


def test_not_a_number_and_signed_zero_survive(folder_with, tensors, tmp_path):
    name = "aggregator.frame_blocks.1.attn.qkv.weight"
    strange = np.array(tensors[name])
    strange.view(np.uint32)[0, :5] = [0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000]
    changed = tensors | {name: strange}
    checkpoint = open_checkpoint(folder_with(changed))
    for name, to, dtype in (("jax", "jax", None), ("jax", "jax", "bfloat16"), ("back.safetensors", "official", None)):
        with pytest.raises(InputError, match=r"frame_blocks\.1\.attn\.qkv\.weight has NaN or infinity"):
            convert(checkpoint, tmp_path / name, to=to, dtype=dtype)
    convert(checkpoint, tmp_path / "jax", allow_nonfinite=True)
    convert(open_checkpoint(tmp_path / "jax"), tmp_path / "back.safetensors", to="official", allow_nonfinite=True)
    assert_identical(load_file(tmp_path / "back.safetensors"), changed)


@pytest.mark.parametrize("to", ["jax", "official"])
def test_bfloat16(converted, tensors, tmp_path, to):
    output = tmp_path / ("half" if to == "jax" else "half.safetensors")
    convert(open_checkpoint(SMALL), output, to=to, dtype="bfloat16")
    stored = load_file(output / "model.safetensors" if to == "jax" else output)
    original = load_file(converted / "model.safetensors") if to == "jax" else tensors
    assert_identical(stored, {name: array.astype(ml_dtypes.bfloat16) for name, array in original.items()})
    # and up again, which loses nothing
    convert(open_checkpoint(output), tmp_path / "full.safetensors", to="official", dtype="float32")
    full = load_file(tmp_path / "full.safetensors")
    assert_identical(full, {n: a.astype(ml_dtypes.bfloat16).astype(np.float32) for n, a in tensors.items()})


def test_mixed_types_are_kept_and_aligned(folder_with, tensors, tmp_path):
    mixed = {n: a.astype(ml_dtypes.bfloat16) if n.startswith("depth_head.") else a for n, a in tensors.items()}
    mixed["camera_head.empty_pose_tokens"] = mixed["camera_head.empty_pose_tokens"].astype(np.float16)
    convert(open_checkpoint(folder_with(mixed)), tmp_path / "jax")
    convert(open_checkpoint(tmp_path / "jax"), tmp_path / "back.safetensors", to="official")
    assert_identical(load_file(tmp_path / "back.safetensors"), mixed)
    assert {array.dtype for array in leaves(load_vggt(tmp_path / "jax")).values()} == {np.dtype(np.float32)}


def torch_file(tensors, path, wrap=lambda state: state):
    torch = pytest.importorskip("torch")
    torch.save(wrap({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}), path)
    return path


def hub(folder, monkeypatch):
    """Makes ``folder`` what the Hub answers with; returns the list of what it was asked for."""
    asked = []

    def snapshot_download(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return asked


@pytest.mark.parametrize(
    "kind",
    ["folder", "file", "string", "snapshot", "sharded", "index", "hub", "torch", "wrapped torch", "converted file"],
)
def test_every_source_is_the_same_model(kind, official, sharded, converted, tensors, monkeypatch, request):
    weights, asked = official / "weights.safetensors", None
    if kind == "file":
        source = weights
    elif kind == "string":
        source = str(weights)
    elif kind == "snapshot":
        weights.rename(official / "model.safetensors")
        source = official
    elif kind == "sharded":
        source = sharded
    elif kind == "index":
        source = sharded / "model.safetensors.index.json"
    elif kind == "hub":
        asked = hub(official, monkeypatch)
        source = "hf:facebook/VGGT-1B@main"
    elif kind == "torch":
        source = torch_file(tensors, official / "model.pt")
        weights.unlink()
    elif kind == "wrapped torch":
        source = torch_file(tensors, official / "step_100.pth", lambda state: {"model": state, "epoch": 3})
    elif kind == "converted file":
        source = converted / "model.safetensors"
    else:
        source = official
    found = load_vggt(source)
    assert found.config == read_config(converted)
    assert_identical(leaves(found), load_file(converted / "model.safetensors"))
    if asked is not None:
        assert asked == [("facebook/VGGT-1B", "main", ["*.safetensors", "*.safetensors.index.json", "config.json"])]


def test_bfloat16_of_pytorch(official, tensors):
    torch = pytest.importorskip("torch")
    state = {n: torch.from_numpy(np.array(a)).to(torch.bfloat16) for n, a in tensors.items()}
    torch.save(state, official / "model.pt")
    model = load_vggt(official / "model.pt", dtype="bfloat16")
    assert_identical(leaves(model), leaves(load_vggt(SMALL, dtype="bfloat16")))


def test_loading_in_bfloat16_is_converting_to_it(converted, tmp_path):
    convert(open_checkpoint(converted), tmp_path / "half", dtype="bfloat16")
    expected = load_file(tmp_path / "half" / "model.safetensors")
    for source in (SMALL, converted, tmp_path / "half"):
        assert_identical(leaves(load_vggt(source, dtype="bfloat16")), expected)


def test_fewer_heads(converted):
    for source in (SMALL, converted):
        model = load_vggt(source, heads=("depth", "camera"))
        assert model.config.heads == ("depth", "camera")
        assert model.point_head is None and model.track_head is None
        expected = load_file(converted / "model.safetensors")
        absent = ("point_head.", "track_head.")
        assert_identical(leaves(model), {n: a for n, a in expected.items() if not n.startswith(absent)})


def test_a_configuration_of_ones_own(converted):
    config = VGGTConfig.from_json({**json.loads((converted / "config.json").read_text()), "remat": True})
    assert load_vggt(SMALL, config=config).config.remat


def test_the_loaded_model_computes_what_the_official_one_does(converted, tmp_path):
    convert(open_checkpoint(converted), tmp_path / "half", dtype="bfloat16")

    @nnx.jit
    def run(model, images):
        predictions = model(images)
        return {name: getattr(predictions, name) for name in ("pose_enc", "depth", "world_points")}

    with np.load(SMALL / "case_b.npz") as case:
        images = jnp.asarray(case["images"].transpose(0, 1, 3, 4, 2))
        for source, tolerance in ((converted, 2e-5), (tmp_path / "half", 0.05)):
            for name, found in run(load_vggt(source), images).items():
                assert np.abs(found - case[name]).max() <= tolerance * np.abs(case[name]).max(), (source, name)


def test_a_lone_file_of_unknown_depth(tensors, tmp_path):
    save_file(dict(tensors), tmp_path / "plain.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"5 layers where VGGT-1B has 24.*put a config.json beside"):
        read_config(tmp_path / "plain.safetensors")
