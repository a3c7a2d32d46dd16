"""Check points as trainers leave them: the same model, or one line that says what they are."""

import json
import os
import shutil
import sys
import types
from fnmatch import fnmatch

import numpy as np
import pytest
from safetensors.numpy import save_file

from subspace.errors import InputError
from tests.weights_convert.conftest import SMALL
from weights_convert import load_vggt, read_config
from weights_convert.checkpoint import open_checkpoint
from weights_convert.trained_names import PARTS, foreign, plain_names

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def state(tensors):
    return {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}


@pytest.fixture
def folder(tmp_path):
    shutil.copy(SMALL / "config.json", tmp_path)
    return tmp_path


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def wrapped(state):
    return {name.replace(".attn.", "._checkpoint_wrapped_module.attn."): tensor for name, tensor in state.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}

LAYOUTS = {
    "plain.pt": lambda s: s,
    "data_parallel.pth": lambda s: prefixed(s, "module."),
    "lightning.ckpt": lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3, "optimizer_states": [OPTIMIZER]},
    "pytorch_model.bin": lambda s: prefixed(s, "model.module."),
    "compiled.pt": lambda s: {"model_state_dict": prefixed(s, "_orig_mod."), "optimizer": OPTIMIZER},
    "vggt_trainer.pt": lambda s: {
        "model": s,
        "optimizer": OPTIMIZER,
        "scaler": {"scale": torch.ones(1)},
        "steps": {"train": 3},
    },
    "ema.pt": lambda s: {"ema": {k: v + 1 for k, v in s.items()}, "trained": s},
    "deep.pt": lambda s: {"state": {"weights": {"params": prefixed(s, "vggt.")}}},
    "fsdp.pt": wrapped,
    "flat.pt": lambda s: {**s, "epoch": 3, "best": None},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(folder, state, tensors, name):
    torch.save(LAYOUTS[name](state), folder / name)
    for source in (folder, folder / name):  # the only file of a folder is taken
        checkpoint = open_checkpoint(source)
        assert checkpoint.config == read_config(SMALL) and checkpoint.form == "official"
        np.testing.assert_array_equal(
            checkpoint.read("camera_head.token_norm.bias"), tensors["camera_head.token_norm.bias"]
        )
    renamed = name in ("data_parallel.pth", "lightning.ckpt", "pytorch_model.bin", "compiled.pt", "deep.pt", "fsdp.pt")
    assert len(checkpoint.remarks) == (renamed or name == "ema.pt")


def test_a_prefix_in_safetensors_is_said(folder, tensors, caplog):
    save_file(prefixed(tensors, "module.model."), folder / "model.safetensors")
    expected = load_vggt(SMALL, heads=("camera",))
    with caplog.at_level("WARNING", "attribute_subspaces"):
        found = load_vggt(folder, heads=("camera",))
    assert "module.model." in caplog.text
    np.testing.assert_array_equal(found.aggregator.camera_token[...], expected.aggregator.camera_token[...])


