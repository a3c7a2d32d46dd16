"""LoRAs in PEFT's folders against PEFT itself: values of outputs and merged weights, both ways."""

import json
import re
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from subspace import LowRank
from subspace.errors import InputError
from tests.vggt_jax.conftest import random_model
from vggt_jax import VGGTConfig, merge
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import Adapter, BaseModel, Decomposed, LoRA, PiSSA, initialize, save_adapter, select
from vggt_jax.deltas import WeightDecomposed, linear_delta
from vggt_jax.layers import Conv
from weights_convert.names import from_official, to_official
from weights_convert.peft import read_peft, read_peft_deltas, write_peft
from weights_convert.peft_base import check_base, recorded_base

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
CONV = {"kernel": 3, "stride": 2, "padding": 1}


def noise(model, seed=0):
    """Gives every LoRA factor values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5
    return model


# Any model: modules come under their own names


class Tiny(torch.nn.Module):
    """Linears of equal names at several depths, one whose name only ends alike, and a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(6, 5)
        self.qfc = torch.nn.Linear(6, 5)
        self.blocks = torch.nn.ModuleList(
            torch.nn.ModuleDict({"fc": torch.nn.Linear(6, 6), "fc2": torch.nn.Linear(6, 4)}) for _ in range(2)
        )
        self.conv = torch.nn.Conv2d(4, 7, 3, stride=2, padding=1)


def trained(folder, **settings):
    """A LoRA on all of ``Tiny``, saved in ``folder``, as PEFT makes it from ``settings`` and loads it again.

    The two may differ: PEFT sorts patterns when it saves them, and the first that matches counts.
    """
    config = peft.LoraConfig(target_modules=["fc", "qfc", "fc2", "conv"], **settings)
    noise(peft.get_peft_model(Tiny(), config)).save_pretrained(folder)
    return peft.PeftModel.from_pretrained(Tiny(), folder)


def change_of_output(model, name, x):
    """What PEFT's LoRA adds to the output of the module ``name``."""
    module = model.base_model.model.get_submodule(name)
    with torch.no_grad():
        return (module(x) - module.base_layer(x)).numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 2, "lora_alpha": 6},
        {"r": 4, "lora_alpha": 3, "use_rslora": True},
        {"r": 2, "rank_pattern": {r"blocks\.1\.fc": 1, "fc": 3}, "alpha_pattern": {"conv": 5}},
        {"r": 2, "rank_pattern": {r"^fc": 1, "fc": 3}, "alpha_pattern": {r"blocks\.\d\.fc.?": 5, "fc": 7}},
        {"r": 3, "rank_pattern": {"conv": 2}, "alpha_pattern": {"fc2": 11}, "use_rslora": True},
        {"r": 2, "init_lora_weights": "gaussian", "lora_dropout": 0.0, "exclude_modules": ["blocks.0.fc"]},
    ],
)
def test_any_linear_and_convolution_computes_what_pefts_does(settings, tmp_path):
    model = trained(tmp_path, **settings)
    found = read_peft(tmp_path)
    adapted = {n for n, m in model.base_model.model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}
    assert set(found) == adapted
    rng = np.random.default_rng(1)
    for name in adapted - {"conv"}:
        x = rng.normal(size=(3, 6)).astype(np.float32)
        expected = change_of_output(model, name, torch.from_numpy(x))
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(linear_delta(jnp.asarray(x), found[name]), expected, atol=1e-5)
    x = rng.normal(size=(2, 5, 8, 4)).astype(np.float32)
    conv = Conv(4, 7, **CONV, rngs=nnx.Rngs(0))
    expected = change_of_output(model, "conv", torch.from_numpy(x.transpose(0, 3, 1, 2))).transpose(0, 2, 3, 1)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(conv(jnp.asarray(x), found["conv"]) - conv(jnp.asarray(x)), expected, atol=1e-5)


def test_half_precision_becomes_float32(tmp_path):
    model = trained(tmp_path, r=2).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    delta = read_peft(tmp_path)["fc"]
    assert delta.dtype == jnp.float32
    with torch.no_grad():
        expected = model.base_model.model.fc.get_delta_weight("default").float()
    np.testing.assert_allclose(delta.to_dense(), expected, rtol=0.02, atol=0.02)


