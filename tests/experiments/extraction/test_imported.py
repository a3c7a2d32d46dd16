"""``experiments.extract``: adapters of other tools and of any model, from folders to the report; bad settings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.extraction import Settings
from experiments.extraction.imported import read_adapters
from experiments.extraction.results import identity_of_imported
from experiments.finetuning.methods.subspace import read_subspaces
from experiments.mining.subspace_file import load_subspace
from experiments.mining.union import unite
from experiments.models import read_base
from experiments.process.reporting import Reporter
from experiments.storage.identity import digest
from subspace import LowRank, project
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.extraction.command import ROOT
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Adapter, BaseModel, save_adapter
from vggt_jax.parameters import adaptable_matrices
from weights_convert import read_config, read_peft, write_peft

MODULES = ("blocks.0.attn.qkv", "blocks.1.attn.qkv")


def peft_folder(folder, seed, rank=4, modules=MODULES):
    """A LoRA whose first two directions are the same for every seed."""
    common, own = np.random.default_rng(0), np.random.default_rng(seed)
    tensors = {}
    for module in modules:
        parts = [rng.standard_normal(shape) for rng in (common, own) for shape in ((2, 40), (60, 2))]
        lora_A = np.concatenate([parts[0], 0.2 * own.standard_normal((rank - 2, 40))])
        lora_B = np.concatenate([parts[1], 0.2 * own.standard_normal((60, rank - 2))], axis=1)
        tensors[f"base_model.model.{module}.lora_A.weight"] = lora_A.astype(np.float32)
        tensors[f"base_model.model.{module}.lora_B.weight"] = lora_B.astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["qkv"]})
    )
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [peft_folder(folder / f"lora_{i}", seed=i + 1) for i in range(3)]


@pytest.fixture(scope="module")
def result(three, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    places = ",".join(map(str, three))
    found = call("experiments.extract", f"--adapters={places}", "--dim=2", f"--output={folder / 'out'}")
    return found, folder / "out"


def test_writes_subspace_summary_and_report(result):
    found, output = result
    assert found.status == 0, found.stderr
    assert {entry.name for entry in output.iterdir()} == {
        "subspace.safetensors",
        "summary.json",
        "results.json",
        "figures",
        "report.html",
    }
    assert "matrices" in found.stdout and "report.html" in found.stdout.splitlines()[-1]
    assert "In 2 of 2 matrices the adapters share more than chance" in found.stdout
    stored = load_subspace(output / "subspace.safetensors")
    assert stored.origin.adapters == ("lora_0", "lora_1", "lora_2") and set(stored.factors) == set(MODULES)
    common = np.random.default_rng(0)
    for module in MODULES:
        lora_A, lora_B = common.standard_normal((2, 40)), common.standard_normal((60, 2))
        U = np.linalg.qr(lora_B)[0]
        found_U = np.linalg.qr(np.asarray(stored.factors[module].A, np.float64))[0]
        assert np.linalg.svd(U.T @ found_U)[1].min() > 0.97  # cosines of the principal angles
        assert lora_A.shape == (2, 40)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["facts"]["k"] == "3" and len(summary["matrices"]) == 2
    assert all(0 <= row["held_out"] <= 1 for row in summary["matrices"])
    assert len(list((output / "figures").glob("*.png"))) == len(list((output / "figures").glob("*.pdf"))) == 3


def test_a_second_run_replaces_its_own_results_and_nothing_else(result, three):
    _, output = result
    arguments = [f"--adapters={','.join(map(str, three))}", f"--output={output}"]
    refused = call("experiments.extract", *arguments, "--dim=3")
    assert refused.status == 2 and "dim: 2 there, 3 now" in refused.stderr and "--overwrite" in refused.stderr
    assert load_subspace(output / "subspace.safetensors").origin.dim == 2
    (output / "notes.txt").write_text("mine")
    refused = call("experiments.extract", *arguments, "--dim=2", "--overwrite")
    assert refused.status == 2 and "notes.txt" in refused.stderr and refused.stderr.count("\n") == 1
    assert (output / "notes.txt").exists()
    (output / "notes.txt").unlink()


def test_adapters_are_known_by_what_they_hold_not_by_where_they_lie(three, tmp_path):
    one = Settings.of(adapters=tuple(three[:2]))
    moved = tuple(Path(shutil.copytree(path, tmp_path / path.name)) for path in three[:2])
    assert identity_of_imported(replace(one, adapters=moved), None) == identity_of_imported(one, None)
    for other in (
        replace(one, adapters=tuple(three[1:])),
        replace(one, adapters=tuple(reversed(three[:2]))),
        replace(one, dim=3),
        replace(one, exponent=2.0),
    ):
        assert digest(identity_of_imported(other, None)) != digest(identity_of_imported(one, None))
    before = identity_of_imported(replace(one, adapters=moved), None)
    peft_folder(tmp_path / "again", seed=7)
    shutil.copy(tmp_path / "again" / "adapter_model.safetensors", moved[0])
    assert identity_of_imported(replace(one, adapters=moved), None) != before


def _with(folder, value):
    """A LoRA all of whose output factors have this value."""
    peft_folder(folder, 5)
    tensors = load_file(folder / "adapter_model.safetensors")
    changed = {name: np.full_like(x, value) if "lora_B" in name else x for name, x in tensors.items()}
    save_file(changed, folder / "adapter_model.safetensors")
    return folder


def _own_adapter(path, name, fingerprint):
    rng = np.random.default_rng(3)
    factors = rng.standard_normal((128, 2)), rng.standard_normal((192, 2))
    deltas = {"aggregator.patch_embed.patch_embed.proj": LowRank(*factors)}
    save_adapter(path, Adapter(deltas, BaseModel(name, fingerprint, VGGTConfig.nano())))
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda a, t: ["--attribute=colour"], "--attribute must be texture"),
        (lambda a, t: [f"--adapters={a[0]}"], "at least two adapters are needed to find what they share, got 1"),
        (lambda a, t: [f"--adapters={a[0]},{t / 'absent'}"], "absent"),
        (
            lambda a, t: [f"--adapters={a[0]},{a[1]}", "--dim=9"],
            "dim=9 is out of range: 2 adapters of rank 4 span at most 8 dimensions",
        ),
        (lambda a, t: [f"--adapters={a[0]},{t}"], "is no PEFT folder"),
        (lambda a, t: [f"--adapters={a[0]},{_with(t / 'zero', 0)}", "--dim=2"], "zero is untrained"),
        (lambda a, t: [f"--adapters={a[0]},{_with(t / 'nan', np.nan)}", "--dim=2"], "has NaN or infinity"),
        (
            lambda a, t: [
                f"--adapters={_own_adapter(t / 'x.safetensors', 'one', '0' * 16)},"
                f"{_own_adapter(t / 'y.safetensors', 'two', '1' * 16)}"
            ],
            "the base model of x is one (0000000000000000), that of y is two (1111111111111111)",
        ),
        (lambda a, t: [f"--adapters={a[0]},{a[1]},{a[0].parent}/./{a[0].name}"], "is named twice"),
        (
            lambda a, t: [f"--adapters={a[0]},{a[1]}", "--steps=5", "--dim=2", "--seed=0"],
            "--steps, --seed have no effect with --adapters",
        ),
        (lambda a, t: ["--alpha=3", f"--adapters={a[0]},{a[1]}"], "exponent must lie in (0, 2], got 3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, three, tmp_path):
    found = call("experiments.extract", *arguments(three, tmp_path), f"--output={tmp_path / 'out'}")
    assert found.status == 2 and message in found.stderr, found.stderr
    assert "Traceback" not in found.stderr and not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--dim=41", "dim=41 is out of range: 5 adapters of rank 8 span at most 40 dimensions (k·r)"),
        ("--alpha=0", "exponent must lie in (0, 2], got 0"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_made(argument, message, tmp_path):
    weights = ROOT / "tests" / "fixtures" / "vggt_small"
    found = call("experiments.extract", argument, f"--weights={weights}", f"--store={tmp_path}")
    assert found.status == 2 and message in found.stderr and found.stderr.count("\n") == 1, found.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_smaller_ranks_are_filled_and_folders_patterns_and_lists_are_taken(three, tmp_path):
    for i, rank in enumerate((4, 3)):
        peft_folder(tmp_path / f"rank{rank}", i + 1, rank=rank)
    deltas, base = read_adapters([tmp_path / "rank4", tmp_path / "rank3"], None)
    module = MODULES[0]
    assert base[1] is None and {x[module].rank for x in deltas.values()} == {4}
    np.testing.assert_array_equal(deltas["rank3"][module].A[:, 3], 0)
    (tmp_path / "list.txt").write_text("\n".join(map(str, three[1:])))
    for place in (three[0].parent, three[0].parent / "lora_*", f"{tmp_path / 'list.txt'},{three[0]}"):
        found = call(
            "experiments.extract", f"--adapters={place}", "--dim=2", f"--output={tmp_path / 'out'}", "--overwrite"
        )
        assert found.status == 0, found.stderr
        assert sorted(load_subspace(tmp_path / "out" / "subspace.safetensors").origin.adapters) == [
            "lora_0",
            "lora_1",
            "lora_2",
        ]


@pytest.mark.slow
def test_loras_of_a_vggt_are_mined_used_and_exported_again(tmp_path):
    """Trained in PyTorch → mined here with the weights → M inside the subspace → a LoRA for PyTorch."""
    weights = ROOT / "tests" / "fixtures" / "vggt_small"
    base = read_base(str(weights))
    paths = {path: x for path, x in adaptable_matrices(base.config).items() if path.endswith(("attn.qkv", "mlp.fc2"))}
    rng = np.random.default_rng(0)
    loras = []
    for number in range(3):
        deltas = {
            path: LowRank(*(rng.standard_normal((*x.stack, size, 2)).astype(np.float32) for size in (x.n, x.m)))
            for path, x in paths.items()
        }
        for x in deltas.values():
            x.A[0] = 0  # no LoRA in the first layer
        write_peft(tmp_path / f"lora_{number}", deltas, base.config)
        loras.append(deltas)
    places = ",".join(str(tmp_path / f"lora_{number}") for number in range(3))
    found = call(
        "experiments.extract", f"--adapters={places}", f"--weights={weights}", "--dim=6", f"--output={tmp_path / 'out'}"
    )
    assert found.status == 0, found.stderr
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["matrices"]
    layers = sum(x.stack[0] for x in paths.values())
    assert len(rows) == layers - len(paths) and all(row["layer"] > 0 for row in rows)
    mined = read_subspaces([tmp_path / "out"], base.identity, paths)["geometry"]
    assert mined.origin.fingerprint == base.identity.fingerprint
    union = unite({"geometry": mined}, {path: np.full((1, *x.stack), 6) for path, x in paths.items()})
    inside = {}
    for (
        path,
        basis,
    ) in union.square().items():  # the M of the first LoRA, all of which lies in the span of six directions
        inside[path] = basis.expand(project(loras[0][path], basis))
    write_peft(tmp_path / "back", inside, base.config)
    back = read_peft(tmp_path / "back", base.config)
    for path, x in loras[0].items():
        np.testing.assert_allclose(back[path].to_dense(), x.to_dense(), atol=1e-4)


class _Told(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def info(self, line):
        self.lines.append(line)


def test_loras_of_a_vggt_in_any_layout_are_mined_on_the_matrices_that_all_have(tmp_path):
    torch = pytest.importorskip("torch")
    config = read_config(str(ROOT / "tests" / "fixtures" / "vggt_small"))
    matrices = adaptable_matrices(config)
    qkv, fc2 = "aggregator.frame_blocks.attn.qkv", "aggregator.frame_blocks.mlp.fc2"
    rng = np.random.default_rng(0)
    made = []
    for number, paths in enumerate(((qkv, fc2), (qkv,), (qkv, fc2))):
        own = {}
        for path in paths:
            x = matrices[path]
            own[path] = LowRank(*(rng.standard_normal((*x.stack, size, 2)) for size in (x.n, x.m)))
        if number == 2:
            own[qkv].A[1] = own[qkv].B[1] = 0  # no LoRA in the second layer
        write_peft(tmp_path / f"lora_{number}", own, config)
        made.append(own)
    write_peft(tmp_path / "known", made[0], config, base=BaseModel("one", "ab", config))
    assert read_adapters([tmp_path / "known"], config)[1] == ("one", "ab")
    with pytest.raises(InputError, match="the base model of known is one"):
        read_adapters([tmp_path / "known", tmp_path / "lora_0"], config)
    _as_bin_with_a_whole_module(tmp_path / "lora_1", torch)
    _in_two_files(tmp_path / "lora_2")
    reporter = _Told()
    found, _ = read_adapters([tmp_path / f"lora_{number}" for number in range(3)], config, reporter)
    assert all(list(own) == [qkv] for own in found.values())
    for name, own in zip(found, made, strict=True):
        A = own[qkv].A.copy()
        A[1] = 0
        np.testing.assert_allclose(found[name][qkv].to_dense(), LowRank(A, own[qkv].B).to_dense(), atol=1e-5)
    assert any("only some adapters have" in line and "frame_blocks.1.attn.qkv" in line for line in reporter.lines)
    assert any("lora_1: saved beside" in line and "head.weight" in line for line in reporter.lines)


def _as_bin_with_a_whole_module(folder, torch):
    tensors = load_file(folder / "adapter_model.safetensors") | {
        "base_model.model.head.weight": np.ones((2, 2), np.float32)
    }
    torch.save({name: torch.from_numpy(x) for name, x in tensors.items()}, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    config = json.loads((folder / "adapter_config.json").read_text()) | {"modules_to_save": ["head"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _in_two_files(folder):
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    places = {name: f"adapter_model-{i % 2 + 1}-of-2.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: x for name, x in tensors.items() if places[name] == file}, folder / file)
    (folder / "adapter_model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


class Warned(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def warning(self, line):
        self.lines.append(line)


def test_equal_and_equally_begun_adapters_are_told(three, tmp_path):
    copies = [shutil.copytree(three[0], tmp_path / name) for name in ("copy_1", "copy_2")]
    begun = shutil.copytree(three[1], tmp_path / "begun")
    tensors, first = (load_file(folder / "adapter_model.safetensors") for folder in (begun, three[0]))
    tensors |= {name: array for name, array in first.items() if "lora_A" in name}  # PEFT's A is the input factor
    save_file(tensors, begun / "adapter_model.safetensors")
    told = Warned()
    read_adapters([*copies, three[2]], None, told)
    assert told.lines == ["the same updates, which vouch for each other when one is held out: copy_1, copy_2"]
    told = Warned()
    read_adapters([three[0], begun, three[2]], None, told)
    (line,) = told.lines
    assert line.startswith("2 LoRAs have nearly the same input factors (lora_0, begun)")
    told = Warned()
    read_adapters(three, None, told)
    assert not told.lines