def test_types_that_differ_within_a_stack(folder, state, tensors):
    changed = dict(state)
    name = "aggregator.frame_blocks.1.attn.qkv.bias"
    changed[name] = state[name].to(torch.float16)
    changed["aggregator.frame_blocks.2.attn.qkv.bias"] = state["aggregator.frame_blocks.2.attn.qkv.bias"].to(
        torch.bfloat16
    )
    torch.save(changed, folder / "model.pt")
    with pytest.raises(InputError, match="several types"):
        open_checkpoint(folder)
    for dtype in ("float32", "bfloat16"):
        leaf = open_checkpoint(folder, dtype=dtype).read("aggregator.frame_blocks.attn.qkv.bias")
        np.testing.assert_array_equal(leaf[1], tensors[name].astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(leaf[0], tensors["aggregator.frame_blocks.0.attn.qkv.bias"])


def message_of(source):
    with pytest.raises((InputError, OSError)) as caught:
        open_checkpoint(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Runs:
    """A pickle that makes a file when it is loaded as pickles usually are."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_pickle_runs(folder, state):
    torch.save({"model": state, "args": Runs(folder / "ran")}, folder / "model.pt")
    text = message_of(folder / "model.pt")
    assert "holds Python objects besides tensors (posix.system)" in text and "weights_only" not in text
    assert not (folder / "ran").exists()


def test_namespaces_of_trainers_are_refused_by_name(folder, state):
    torch.save({"model": state, "args": types.SimpleNamespace(lr=1)}, folder / "model.pt")
    assert "types.SimpleNamespace" in message_of(folder / "model.pt")


@pytest.mark.parametrize("name", ["old.pt", "script.pt", "zip.pt", "cut.pt", "pointer.bin", "other.ckpt", "inner.pt"])
def test_files_that_are_no_check_points(folder, state, name):
    path = folder / name
    some = {"a": torch.zeros(5000)}
    if name == "old.pt":
        torch.save(some, path, _use_new_zipfile_serialization=False)
    elif name == "script.pt":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/constants.pkl", b"")
            archive.writestr("model/data.pkl", b"")
    elif name == "zip.pt":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("photo.jpg", b"")
    elif name == "cut.pt":
        torch.save(some, path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif name == "pointer.bin":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    elif name == "other.ckpt":
        path.write_bytes(b"GGUF" + bytes(100))
    else:
        torch.save({"epoch": 3}, path)
    said = {
        "old.pt": "before version 1.6",
        "script.pt": "TorchScript",
        "zip.pt": "not of PyTorch",
        "cut.pt": "cut off",
        "pointer.bin": "Git LFS",
        "other.ckpt": "not a PyTorch file",
        "inner.pt": "holds no dictionary of tensors but epoch",
    }
    text = message_of(path)
    assert said[name] in text and str(path) in text


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["base_model.model.aggregator.x.lora_A.weight", "base_model.model.aggregator.x.lora_B.weight"], "a LoRA"),
        (["enc_blocks.0.attn.qkv.weight", "downstream_head1.dpt.weight"], "DUSt3R"),
        (["decoder.0.attn.qkv.weight", "point_decoder.blocks.0.weight"], "Pi3"),
        (["pretrained.blocks.0.ls1.gamma", "depth_head.projects.0.weight"], "Depth Anything"),
        (["encoder.backbone.blocks.0.weight", "neck.weight"], "MoGe"),
        (["blocks.0.ls1.gamma", "cls_token"], "DINOv2"),
        (["blocks.0.attn.qkv.weight", "cls_token"], "a vision transformer"),
        (["model.layers.0.mlp.weight"], "a language model"),
        (["unet.down_blocks.0.weight"], "a diffusion model"),
        (["layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["aggregator.x.A", "aggregator.x.B", "aggregator.x.magnitude"], "an adapter of this project or a subspace"),
        (["aggregator.x.A", "aggregator.x.initial_singular_values"], "an adapter of this project or a subspace"),
        (["camera_head.token_norm.bias"], "heads without the aggregator"),
        (["thing.a", "thing.b", "other.c"], "another model, its 3 tensor(s) begin with thing (2), other (1)"),
        ([], "nothing"),
    ],
)
def test_foreign_models_are_one_line(tmp_path, names, model):
    assert (foreign(names) or "").startswith(model)
    if names:
        save_file({name: np.zeros(3, np.float32) for name in names}, tmp_path / "x.safetensors")
        assert f"no VGGT: looks like {model}" in message_of(tmp_path / "x.safetensors")
        with pytest.raises(InputError, match="no VGGT"):
            read_config(tmp_path / "x.safetensors")


def test_parts_are_never_taken_for_a_prefix():
    for part in PARTS:
        assert plain_names([f"{part}.a.x", f"{part}.a.y"]) is None
    assert plain_names(["model.aggregator.x", "loss.y"]) is None
    renaming = plain_names(["model.aggregator.x", "model.camera_head.y"])
    assert renaming is not None and renaming.prefix == "model."
    assert plain_names(["_orig_mod.aggregator.x", "aggregator.x"]) is None  # which one would be meant?


def test_a_folder_with_several_files_names_them(folder, state):
    for name in ("step_1.pt", "step_2.pt"):
        torch.save(state, folder / name)
    text = message_of(folder)
    assert "step_1.pt, step_2.pt" in text


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, the folder ``remote``: fetches into a cache what the patterns ask for."""
    remote, cache = tmp_path / "remote", tmp_path / "cache"
    remote.mkdir()

    def snapshot_download(name, *, revision, allow_patterns):
        cache.mkdir(exist_ok=True)
        for path in remote.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, cache)
        return str(cache)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return remote, cache


def test_hub_repositories_that_hold_one_pytorch_file(hub, state):
    remote, cache = hub
    shutil.copy(SMALL / "config.json", remote)
    torch.save(state, remote / "vggt_1B_commercial.pt")
    assert open_checkpoint("hf:facebook/VGGT-1B-Commercial").path == cache / "vggt_1B_commercial.pt"


def test_hub_repositories_with_both_are_fetched_once(hub, state):
    remote, cache = hub
    shutil.copy(SMALL / "config.json", remote)
    shutil.copy(SMALL / "weights.safetensors", remote / "model.safetensors")
    torch.save(state, remote / "model.pt")
    assert open_checkpoint("hf:facebook/VGGT-1B").path == cache / "model.safetensors"
    assert not (cache / "model.pt").exists()


def test_hub_repositories_without_weights(hub):
    remote, _ = hub
    (remote / "README.md").write_text("hello")
    (remote / "config.json").write_text(json.dumps({}))
    assert "holds no file that ends in" in message_of("hf:facebook/nothing")


def test_the_cache_of_the_real_hub_library(tmp_path, monkeypatch, state):
    """What ``hf download`` left is found without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    place = tmp_path / "models--facebook--VGGT-1B-Commercial"
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    shutil.copy(SMALL / "config.json", snapshot)
    torch.save(state, snapshot / "vggt_1B_commercial.pt")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_checkpoint("hf:facebook/VGGT-1B-Commercial").path.name == "vggt_1B_commercial.pt"