@pytest.mark.filterwarnings("ignore:PiSSA changes the base weights")
def test_pissa_that_peft_converted_is_read_and_one_it_did_not_is_refused(tmp_path):
    model = peft.get_peft_model(
        Tiny(), peft.LoraConfig(r=2, lora_alpha=5, init_lora_weights="pissa", target_modules=["fc"])
    )
    original = {name: weight.clone() for name, weight in Tiny().state_dict().items()}
    model.peft_config["default"].init_lora_weights = True  # as PEFT's documentation does before it saves the start
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = "pissa"
    noise(model)
    model.save_pretrained(tmp_path / "pissa")
    model.save_pretrained(tmp_path / "lora", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    merged = model.merge_and_unload().state_dict()

    found = read_peft(tmp_path / "lora")
    assert set(found) == {"fc", "blocks.0.fc", "blocks.1.fc"}
    for name, delta in found.items():
        assert delta.rank == 4
        change = (merged[f"{name}.weight"] - original[f"{name}.weight"]).numpy()
        assert np.abs(change).max() > 0.1
        np.testing.assert_allclose(delta.to_dense(), change, atol=1e-5)
    with pytest.raises(ValueError, match=r'init_lora_weights "pissa", which may change the base\'s weights'):
        read_peft(tmp_path / "pissa")


# VGGT: modules under the official names


@pytest.fixture(scope="module")
def config():
    return VGGTConfig.from_json(
        {
            "image_size": 16,
            "patch_size": 4,
            "width": 16,
            "encoder": {"depth": 2, "num_heads": 2, "num_registers": 1},
            "aggregator": {"depth": 4, "num_heads": 2, "num_registers": 1, "layer_scale": 1.0},
            "camera": {"depth": 2, "num_heads": 2, "iterations": 2, "layer_scale": 1.0},
            "depth": {"features": 8, "out_channels": [8, 8, 8, 8], "layers": [0, 1, 2, 3], "last_features": 4},
            "heads": ["camera", "depth"],
        }
    )


@pytest.fixture(scope="module")
def base(config):
    return nnx.split(random_model(config, 0))


@pytest.fixture(scope="module")
def matrices(base):
    return adaptable(nnx.merge(*base))


def official_copy(params):
    """A PyTorch module whose linears and convolutions have the official names and the weights of ``params``."""
    root = torch.nn.Module()
    for name, weight in to_official(params).items():
        name, _, kind = name.rpartition(".")
        transposed = "resize_layers.0" in name or "resize_layers.1" in name
        if kind != "weight" or weight.ndim not in (2, 4) or transposed:
            continue
        *above, last = name.split(".")
        parent = root
        for part in above:
            if part not in dict(parent.named_children()):
                parent.add_module(part, torch.nn.Module())
            parent = parent.get_submodule(part)
        n, m, *window = weight.shape
        layer = torch.nn.Conv2d(m, n, window, bias=False) if window else torch.nn.Linear(m, n, bias=False)
        layer.weight.data = torch.from_numpy(np.array(weight))
        parent.add_module(last, layer)
    return root


def merged_by_peft(model, params):
    """``params`` with the weights that PEFT's own merging gives."""
    changed = {name: weight.numpy() for name, weight in model.merge_and_unload().state_dict().items()}
    return to_official(params) | changed


def assert_same_weights(found, expected, tolerance=2e-6):
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, atol=tolerance * max(1, np.abs(weight).max()), err_msg=name)


