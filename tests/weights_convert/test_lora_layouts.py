"""Every layout in which people keep LoRAs, against dW as PEFT adds it or as the raw tensors give it in float64."""

import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from subspace import LowRank
from subspace.errors import InputError
from tests.subspace.oracle import dense
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Adapter, BaseModel, save_adapter
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_places import find_loras

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")


class Experts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(4, 6, 7))


class Net(torch.nn.Module):
    """A bit of everything that PEFT adapts."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.emb, self.lin, self.head = nn.Embedding(20, 12), nn.Linear(12, 10), nn.Linear(10, 3)
        self.c1, self.c2, self.c3 = nn.Conv1d(3, 4, 2), nn.Conv2d(3, 5, 3), nn.Conv3d(2, 3, 2)
        self.mha, self.experts = nn.MultiheadAttention(12, 2), Experts()


TARGETS = ["emb", "lin", "c1", "c2", "c3", "mha"]


def trained(seed=0, targets=TARGETS, **options):
    """A PEFT model whose factors are all random."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 6, "target_modules": list(targets), **options})
    model = peft.get_peft_model(Net(), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    return model


def layers_of(model):
    """Name of every adapted module → PEFT's layer."""
    kind = peft.tuners.lora.LoraLayer
    return {name.removeprefix("base_model.model."): x for name, x in model.named_modules() if isinstance(x, kind)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("loras") / "everything"
    trained(modules_to_save=["head"], target_parameters=["experts.w"]).save_pretrained(path)
    return path


def test_every_kind_of_layer_is_what_peft_adds(folder):
    lora = open_lora(folder)
    layers = layers_of(trained(modules_to_save=["head"], target_parameters=["experts.w"]))
    assert set(lora.modules) == {*TARGETS, "mha.out_proj", *(f"experts.{i}" for i in range(4))}
    assert lora.layout == "peft" and lora.dtype == "F32"
    assert lora.left_out == ("base_model.model.head.bias", "base_model.model.head.weight")
    for name in ("emb", "lin", "c1", "c2", "c3"):
        expected = layers[name].get_delta_weight("default").detach().numpy().astype(np.float64)
        found = dense(lora.read(name))
        assert lora.modules[name].weight == expected.shape
        np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)
    experts = layers["experts"].get_delta_weight("default").detach().numpy()  # (expert, in, out)
    for i in range(4):
        np.testing.assert_allclose(
            dense(lora.read(f"experts.{i}")), experts[i].T if experts.shape[1:] == (7, 6) else experts[i], atol=1e-5
        )


class Wrapped(torch.nn.Module):
    """Three parameters of one module, and a module whose name ends in PEFT's own word."""

    def __init__(self):
        super().__init__()
        self.experts = torch.nn.Module()
        for name in ("w1", "w2", "w3"):
            setattr(self.experts, name, torch.nn.Parameter(torch.randn(2, 4, 5)))
        self.database_layer, self.data = (torch.nn.ModuleDict({"fc": torch.nn.Linear(3, 3)}) for _ in range(2))


def test_no_lora_is_lost_to_another_of_its_name(tmp_path):
    parameters = [f"experts.{name}" for name in ("w1", "w2", "w3")]
    config = peft.LoraConfig(r=2, target_modules=["fc"], target_parameters=parameters)
    peft.get_peft_model(Wrapped(), config).save_pretrained(tmp_path)
    experts = [f"experts{'.base_layer' * depth}.{i}" for depth in range(3) for i in range(2)]
    lora = open_lora(tmp_path)
    assert set(lora.modules) == {"database_layer.fc", "data.fc", *experts}
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert sum("lora_A" in name for name in stored) == 5 and not lora.left_out
    stored["base_model.model.data.base_layer.fc.lora_A.weight"] = stored["base_model.model.data.fc.lora_A.weight"]
    stored["base_model.model.data.base_layer.fc.lora_B.weight"] = stored["base_model.model.data.fc.lora_B.weight"]
    save_file(stored, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"two LoRAs of data\.fc, one of which is base_model\.model\.data\."):
        open_lora(tmp_path)


def _raw(folder):
    """The stored factors in float64, by module and side."""
    tensors = load_file(folder / "adapter_model.safetensors")
    names = {
        name: re.fullmatch(r"base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?", name)
        for name in tensors
    }
    return {(found[1], found[2]): tensors[name].astype(np.float64) for name, found in names.items() if found}


def _dense_of_raw(raw, tensor, scale=3.0):
    return (
        scale
        * raw[tensor, "B"].reshape(len(raw[tensor, "B"]), -1)
        @ raw[tensor, "A"].reshape(len(raw[tensor, "A"]), -1)
    )


def _assert_exact(found, expected):
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def test_exact_to_rounding_of_the_raw_tensors(folder):
    raw, lora = _raw(folder), open_lora(folder)
    for name in ("lin", "c1", "c2", "c3", "mha"):
        _assert_exact(dense(lora.read(name)), _dense_of_raw(raw, name))
    _assert_exact(dense(lora.read("mha.out_proj")), _dense_of_raw(raw, "mha.base_layer.out_proj"))
    _assert_exact(dense(lora.read("emb")), _dense_of_raw(raw, "emb").T)
    assert lora.modules["mha"].size == (36, 12)  # queries, keys and values
    up, down = raw["experts", "B"], raw["experts", "A"]
    for i in range(4):  # PEFT: rows of A expert by expert, columns of B rank by rank
        expected = 3 * up.reshape(len(up), 2, 4)[:, :, i] @ down.reshape(4, 2, -1)[i]
        _assert_exact(dense(lora.read(f"experts.{i}")), expected)


def test_gpt2_whose_maps_are_stored_transposed(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=11, n_positions=4)
    options = {"r": 2, "lora_alpha": 6, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    model = peft.get_peft_model(transformers.GPT2Model(config), peft.LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    raw, lora, layers = _raw(tmp_path), open_lora(tmp_path), layers_of(model)
    assert len(lora.modules) == 6 and lora.modules["h.1.mlp.c_proj"].size == (8, 32)
    for name in lora.modules:
        expected = _dense_of_raw(raw, name)
        _assert_exact(dense(lora.read(name)), expected)
        added = layers[name].get_delta_weight("default").detach().numpy()  # (inputs, outputs), as Conv1D stores it
        np.testing.assert_allclose(added.T, expected, atol=1e-5)


def _move_default(folder, target):
    shutil.copytree(folder, target / "default")


def _as_bin(folder, target):
    target.mkdir()
    shutil.copy(folder / "adapter_config.json", target)
    torch.save(
        {k: torch.from_numpy(v) for k, v in load_file(folder / "adapter_model.safetensors").items()},
        target / "adapter_model.bin",
    )


def _with_adapter_name(folder, target):
    target.mkdir()
    shutil.copy(folder / "adapter_config.json", target)
    tensors = load_file(folder / "adapter_model.safetensors")
    named = {
        name.replace(".weight", ".mine.weight")
        if ".lora_" in name
        else name.replace("_embedding_A", "_embedding_A.mine").replace("_embedding_B", "_embedding_B.mine"): x
        for name, x in tensors.items()
        if "head" not in name
    }
    named = {
        name + ".mine" if "lora_embedding" in name and not name.endswith("mine") else name: x
        for name, x in named.items()
    }
    save_file(named, target / "adapter_model.safetensors")


def _sharded(folder, target):
    target.mkdir()
    shutil.copy(folder / "adapter_config.json", target)
    tensors = load_file(folder / "adapter_model.safetensors")
    places = {name: f"adapter_model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: x for name, x in tensors.items() if places[name] == file}, target / file)
    (target / "adapter_model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _sharded_bin(folder, target):
    _sharded(folder, target)
    index = target / "adapter_model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.unlink()
    for file in set(places.values()):
        tensors = {name: torch.from_numpy(x) for name, x in load_file(target / file).items()}
        torch.save(tensors, (target / file).with_suffix(".bin"))
        (target / file).unlink()
    places = {name: file.replace(".safetensors", ".bin") for name, file in places.items()}
    (target / "adapter_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


def _trainer(folder, target):
    for step in (9, 100):
        shutil.copytree(folder, target / f"checkpoint-{step}")
    (target / "checkpoint-9" / "adapter_model.safetensors").write_bytes(b"")


def _half(folder, target):
    target.mkdir()
    shutil.copy(folder / "adapter_config.json", target)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: x.astype(np.float16) for name, x in tensors.items()}, target / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "variant", [_move_default, _as_bin, _with_adapter_name, _sharded, _sharded_bin, _trainer, _half]
)
def test_variants_of_peft_folders(variant, folder, tmp_path):
    variant(folder, tmp_path / "variant")
    ((name, path),) = find_loras([str(tmp_path / "variant")]).items()
    assert name == "variant"
    found, expected = open_lora(path), open_lora(folder)
    assert set(found.modules) == set(expected.modules)
    for module in expected.modules:
        tolerance = 0.02 if variant is _half else 0
        np.testing.assert_allclose(
            dense(found.read(module)), dense(expected.read(module)), rtol=tolerance, atol=tolerance
        )


def test_patterns_and_rank_stabilised_scales(tmp_path):
    options = {"rank_pattern": {"lin": 4}, "alpha_pattern": {"lin": 5.0}, "use_rslora": True}
    model = trained(targets=["lin", "c2"], **options)
    model.save_pretrained(tmp_path)
    lora = open_lora(tmp_path)
    assert {name: x.rank for name, x in lora.modules.items()} == {"lin": 4, "c2": 2}
    for name, layer in layers_of(model).items():
        expected = layer.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(dense(lora.read(name)), expected.reshape(len(expected), -1), atol=1e-5)


def _factors(rng, *sizes):
    return [rng.standard_normal(size).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("alpha", ["tensor", "header", "nowhere"])
def test_kohya(alpha, tmp_path):
    rng = np.random.default_rng(0)
    up, down, conv_up, conv_down = _factors(rng, (9, 4), (4, 7), (6, 2, 1, 1), (2, 3, 3, 3))
    names = "lora_unet_down_blocks_0_attentions_0_to_q", "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{names[0]}.lora_up.weight": up, f"{names[0]}.lora_down.weight": down}
    tensors |= {f"{names[1]}.lora_up.weight": conv_up, f"{names[1]}.lora_down.weight": conv_down}
    if alpha == "tensor":
        tensors |= {f"{names[0]}.alpha": np.float32(2), f"{names[1]}.alpha": np.array([8], np.float16)}
    header = {"ss_network_alpha": "8", "ss_sd_model_name": "sdxl"} if alpha == "header" else None
    save_file({name: np.asarray(x) for name, x in tensors.items()}, tmp_path / "one.safetensors", header)
    lora = open_lora(tmp_path / "one.safetensors")
    scales = {"tensor": (0.5, 4), "header": (2, 4), "nowhere": (1, 1)}[alpha]
    assert lora.layout == "kohya" and set(lora.modules) == set(names) and bool(lora.remarks) == (alpha != "tensor")
    assert lora.base == ("sdxl" if alpha == "header" else None)
    assert lora.modules[names[1]].weight == (6, 3, 3, 3)
    expected = scales[0] * up.astype(np.float64) @ down
    np.testing.assert_allclose(dense(lora.read(names[0])), expected, atol=1e-5)
    expected = scales[1] * conv_up.reshape(6, 2).astype(np.float64) @ conv_down.reshape(2, 27)
    np.testing.assert_allclose(dense(lora.read(names[1])), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "down", "up", "alpha"),
    [
        ("unet.a.to_q", ".lora_A", ".lora_B", None),
        ("transformer.a.to_q", ".lora.down", ".lora.up", ".alpha"),
        ("unet.a.processor.to_q", "_lora.down", "_lora.up", None),
        ("text_encoder.a.q_proj", ".lora_linear_layer.down", ".lora_linear_layer.up", None),
    ],
)
def test_diffusers(module, down, up, alpha, tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    tensors = {f"{module}{down}.weight": B, f"{module}{up}.weight": A}
    save_file(tensors | ({module + alpha: np.array(6, np.float32)} if alpha else {}), tmp_path / "one.safetensors")
    lora = open_lora(tmp_path / "one.safetensors")
    assert lora.layout == "diffusers" and list(lora.modules) == [module]
    np.testing.assert_allclose(dense(lora.read(module)), (2 if alpha else 1) * A.astype(np.float64) @ B, atol=1e-5)


def test_diffusers_settings_in_the_header(tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    settings = {"unet.r": 3, "unet.lora_alpha": 12, "unet.alpha_pattern": {}, "unet.use_rslora": False}
    header = {"lora_adapter_metadata": json.dumps(settings)}
    save_file({"unet.q.lora_A.weight": B, "unet.q.lora_B.weight": A}, tmp_path / "one.safetensors", header)
    assert open_lora(tmp_path / "one.safetensors").modules["unet.q"].scale == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet.rank_pattern": {"(": 3}}, "no regular expression"),
        ({"unet.r": 0}, "ranks must be at least 1"),
        ({"unet.r": -3}, "ranks must be at least 1"),
        ({"unet.rank_pattern": {"q": 0}}, "ranks must be at least 1"),
        ({"unet.r": 16}, r"unet\.q has rank 3, lora_adapter_metadata in the header gives it rank 16"),
        ({"unet.rank_pattern": {"^q": 2}}, r"unet\.q has rank 3, lora_adapter_metadata in the header gives it rank 2"),
    ],
)
def test_diffusers_settings_that_cannot_be_are_refused_in_one_line(changes, message, tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    header = {"lora_adapter_metadata": json.dumps({"unet.r": 3, "unet.lora_alpha": 12} | changes)}
    save_file({"unet.q.lora_A.weight": B, "unet.q.lora_B.weight": A}, tmp_path / "one.safetensors", header)
    with pytest.raises(InputError, match=rf"one\.safetensors: .*{message}") as error:
        open_lora(tmp_path / "one.safetensors")
    assert "\n" not in str(error.value)


def test_this_projects_own_adapters(tmp_path):
    rng = np.random.default_rng(0)
    base = BaseModel("two", "0" * 16, replace(VGGTConfig.nano(), heads=()))
    conv, stack = "aggregator.patch_embed.patch_embed.proj", "aggregator.patch_embed.blocks.attn.qkv"
    deltas = {
        conv: LowRank(*_factors(rng, (128, 2), (192, 2))),
        stack: LowRank(*_factors(rng, (3, 384, 2), (3, 128, 2))),
    }
    save_adapter(tmp_path / "own.safetensors", Adapter(deltas, base))
    lora = open_lora(tmp_path / "own.safetensors")
    layers = [f"aggregator.patch_embed.blocks.{i}.attn.qkv" for i in range(3)]
    assert set(lora.modules) == {conv, *layers} and lora.layout == "project"
    assert lora.modules[conv].weight == (128, 3, 8, 8) and lora.modules[layers[0]].weight == (384, 128)
    np.testing.assert_array_equal(dense(lora.read(layers[1])), dense(deltas[stack][1]))
    np.testing.assert_array_equal(dense(lora.read(conv)), dense(deltas[conv]))
    save_adapter(tmp_path / "other.safetensors", Adapter({"head": deltas[conv], conv: deltas[stack][0]}, base))
    with pytest.raises(
        InputError, match=r"other\.safetensors: .*: unknown path: head; wrong shape: .*\(384, 128\)"
    ) as error:
        open_lora(tmp_path / "other.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora_unet_x.hada_w1_a", "a LoHa"),
        ("lora_unet_x.lokr_w1", "a LoKr"),
        ("lora_unet_x.dora_scale", "a DoRA"),
        ("base_model.vera_lambda_b", "a VeRA"),
        ("lora_unet_x.lora_mid.weight", "Tucker"),
    ],
)
def test_other_methods_are_refused_by_name(name, message, tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    tensors = {name: A, "lora_unet_y.lora_down.weight": B, "lora_unet_y.lora_up.weight": A}
    save_file(tensors, tmp_path / "one.safetensors")
    with pytest.raises(InputError, match=rf"one\.safetensors: {message}|{message}"):
        open_lora(tmp_path / "one.safetensors")


def test_other_methods_of_peft_and_the_low_rank_part_of_a_dora(tmp_path):
    model = peft.get_peft_model(Net(), peft.LoHaConfig(r=2, target_modules=["lin"]))
    model.save_pretrained(tmp_path / "loha")
    with pytest.raises(InputError, match="peft_type LOHA"):
        open_lora(tmp_path / "loha")
    dora = trained(targets=["lin"], use_dora=True)
    dora.save_pretrained(tmp_path / "dora")
    with pytest.raises(InputError, match="a DoRA") as error:
        open_lora(tmp_path / "dora")
    assert error.value.argument == "low_rank_part"
    lora = open_lora(tmp_path / "dora", low_rank_part=True)
    layer = layers_of(dora)["lin"]
    expected = 3 * (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach().numpy()
    np.testing.assert_allclose(dense(lora.read("lin")), expected, atol=1e-5)
    assert any("low-rank part alone" in line for line in lora.remarks)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "has NaN"), (np.inf, "has NaN or infinity"), (3e30, "beyond 1e\\+18")]
)
def test_numbers_that_cannot_be_are_named(value, message, tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    A[2, 1] = value
    save_file({"q.lora_A.weight": B, "q.lora_B.weight": A}, tmp_path / "one.safetensors")
    lora = open_lora(tmp_path / "one.safetensors")
    with pytest.raises(InputError, match=rf"one\.safetensors: q .*{message}"):
        lora.read("q")


def test_contradictions_are_one_line(tmp_path):
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 2))
    save_file({"q.lora_A.weight": B, "q.lora_B.weight": A}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"factors of q do not fit each other, \(5, 2\) and \(3, 8\)"):
        open_lora(tmp_path / "a.safetensors")
    save_file({"q.lora_A.weight": B}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="missing: B of q"):
        open_lora(tmp_path / "b.safetensors")
    save_file({"q.weight": B}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="holds no LoRA"):
        open_lora(tmp_path / "c.safetensors")


def test_places(folder, tmp_path):
    for name in ("b", "a"):
        shutil.copytree(folder, tmp_path / "many" / name)
    B, A = _factors(np.random.default_rng(0), (3, 8), (5, 3))
    save_file({"q.lora_A.weight": B, "q.lora_B.weight": A}, tmp_path / "many" / "c.safetensors")
    save_file({"q.weight": B}, tmp_path / "many" / "model.safetensors")
    assert list(find_loras([str(tmp_path / "many")])) == ["c", "a", "b"]
    assert list(find_loras([str(tmp_path / "many" / "[ab]")])) == ["a", "b"]
    (tmp_path / "list.txt").write_text("# my LoRAs\nmany/b\n\nmany/c.safetensors\n")
    assert list(find_loras([str(tmp_path / "list.txt")])) == ["b", "c"]
    (tmp_path / "list.txt").write_text("# my LoRAs\nmany/b\n\nmany/absent\n")
    with pytest.raises(InputError, match=r"list.txt, line 4: .*many/absent: no such file or folder$"):
        find_loras([str(tmp_path / "list.txt")])
    (tmp_path / "empty").mkdir()
    (tmp_path / "lists.txt").write_text("empty\n")
    with pytest.raises(InputError, match=r"lists.txt, line 1: .*empty is no PEFT folder"):
        find_loras([str(tmp_path / "lists.txt")])
    with pytest.raises(InputError, match="is named twice"):
        find_loras([str(tmp_path / "many" / "a"), str(tmp_path / "many" / "*")])
    with pytest.raises(InputError, match="empty is no PEFT folder and holds none"):
        find_loras([str(tmp_path / "empty")])
    with pytest.raises(InputError, match="holds a LoRA"):
        find_loras([str(tmp_path / "m*" / "z*")])
    with pytest.raises(FileNotFoundError):
        find_loras([str(tmp_path / "absent")])


def test_a_repository_of_the_hub(folder, tmp_path, monkeypatch):
    class Hub:
        @staticmethod
        def snapshot_download(name, revision, allow_patterns):
            assert (name, revision) == ("owner/lora", "v2") and "adapter_config.json" in allow_patterns
            return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert find_loras(["hf:owner/lora@v2"]) == {"owner/lora@v2": folder}
