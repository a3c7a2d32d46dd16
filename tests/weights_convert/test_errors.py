"""What people are told when something is wrong with the weights, and that nothing is left behind then."""

import json
import os
import struct
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from subspace.errors import InputError
from tests.weights_convert.conftest import SMALL
from vggt_jax.disk_space import ADVICE
from weights_convert import load_vggt
from weights_convert.checkpoint import open_checkpoint
from weights_convert.convert import convert
from weights_convert.names import FIELDS, OFFICIAL
from weights_convert.table import Rule, Table


def message_of(source, **arguments):
    with pytest.raises((ValueError, OSError)) as caught:
        open_checkpoint(source, **arguments)
    return str(caught.value)


def test_all_misfits_at_once(folder_with, tensors):
    changed = dict(tensors)
    del changed["aggregator.frame_blocks.3.attn.qkv.weight"], changed["camera_head.token_norm.bias"]
    changed["aggregator.frame_blocks.5.attn.qkv.bias"] = np.zeros(192, np.float32)
    changed["optimizer.step"] = np.zeros((), np.float32)
    changed["depth_head.projects.2.weight"] = np.zeros((32, 128), np.float32)
    changed["aggregator.global_blocks.1.mlp.fc1.weight"] = np.zeros((64, 256), np.float32)
    changed["aggregator.camera_token"] = np.zeros((1, 2, 1, 64), np.int32)
    changed["aggregator.global_blocks.2.ls1.gamma"] = np.zeros(64, np.float16)
    text = message_of(folder_with(changed))
    for part in (
        "weights.safetensors: weights do not fit the model (",
        "2 missing",
        "2 unexpected",
        "2 wrong shape",
        "missing: aggregator.frame_blocks.3.attn.qkv.weight",
        "missing: camera_head.token_norm.bias",
        "unexpected: aggregator.frame_blocks.5.attn.qkv.bias (192,)",
        "unexpected: optimizer.step ()",
        "wrong shape: depth_head.projects.2.weight (32, 128), the model needs (32, 128, 1, 1)",
        "wrong shape: aggregator.global_blocks.1.mlp.fc1.weight (64, 256), the model needs (256, 64)",
        "wrong type: aggregator.camera_token I32",
        "several types: the layers of aggregator.global_blocks.ls1.gamma are F16, F32",
    ):
        assert part in text
    assert text.count("\n") == 8


def test_misfits_of_converted_weights(converted, tmp_path):
    content = load_file(converted / "model.safetensors")
    content["aggregator.frame_blocks.attn.qkv.kernel"] = content["aggregator.frame_blocks.attn.qkv.kernel"][:-1]
    content["depth_head.norm.offset"] = content.pop("depth_head.norm.bias")
    save_file(content, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((converted / "config.json").read_bytes())
    text = message_of(tmp_path)
    assert "missing: depth_head.norm.bias" in text and "unexpected: depth_head.norm.offset (128,)" in text
    assert "wrong shape: aggregator.frame_blocks.attn.qkv.kernel (4, 64, 192), the model needs (5, 64, 192)" in text


def test_another_model_altogether_does_not_fill_pages(tmp_path):
    save_file({f"bert.layer.{i}.weight": np.zeros(3, np.float32) for i in range(200)}, tmp_path / "bert.safetensors")
    text = message_of(tmp_path / "bert.safetensors")
    assert "no VGGT: looks like a language model" in text and "\n" not in text


def test_a_tensor_matched_by_two_rules():
    table = Table([*OFFICIAL.rules, Rule("{any}_token", "{any}.token")], {**FIELDS, "any": "aggregator.camera"})
    with pytest.raises(
        ValueError, match=r"matched by several rules: aggregator.camera_token \({tokens}, {any}_token\)"
    ):
        table.plan({"aggregator.camera_token": (2,)}, {"aggregator.camera_token": (2,)})


def test_a_head_that_is_not_there(converted):
    for source in (SMALL, converted):
        assert "has no head nose, only camera, depth, point, track" in message_of(source, heads=("depth", "nose"))


def test_unknown_dtype():
    with pytest.raises(ValueError, match="dtype 'float16' is not one of float32, bfloat16"):
        load_vggt(SMALL, dtype="float16")


def test_a_tensor_in_two_shards(sharded, tensors):
    second = load_file(sharded / "model-00002-of-00002.safetensors")
    name = sorted(tensors)[0]
    save_file(second | {name: tensors[name]}, sharded / "model-00002-of-00002.safetensors")
    both = "model-00001-of-00002.safetensors and model-00002-of-00002.safetensors"
    assert f"given twice: {name} by {both}" in message_of(sharded)


def test_a_shard_without_what_the_index_says(sharded, tensors):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors missing; model.safetensors.index.json names them" in message_of(sharded)
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert "names files outside of its folder" in message_of(sharded)
    index.write_text(json.dumps({"metadata": {}}))
    assert "has no weight_map" in message_of(sharded)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "model-00001-of-00002.safetensors")}))
    text = message_of(sharded)
    assert f"missing: {sorted(tensors)[1]}" in text


def test_index_and_shards_that_contradict(sharded, tensors):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name = sorted(tensors)[0]
    content["weight_map"][name] = "model-00002-of-00002.safetensors"
    index.write_text(json.dumps(content))
    assert f"not in its file: {name} in model-00002-of-00002.safetensors" in message_of(sharded)