def draw(matrices, rank, seed):
    rng = np.random.default_rng(seed)

    def factor(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return {
        path: LowRank(factor(*matrix.stack, matrix.n, rank), factor(*matrix.stack, matrix.m, rank) / 10)
        for path, matrix in matrices.items()
    }


@pytest.fixture(scope="module")
def trained_vggt(base, tmp_path_factory):
    """A LoRA that PyTorch trained a little on modules of the official names: its folder and its merged weights.

    Ranks differ between layers, and some layers have none.
    """
    folder = tmp_path_factory.mktemp("peft") / "lora"
    config = peft.LoraConfig(
        r=3,
        lora_alpha=4,
        target_modules=r".*_blocks\.(0|1|3)\.(attn\.qkv|mlp\.fc2)|camera_head\..*fc1|depth_head\..*(projects\.\d|Unit\d\.conv\d)",
        rank_pattern={r"frame_blocks\.1\..*": 2, "depth_head.projects.0": 1},
        alpha_pattern={r"frame_blocks\.3\..*": 9},
        use_rslora=True,
    )
    torch.manual_seed(0)
    model = peft.get_peft_model(official_copy(base[1]), config)
    layers = [m for m in model.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        shapes = [(2, layer.in_features, *(5, 5) * (layer.get_base_layer().weight.ndim // 4)) for layer in layers]
        outputs = [layer(torch.randn(shape)) for layer, shape in zip(layers, shapes, strict=True)]
        torch.stack([output.square().mean() for output in outputs]).sum().backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder, merged_by_peft(model, base[1])


def test_a_lora_that_pytorch_trained_acts_like_merged_weights(trained_vggt, base, config):
    folder, merged = trained_vggt
    deltas = read_peft(folder, config)
    qkv = deltas["aggregator.frame_blocks.attn.qkv"]
    assert qkv.shape == (4, 48, 16) and qkv.rank == 3
    assert not np.any(qkv.A[1, :, 2:]) and np.all(np.any(qkv.A[1, :, :2], axis=0))
    assert not np.any(qkv.A[2]) and deltas["depth_head.projects.0"].rank == 1

    graphdef, params = base
    assert_same_weights(to_official(merge(params, deltas)), merged)
    none = jax.tree.map(jnp.zeros_like, deltas)
    images = jax.random.uniform(jax.random.key(0), (1, 2, 16, 16, 3))
    predict = jax.jit(lambda params, deltas: nnx.merge(graphdef, params)(images, deltas=deltas))
    found, expected, plain = (
        predict(params, deltas),
        predict(from_official(merged, config), none),
        predict(params, none),
    )
    for name in ("pose_enc", "depth", "depth_conf"):
        scale = np.abs(getattr(expected, name)).max()
        assert np.abs(getattr(found, name) - getattr(expected, name)).max() < 1e-5 * scale
        assert np.abs(getattr(plain, name) - getattr(expected, name)).max() > 1e-2 * scale


def load_into_peft(folder, params):
    """PEFT's model with the LoRA in ``folder``; every tensor and every adapted module must have found the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = peft.PeftModel.from_pretrained(official_copy(params), folder)
    expected = load_file(folder / "adapter_model.safetensors")
    assert peft.get_peft_model_state_dict(model).keys() == expected.keys()
    return model


def lora_layers(model):
    return {n: m for n, m in model.base_model.model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}


def dense(deltas):
    """Official module name → dW (n, m) of every layer."""
    found = {}
    for path, delta in deltas.items():
        A, B = np.asarray(delta.A), np.asarray(delta.B)
        for layer in range(len(A)) if A.ndim == 3 else [None]:
            name = re.sub(r"(blocks|trunk)\.", rf"\1.{layer}.", path)
            found[name] = A @ B.T if layer is None else A[layer] @ B[layer].T
    return found


def assert_peft_changes_weights_by(model, expected):
    layers = lora_layers(model)
    assert layers.keys() == expected.keys()
    for name, layer in layers.items():
        change = layer.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(change.reshape(len(change), -1), expected[name], atol=1e-5, err_msg=name)


def test_what_is_written_peft_loads(base, config, matrices, tmp_path):
    """On every adaptable matrix, with a scale; and it comes back."""
    deltas = draw(matrices, 2, 0)
    write_peft(tmp_path / "lora", deltas, config, scale=1.5)
    model = load_into_peft(tmp_path / "lora", base[1])
    assert_peft_changes_weights_by(model, dense(deltas))
    assert {(m.r["default"], m.scaling["default"]) for m in lora_layers(model).values()} == {(2, 1.5)}
    back = read_peft(tmp_path / "lora", config)
    assert back.keys() == deltas.keys()
    for path, delta in deltas.items():
        np.testing.assert_allclose(back[path].A, delta.A, rtol=1e-6)
        np.testing.assert_array_equal(back[path].B, delta.B)


def test_layers_are_written_with_their_own_ranks(base, config, matrices, tmp_path):
    deltas = draw(select(matrices, ["aggregator.frame_blocks.*", "depth_head.projects.*"]), 4, 1)
    path = "aggregator.frame_blocks.attn.qkv"
    used = np.arange(4) < np.arange(4)[:, None]  # ranks 0, 1, 2, 3 in layers 0 to 3
    deltas[path] = LowRank(deltas[path].A * used[:, None], deltas[path].B * used[:, None])
    write_peft(tmp_path / "lora", deltas, config)
    model = load_into_peft(tmp_path / "lora", base[1])
    expected = dense(deltas)
    assert not expected.pop("aggregator.frame_blocks.0.attn.qkv").any()
    assert_peft_changes_weights_by(model, expected)
    ranks = {name: layer.r["default"] for name, layer in lora_layers(model).items()}
    assert {name: rank for name, rank in ranks.items() if rank != 4} == {
        f"aggregator.frame_blocks.{i}.attn.qkv": i for i in (1, 2, 3)
    }
    for path, delta in read_peft(tmp_path / "lora", config).items():
        np.testing.assert_allclose(delta.to_dense(), deltas[path].to_dense(), atol=1e-6)


def test_pissa_is_written_as_an_ordinary_lora_of_twice_the_rank(base, config, matrices, tmp_path):
    """For the original weights: PEFT's merging gives W - A₀ B₀ᵀ + A Bᵀ, for linears and convolutions."""
    chosen = select(matrices, ["aggregator.global_blocks.mlp.fc1", "camera_head.embed_pose", "*.resize_layers.3"])
    pissa = PiSSA.of(base[1], chosen, rank=2)
    start = pissa.init(jax.random.key(0))
    trained = jax.tree.map(lambda p, c: p + 0.1 * c, start, draw(chosen, 2, 0))
    write_peft(tmp_path / "lora", pissa.deltas(trained), config)

    model = load_into_peft(tmp_path / "lora", base[1])
    assert {layer.r["default"] for layer in lora_layers(model).values()} == {4}
    before, merged = to_official(base[1]), merged_by_peft(model, base[1])
    removed, added = dense(start), dense(trained)
    assert len(added) == 4 + 1 + 1
    for name in added:
        W, found = (tensors[f"{name}.weight"].reshape(added[name].shape) for tensors in (before, merged))
        singular = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(np.linalg.norm(W - removed[name]), np.linalg.norm(singular[2:]), rtol=1e-3)
        np.testing.assert_allclose(found, W - removed[name] + added[name], atol=1e-4)
        assert np.abs(found - W).max() > 1e-2


def test_a_fresh_adapter_goes_on_training_in_pytorch(base, config, matrices, tmp_path):
    """Its A is zero, but not its B: the rank stays, and PEFT's output is the base's."""
    lora = LoRA(select(matrices, ["camera_head.embed_pose", "depth_head.projects.*"]), rank=2, alpha=8)
    params = jax.tree.map(lambda leaf: leaf[1], initialize(lora, jax.random.key(0), 2, "independent"))
    write_peft(tmp_path / "lora", lora.deltas(params), config, scale=lora.scale)
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["rank_pattern"]) == (2, 8, {})
    model = load_into_peft(tmp_path / "lora", base[1])
    lora_A = model.base_model.model.camera_head.embed_pose.lora_A["default"].weight
    np.testing.assert_array_equal(lora_A.detach(), params["camera_head.embed_pose"].B.T)
    assert_same_weights(merged_by_peft(model, base[1]), to_official(base[1]), 0)


def test_dora_is_written_as_pefts(base, config, matrices, tmp_path):
    """Of stacked and lone linears and of convolutions; a layer whose rows changed in length alone is one, too."""
    patterns = ["aggregator.frame_blocks.attn.qkv", "camera_head.embed_pose", "*.resize_layers.3", "*.projects.0"]
    chosen = select(matrices, patterns)
    lora = LoRA(chosen, rank=2, alpha=3.0)
    maker = Decomposed.of(base[1], chosen, lora)
    rng = np.random.default_rng(0)
    params = {
        path: (direction, maker.magnitudes[path] * rng.uniform(0.5, 1.5, maker.magnitudes[path].shape))
        for path, direction in draw(chosen, 2, 1).items()
    }
    still = params["camera_head.embed_pose"]
    params["camera_head.embed_pose"] = (jax.tree.map(jnp.zeros_like, still[0]), still[1])
    deltas = maker.deltas(params)
    write_peft(tmp_path / "dora", deltas, config, scale=lora.scale)
    model = load_into_peft(tmp_path / "dora", base[1])
    assert {layer.use_dora["default"] for layer in lora_layers(model).values()} == {True}
    assert {layer.scaling["default"] for layer in lora_layers(model).values()} == {1.5}
    merged = merged_by_peft(model, base[1])
    assert_same_weights(to_official(merge(base[1], deltas)), merged, 2e-5)
    name = "camera_head.embed_pose.weight"
    assert np.abs(merged[name] - to_official(base[1])[name]).max() > 1e-2
    with pytest.raises(ValueError, match="in all modules or in none"):
        write_peft(tmp_path / "mixed", deltas | draw(select(matrices, ["*.projects.1"]), 1, 0), config)
    back = read_peft_deltas(tmp_path / "dora", config)
    assert back.keys() == deltas.keys()
    for path, delta in deltas.items():
        found = back[path]
        assert isinstance(found, WeightDecomposed)
        np.testing.assert_array_equal(found.magnitude, delta.magnitude)
        np.testing.assert_allclose(found.direction.to_dense(), delta.direction.to_dense(), atol=1e-6)


@pytest.mark.parametrize("layers", [r"\d", "[02]"])
def test_a_dora_that_peft_made_acts_like_merged_weights(layers, base, config, tmp_path):
    """On all layers of a stack, of one rank or several; of the layers that it leaves out nobody knows the rows' lengths."""
    settings = peft.LoraConfig(
        r=3,
        lora_alpha=4,
        use_dora=True,
        target_modules=rf".*frame_blocks\.{layers}\.attn\.qkv|camera_head\.embed_pose|depth_head\..*(projects\.0|resize_layers\.3)",
        rank_pattern={r"frame_blocks\.0\..*": 2},
    )
    model = peft.get_peft_model(official_copy(base[1]), settings)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += torch.rand(parameter.shape, generator=generator) / 2
    model.save_pretrained(tmp_path)
    if layers == "[02]":
        with pytest.raises(ValueError, match="all layers of a stack") as raised:
            read_peft_deltas(tmp_path, config)
        assert str(raised.value).splitlines()[1:] == [
            f"  missing: aggregator.frame_blocks.{i}.attn.qkv" for i in (1, 3)
        ]
        return
    deltas = read_peft_deltas(tmp_path, config)
    merged = merged_by_peft(model, base[1])
    assert_same_weights(to_official(merge(base[1], deltas)), merged, 1e-5)
    name = "aggregator.frame_blocks.0.attn.qkv"
    assert np.abs(merged[f"{name}.weight"] - to_official(base[1])[f"{name}.weight"]).max() > 0.1
    with pytest.raises(ValueError, match="no low-rank matrix") as raised:
        read_peft(tmp_path, config)
    assert str(raised.value).startswith(f"{tmp_path}: ")
    of_any_model = read_peft_deltas(tmp_path)[name]
    assert isinstance(of_any_model, WeightDecomposed) and of_any_model.shape == (48, 16)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    magnitude = f"base_model.model.{name}.lora_magnitude_vector"
    np.testing.assert_array_equal(of_any_model.magnitude, tensors[magnitude])
    save_file({key: tensor for key, tensor in tensors.items() if key != magnitude}, path)
    with pytest.raises(ValueError, match=f"missing: {re.escape(magnitude)}"):
        read_peft_deltas(tmp_path, config)
    save_file(tensors | {magnitude: tensors[magnitude][:-1]}, path)
    with pytest.raises(ValueError, match=rf"wrong shape: {re.escape(magnitude)} \(47,\)"):
        read_peft_deltas(tmp_path, config)


def test_encoder_and_other_heads_are_read_and_merged(base, config, tmp_path):
    model = noise(peft.get_peft_model(official_copy(base[1]), peft.LoraConfig(r=1, target_modules=["qkv", "proj"])))
    model.save_pretrained(tmp_path)
    deltas = read_peft(tmp_path, config)
    assert {path for path in deltas if "patch_embed" in path} == {
        "aggregator.patch_embed.blocks.attn.qkv",
        "aggregator.patch_embed.blocks.attn.proj",
        "aggregator.patch_embed.patch_embed.proj",
    }
    assert_same_weights(to_official(merge(base[1], deltas)), merged_by_peft(model, base[1]))


# What cannot be read or written


@pytest.fixture
def folder(trained_vggt, tmp_path):
    """A copy of a good folder, to be damaged."""
    copy = tmp_path / "lora"
    copy.mkdir()
    for file in trained_vggt[0].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def change_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "ADALORA"}, "only ordinary LoRAs and DoRAs can be read, this one has peft_type ADALORA"),
        ({"use_dora": True, "lora_bias": True}, "has lora_bias true"),
        ({"bias": "all"}, 'has bias "all"'),
        ({"modules_to_save": ["camera_head"]}, r'has modules_to_save \["camera_head"\]'),
        ({"init_lora_weights": "olora"}, 'has init_lora_weights "olora", which may change'),
        ({"an_option_of_tomorrow": 3}, "has an_option_of_tomorrow 3"),
        ({"r": None}, "r, lora_alpha or their patterns are missing or wrong"),
        ({"rank_pattern": {"(": 3}}, "r, lora_alpha or their patterns are missing or wrong"),
        ({"rank_pattern": {"qkv": 0}}, "ranks must be at least 1"),
    ],
)
def test_more_than_an_ordinary_lora_is_refused_in_one_line(changes, message, folder, config):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=message) as raised:
        read_peft(folder, config)
    assert str(raised.value).startswith(f"{folder / 'adapter_config.json'}: ") and "\n" not in str(raised.value)


