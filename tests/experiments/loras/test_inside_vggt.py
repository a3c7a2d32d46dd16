"""VGGT's LoRAs between PyTorch and here: trained there, mined here, trained inside there, in ``finetune``'s form, and back."""

import os
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.finetuning.methods.subspace import Subspace, read_subspaces
from experiments.loras.collection import collect
from experiments.loras.similarity import compare
from experiments.mining.folder import read_folder
from experiments.models import read_base
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from subspace import LowRank
from tests.experiments.commands import call
from tests.experiments.extraction.command import ROOT
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, make_scene
from vggt_jax.adapters import Adapter, SubspaceForm, load_adapter, save_adapter, select
from vggt_jax.deltas import low_rank_only
from vggt_jax.parameters import adaptable_matrices
from weights_convert.lora_layouts import open_lora
from weights_convert.peft import official_modules, read_peft

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
WEIGHTS = str(ROOT / "tests" / "fixtures" / "vggt_small")
MATRICES = ("*.attn.qkv", "*.mlp.fc2")


def _run(*arguments):
    found = call(*map(str, arguments))
    assert found.status == 0, found.stderr
    return found.stdout


def _torch_vggt(modules):
    """Linear maps and convolutions under the official names."""
    torch.manual_seed(0)
    root = torch.nn.Module()
    for name, module in modules.items():
        parent = root
        *parents, last = name.split(".")
        for part in parents:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        outputs, inputs, *kernel = module.weight
        layer = torch.nn.Conv2d(inputs, outputs, kernel) if kernel else torch.nn.Linear(inputs, outputs)
        parent.add_module(last, layer)
    return root