def damaged(folder, how):
    path = folder / "weights.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length]

    def with_header(change):
        text = json.dumps(change(json.loads(header))).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    def place(entry):
        return {**entry, "data_offsets": [entry["data_offsets"][0] + 4, entry["data_offsets"][1] + 4]}

    first = next(name for name in json.loads(header) if name != "__metadata__")
    path.write_bytes(
        {
            "cut off": lambda: data[:-1],
            "cut off in the header": lambda: data[: length // 2],
            "longer": lambda: data + b"\0",
            "empty": lambda: b"",
            "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(5000),
            "LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5026873064\n",
            "no JSON": lambda: data[:8] + b"{" * length + data[8 + length :],
            "overlapping": lambda: with_header(lambda h: {**h, first: place(h[first])}),
            "other shape": lambda: with_header(lambda h: {**h, first: {**h[first], "shape": [7]}}),
            "negative shape": lambda: with_header(lambda h: {**h, first: {**h[first], "shape": [-1, -7]}}),
            "no shape": lambda: with_header(lambda h: {**h, first: {"dtype": "F32"}}),
            "list": lambda: with_header(lambda h: [h]),
        }[how]()
    )
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut off", "is cut off; the header announces"),
        ("cut off in the header", "not a safetensors file, or cut off within its header"),
        ("longer", "has bytes after its last tensor"),
        ("empty", "not a safetensors file, or cut off within its header"),
        ("a picture", "not a safetensors file, or cut off within its header"),
        ("LFS pointer", "a Git LFS pointer: fetch the file itself"),
        ("no JSON", "its header cannot be read"),
        ("overlapping", "does not fit its shape or its neighbours"),
        ("other shape", "does not fit its shape or its neighbours"),
        ("negative shape", "its header cannot be read"),
        ("no shape", "its header cannot be read"),
        ("list", "its header cannot be read"),
    ],
)
def test_damaged_files(official, how, message):
    text = message_of(damaged(official, how))
    assert message in text and str(official) in text and "\n" not in text


def test_a_tensor_given_twice_in_one_header(official, tensors):
    path = official / "weights.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    name = "aggregator.camera_token"
    text = (
        data[8 : 8 + length].decode().rstrip().removesuffix("}") + f", {json.dumps(name)}: {json.dumps(header[name])}}}"
    )
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data[8 + length :])
    assert f"given twice: {name} by weights.safetensors" in message_of(path)


def test_a_folder_of_peft_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(InputError, match="a LoRA as PEFT writes it"):
        open_checkpoint(tmp_path)


def test_missing_files(tmp_path, official):
    with pytest.raises(FileNotFoundError) as error:
        open_checkpoint(tmp_path / "nothing")
    assert error.value.filename == str(tmp_path / "nothing")
    assert "holds none of model.safetensors, " in message_of(tmp_path)
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    assert "no file of weights; their names end in .safetensors" in message_of(tmp_path / "weights.gguf")
    (official / "weights.safetensors").chmod(0)
    if os.geteuid():
        assert "Permission denied" in message_of(official)


def test_a_file_that_is_cut_off_while_it_is_read(official, tmp_path):
    checkpoint = open_checkpoint(official)
    with (official / "weights.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ValueError, match="it was cut off while it was read"):
        convert(checkpoint, tmp_path / "jax")
    assert not (tmp_path / "jax").exists() and not list(tmp_path.glob(".*"))


def test_pytorch_files(official, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    (official / "model.pt").write_bytes(b"anything")
    assert 'pip install "attribute-subspaces[torch]"' in message_of(official / "model.pt")
    monkeypatch.undo()
    torch = pytest.importorskip("torch")
    assert "not a PyTorch file" in message_of(official / "model.pt")
    torch.save({"epoch": 3, "loss": 0.5}, official / "model.pt")
    assert "holds no dictionary of tensors but epoch, loss" in message_of(official / "model.pt")
    torch.save({"weights": np.float64}, official / "model.pt")  # a pickle that names code
    assert "numpy.float64" in message_of(official / "model.pt")
    torch.save({"a": torch.zeros(10000)}, official / "model.pt")
    data = (official / "model.pt").read_bytes()
    (official / "model.pt").write_bytes(data[:-5000])
    assert "cut off" in message_of(official / "model.pt")
    torch.save({"step": torch.zeros(3, dtype=torch.int64)}, official / "model.pt")
    assert "no VGGT" in message_of(official / "model.pt")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("RuntimeError", "cannot be fetched (RuntimeError: 404: no such repository)"),
        (
            "LocalEntryNotFoundError",
            "it was not fetched before, and the hub cannot be reached: is there a network? (404",
        ),
        ("RepositoryNotFoundError", "there is no such repository, or it is private"),
        ("GatedRepoError", "its owner wants you to accept terms first"),
        ("RevisionNotFoundError", "it has no revision v9"),
    ],
)
def test_hub_that_does_not_answer(monkeypatch, kind, reason):
    def snapshot_download(*_, **__):
        raise type(kind, (Exception,), {})("404: no such repository\nsee also …")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    with pytest.raises(OSError) as error:
        open_checkpoint("hf:facebook/VGGT-2B@v9")
    assert error.value.filename == "hf:facebook/VGGT-2B@v9" and str(error.value.strerror).startswith(reason)
    assert error.value.errno not in ADVICE  # commands would speak of a failing disk


@pytest.mark.parametrize("name", ["", "VGGT-1B", "facebook/VGGT/1B", "https://hub/facebook/VGGT-1B"])
def test_names_of_no_repository(name):
    with pytest.raises(InputError, match="repositories are called hf:OWNER/NAME"):
        open_checkpoint(f"hf:{name}")