def test_all_problems_of_the_tensors_are_listed(folder, config):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    prefix, qkv = "base_model.model.", "aggregator.frame_blocks.0.attn.qkv"
    for side in "AB":
        tensors[f"{prefix}module.{qkv}.lora_{side}.weight"] = tensors[f"{prefix}{qkv}.lora_{side}.weight"]
        tensors[f"{prefix}aggregator.frame_blocks.4.attn.qkv.lora_{side}.weight"] = np.zeros((3, 3), np.float32)
    tensors[f"{prefix}{qkv}.lora_magnitude_vector"] = np.zeros(48, np.float32)
    tensors[f"{prefix}{qkv}.lora_A.weight"] = tensors[f"{prefix}{qkv}.lora_A.weight"].T.copy()
    tensors[f"{prefix}depth_head.projects.0.lora_B.weight"] = np.zeros((8, 2, 1, 1), np.float32)
    del tensors[f"{prefix}depth_head.projects.1.lora_B.weight"]
    save_file(tensors, path)
    with pytest.raises(ValueError) as raised:
        read_peft(folder, config)
    title, *lines = str(raised.value).splitlines()
    assert title.startswith(f"{path}: the LoRA cannot be read (")
    assert set(lines) == {
        f"  unexpected: {prefix}{qkv}.lora_magnitude_vector (48,)",
        f"  unknown module: module.{qkv}",
        "  unknown module: aggregator.frame_blocks.4.attn.qkv",
        f"  wrong shape: {prefix}{qkv}.lora_A.weight (16, 3), rank 3 needs (3, 16)",
        f"  wrong shape: {prefix}depth_head.projects.0.lora_B.weight (8, 2, 1, 1), rank 1 needs (8, 1, 1, 1)",
        f"  missing: {prefix}depth_head.projects.1.lora_B.weight",
    }