def _train(model, seed, steps=3):
    """Real gradients: every map is to double a random input of its own."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([x for x in model.parameters() if x.requires_grad], lr=0.02)
    layers = [x for x in model.modules() if isinstance(x, peft.tuners.lora.LoraLayer)]
    inputs = [torch.randn(8, x.in_features, generator=generator) for x in layers]
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([(layer(x) ** 2).mean() for layer, x in zip(layers, inputs, strict=True)]).sum().backward()
        optimizer.step()


@pytest.fixture(scope="module")
def base():
    return read_base(WEIGHTS)


@pytest.fixture(scope="module")
def mined(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vggt")
    chosen = select(adaptable_matrices(base.config), MATRICES)
    modules = {name: x for name, x in official_modules(base.config).items() if x.path in chosen}
    for number in range(3):
        torch.manual_seed(number)
        model = peft.get_peft_model(_torch_vggt(modules), peft.LoraConfig(r=2, target_modules=list(modules)))
        _train(model, number)
        model.save_pretrained(folder / f"lora_{number}")
    places = ",".join(str(folder / f"lora_{number}") for number in range(3))
    _run(
        "experiments.extract", f"--adapters={places}", f"--weights={WEIGHTS}", "--dim=3", f"--output={folder / 'mined'}"
    )
    return folder / "mined", modules


@pytest.mark.slow
def test_what_pytorch_trains_inside_a_subspace_is_what_finetune_writes(base, mined, tmp_path):
    basis, modules = mined
    told = _run(
        "experiments.adapters", "start", f"--basis={basis}", f"--weights={WEIGHTS}", f"--output={tmp_path / 'start'}"
    )
    assert f"{len(modules) * 9:,} numbers to train" in told
    model = peft.PeftModel.from_pretrained(_torch_vggt(modules), tmp_path / "start", is_trainable=True)
    names = {}
    exec((tmp_path / "start" / "train_inside.py").read_text(), names)
    names["inside"](model, tmp_path / "start")
    _train(model, 5)
    names["finish"](model)
    model.save_pretrained(tmp_path / "trained")
    to_project = ("--to=project", f"--weights={WEIGHTS}", f"--basis={basis}", f"--output={tmp_path / 'x.safetensors'}")
    told = _run("experiments.adapters", "convert", tmp_path / "trained", *to_project)
    assert "M inside the subspace of geometry" in told

    found = low_rank_only(load_adapter(tmp_path / "x.safetensors", base.identity).deltas, "x")
    chosen = select(adaptable_matrices(base.config), MATRICES)
    own = read_subspaces([basis], base.identity, chosen)
    bases = Subspace(subspaces=(basis,), plain=None).unite(own, chosen).square()
    trained = {name.removeprefix("base_model.model."): x for name, x in model.named_modules() if hasattr(x, "lora_B")}
    M = {path: np.zeros((*x.stack, 3, 3)) for path, x in chosen.items()}
    for name, layer in trained.items():
        W, module = layer.get_delta_weight("default").detach().numpy().astype(np.float64), modules[name]
        A, B = (np.asarray(x, np.float64)[module.layer] for x in (bases[module.path].A, bases[module.path].B))
        M[module.path][module.layer] = A.T @ W @ B
    assert max(np.abs(x).max() for x in M.values()) > 1e-3
    for path, expected in SubspaceForm(bases).deltas({path: x.astype(np.float32) for path, x in M.items()}).items():
        np.testing.assert_allclose(found[path].A, expected.A, atol=1e-6)
        np.testing.assert_allclose(found[path].B, expected.B, atol=1e-6)

    _run("weights_convert", "--to=peft", f"--input={tmp_path / 'x.safetensors'}", f"--output={tmp_path / 'back'}")
    again = peft.PeftModel.from_pretrained(_torch_vggt(modules), tmp_path / "back")
    for name, layer in again.named_modules():
        if hasattr(layer, "lora_B"):
            expected = trained[name.removeprefix("base_model.model.")].get_delta_weight("default").detach().numpy()
            np.testing.assert_allclose(layer.get_delta_weight("default").detach().numpy(), expected, atol=1e-6)
    assert set(open_lora(tmp_path / "back").modules) == set(modules)


@pytest.mark.slow
def test_finetune_trains_inside_what_pytorchs_loras_share_and_peft_has_the_same_figures(base, mined, tmp_path):
    """Trained in PyTorch → mined here → fine-tuned here → exported to PEFT."""
    (basis, modules), size = mined, 28
    settings = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | {"resolution": size}
    scene = partial(make_scene, size=size)
    runs.generate(tmp_path / "data", type(SETTINGS)(**settings), 1, 3, lambda: scene, lambda: LocalPool(COMMAND, 1))
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.experiments.command_of_a_job", tmp_path, "experiments.finetune", "--method=subspace",
            f"--subspaces={basis}", f"--weights={WEIGHTS}", f"--matrices={','.join(MATRICES)}", "--plain=",
            "--steps=2",
            f"--data={tmp_path / 'data' / 'dataset_00'}", f"--output={tmp_path / 'tuned'}", f"--store={tmp_path / 'runs'}",
        ],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"trains {len(modules) * 9:,} parameters" in done.stdout  # M of three by three in each matrix
    tuned = tmp_path / "tuned" / "adapter.safetensors"
    _run("weights_convert", "--to=peft", f"--input={tuned}", f"--output={tmp_path / 'back'}")

    shared = read_folder(basis).factors
    trained = low_rank_only(load_adapter(tuned, base.identity).deltas, "tuned")
    assert set(trained) == set(shared)
    model = peft.PeftModel.from_pretrained(_torch_vggt(modules), tmp_path / "back").double()
    seen = set()
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_B"):
            path, number = (module := modules[name.removeprefix("base_model.model.")]).path, module.layer
            A, B = (np.asarray(x[number], np.float64) for x in (trained[path].A, trained[path].B))
            found, expected = layer.get_delta_weight("default").detach().numpy(), A @ B.T
            largest = np.abs(expected).max()
            assert largest > 1e-6
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * largest)
            U, V = (np.linalg.qr(np.asarray(x[number], np.float64))[0] for x in (shared[path].A, shared[path].B))
            np.testing.assert_allclose(U @ (U.T @ found @ V) @ V.T, found, rtol=0, atol=1e-5 * largest)
            seen.add(name)
    assert len(seen) == len(modules)


@pytest.mark.slow
def test_a_lora_of_a_vggt_becomes_an_adapter_here(base, mined, tmp_path):
    basis, _ = mined
    lora, path = basis.parent / "lora_0", tmp_path / "x.safetensors"
    _run("experiments.adapters", "convert", lora, "--to=project", f"--weights={WEIGHTS}", f"--output={path}")
    expected = read_peft(lora, base.config)
    for name, delta in low_rank_only(load_adapter(path, base.identity).deltas, "x").items():
        np.testing.assert_allclose(delta.to_dense(), expected[name].to_dense(), atol=1e-7)


@pytest.fixture(scope="module")
def own(base, tmp_path_factory):
    """Two adapters of this project, of stacks with a layer that is zero and of a convolution; and what they adapt."""
    folder, paths = tmp_path_factory.mktemp("own"), ("aggregator.frame_blocks.attn.proj", "depth_head.projects.1")
    modules = {name: x for name, x in official_modules(base.config).items() if x.path in paths}
    depth = len(modules) - 1
    for number in range(2):
        rng = np.random.default_rng(number)
        sizes = {paths[0]: ((depth, 64), (depth, 64)), paths[1]: ((24,), (128,))}
        deltas = {
            path: LowRank(*(rng.standard_normal((*x, 2)).astype(np.float32) for x in both))
            for path, both in sizes.items()
        }
        deltas[paths[0]].A[-1] = deltas[paths[0]].B[-1] = 0
        save_adapter(folder / f"own_{number}.safetensors", Adapter(deltas, base.identity, scale=0.5))
    return folder, modules


def test_own_adapters_become_peft_folders_of_the_official_model(own, tmp_path):
    folder, modules = own
    told = _run("experiments.adapters", "convert", folder / "own_0.safetensors", f"--output={tmp_path / 'a'}")
    assert f": {len(modules) - 1} matrices of own_0 as peft" in told
    _run("weights_convert", "--to=peft", f"--input={folder / 'own_0.safetensors'}", f"--output={tmp_path / 'b'}")
    for file in (tmp_path / "b").iterdir():
        other = tmp_path / "a" / file.name
        if file.suffix != ".safetensors":
            assert file.read_bytes() == other.read_bytes()
            continue
        found, expected = load_file(other), load_file(file)  # entries of the header come in any order
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_own_adapters_are_merged_into_a_folder_of_the_official_model(base, own, tmp_path):
    folder, modules = own
    _run("experiments.adapters", "merge", folder, "--rank=4", "--modules=union", f"--output={tmp_path / 'merged'}")
    deltas = [low_rank_only(load_adapter(folder / f"own_{i}.safetensors").deltas, "own") for i in range(2)]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")
        model = peft.PeftModel.from_pretrained(_torch_vggt(modules), tmp_path / "merged").base_model.model
    again = read_peft(tmp_path / "merged", base.config)
    for name, (path, layer, _) in modules.items():
        expected = np.mean([np.asarray(x[path].to_dense()) for x in deltas], axis=0)
        np.testing.assert_allclose(again[path].to_dense(), expected, atol=1e-5)
        if layer is None or expected[layer].any():
            found = model.get_submodule(name).get_delta_weight("default").detach().numpy()
            np.testing.assert_allclose(
                found.reshape(len(found), -1), expected if layer is None else expected[layer], atol=1e-5
            )


def test_an_own_adapter_and_its_peft_folder_have_the_same_matrices(own, tmp_path):
    folder, _ = own
    _run("weights_convert", "--to=peft", f"--input={folder / 'own_0.safetensors'}", f"--output={tmp_path / 'back'}")
    found = compare(collect([str(folder / "own_0.safetensors"), str(tmp_path / "back")]))
    assert found.cosine[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "{lora}", "--to=project"), "needs --weights"),
        (
            ("convert", "{lora}", "--to=project", "--weights={weights}", "--basis={basis}"),
            "was not trained inside of it",
        ),
        (("convert", "{lora}", "--to=kohya", "--weights={weights}"), "--weights has no effect without --to=project"),
        (("convert", "{lora}", "--to=project", "--weights=nano"), "this is no LoRA of that VGGT"),
        (("convert", "{own}", "--to=project", "--weights={weights}"), "is an adapter of this project already"),
        (("start", "--basis={basis}", "--weights=nano"), "is vggt_small ("),
        (("start", "{lora}", "--basis={basis}", "--weights={weights}"), "got both"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments, message, base, mined, tmp_path, tmp_path_factory):
    basis, _ = mined
    own = tmp_path_factory.mktemp("own") / "adapter.safetensors"
    save_adapter(own, Adapter(read_peft(basis.parent / "lora_0", base.config), base.identity))
    words = {"lora": basis.parent / "lora_0", "basis": basis, "weights": WEIGHTS, "own": own}
    output = f"--output={tmp_path / 'x.safetensors'}"
    found = call("experiments.adapters", *(word.format(**words) for word in arguments), output)
    assert found.status == 2 and message in found.stderr and "Traceback" not in found.stderr, found.stderr
    assert not list(tmp_path.iterdir())