def test_ranks_must_be_those_of_the_config(folder, config):
    change_config(folder, rank_pattern={})
    with pytest.raises(ValueError, match=r"blocks\.1\.mlp\.fc2\.lora_A\.weight \(2, 64\), rank 3 needs \(3, 64\)"):
        read_peft(folder, config)


def test_an_adapter_of_a_larger_model_is_refused(folder, config):
    with pytest.raises(ValueError, match="unknown module: camera_head"):
        read_peft(folder, replace(config, heads=("depth",)))
    smaller = replace(config, aggregator=replace(config.aggregator, depth=3), depth=config.depth, heads=("camera",))
    with pytest.raises(ValueError, match=r"unknown module: aggregator\.frame_blocks\.3\.attn\.qkv"):
        read_peft(folder, smaller)


def test_other_files_are_no_lora(folder, config):
    weights = folder / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-10])
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors: is cut off"):
        read_peft(folder, config)
    save_file({}, weights)
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors: holds no LoRA"):
        read_peft(folder, config)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        read_peft(folder, config)
    for text in ("{", "[]", '{"r": 3}'):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(ValueError, match=r"adapter_config\.json: not the configuration of a PEFT adapter"):
            read_peft(folder, config)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_peft(folder / "absent", config)


def test_what_cannot_be_written(config, matrices, tmp_path):
    deltas = draw(matrices, 2, 0)
    wrong = {
        "aggregator.frame_blocks.attn": deltas["camera_head.embed_pose"],
        "camera_head.embed_pose": deltas["camera_head.embed_pose"].mT,
    }
    with pytest.raises(ValueError) as raised:
        write_peft(tmp_path / "lora", wrong, config)
    assert str(raised.value).splitlines()[1:] == [
        "  unknown path: aggregator.frame_blocks.attn",
        "  wrong shape: camera_head.embed_pose has dW (9, 32), the model needs (32, 9)",
    ]
    with pytest.raises(ValueError, match="all of them are zero"):
        write_peft(tmp_path / "lora", jax.tree.map(jnp.zeros_like, deltas), config)
    for scale in (0.0, -1.0, float("inf"), float("nan"), 1e-40, 1e-50, 1e39):
        with pytest.raises(ValueError, match=rf"scale must be .* in float32, got {re.escape(str(scale))}"):
            write_peft(tmp_path / "lora", deltas, config, scale=scale)
    path, delta = next(iter(deltas.items()))
    for bad, scale in ((delta * jnp.nan, 1.0), (delta * 1e4, 1e-37), (LowRank(delta.A, delta.B * jnp.inf), 1.0)):
        with pytest.raises(ValueError, match="would have NaN or infinity in float32, nothing was written"):
            write_peft(tmp_path / "lora", {**deltas, path: bad}, config, scale=scale)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        write_peft(tmp_path / "file", deltas, config)


def test_the_command_writes_a_folder_for_peft(base, config, matrices, tmp_path, command):
    deltas = draw(select(matrices, ["*.qkv", "depth_head.projects.*"]), 2, 0)
    adapter = Adapter(deltas, BaseModel.of("tiny", config, base[1]), scale=1.5)
    save_adapter(tmp_path / "adapter.safetensors", adapter)
    arguments = ("--to=peft", f"--input={tmp_path}/adapter.safetensors", f"--output={tmp_path}/lora")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"of tiny ({adapter.base.fingerprint})" in done.stdout and f"wrote {tmp_path}/lora: " in done.stdout
    model = load_into_peft(tmp_path / "lora", base[1])
    assert_peft_changes_weights_by(model, dense(deltas))
    assert {layer.scaling["default"] for layer in lora_layers(model).values()} == {1.5}

    assert recorded_base(tmp_path / "lora") == ("tiny", adapter.base.fingerprint)
    check_base(tmp_path / "lora", adapter.base)
    other = replace(adapter.base, name="other", fingerprint="0" * 16)
    with pytest.raises(
        InputError, match=rf"lora: this adapter belongs to the model tiny \(.*\), not to other \({'0' * 16}\)"
    ):
        check_base(tmp_path / "lora", other)

    again = command(*arguments)
    assert again.returncode == 2 and again.stderr.endswith("lora: exists already; remove it or choose another name\n")
    assert len(again.stderr.splitlines()) == 1
