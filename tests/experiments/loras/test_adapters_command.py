"""``experiments.adapters`` as users call it."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.loras.collection import collect
from experiments.mining.folder import read_folder
from experiments.process.reporting import Reporter
from subspace import Basis, shared_subspaces
from tests.experiments.commands import call
from tests.experiments.loras.made import SHAPES, factors, write
from weights_convert.lora_layouts import open_lora


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("loras")
    for i in range(4):
        write(path / "all" / f"lora_{i}", factors(i), base="some/model")
    return path


def _run(*arguments):
    found = call("experiments.adapters", *map(str, arguments))
    assert found.status == 0, found.stderr
    return found.stdout


def _info_of_some(end, *arguments):
    """What is said where not all can be used: every line, and status 2 at the end."""
    found = call("experiments.adapters", "info", *map(str, arguments))
    assert found.status == 2 and found.stderr.endswith(f": {end}\n") and found.stderr.count("\n") == 1, found.stderr
    return found.stdout


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("fault", ["NaN", "cut"])
def test_info_fails_wherever_the_fault_lies(fault, beside, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Reporter, "progress", None)  # a bar would run into the lines
    made = factors(9)
    if fault == "NaN":
        next(iter(made.values()))[0][0, 0] = np.nan
    write(tmp_path / "bad", made)
    weights = tmp_path / "bad" / "adapter_model.safetensors"
    if fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    more = [folder / "all" / "lora_0"] if beside else []
    found = call("experiments.adapters", "info", str(tmp_path / "bad"), *map(str, more))
    assert found.status == 2 and "bad" in found.stderr and ("lora_0: peft" in found.stdout) is beside
    assert "unusable: " in found.stdout or (fault == "cut" and not beside)


def test_info_and_compare(folder, tmp_path):
    told = _run("info", folder / "all")
    assert told.count("peft, 3 matrices, F32, base some/model") == 4 and "rank 3; scale 1" in told
    dora = tmp_path / "dora"
    write(dora, factors(9))
    config = json.loads((dora / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    told = _info_of_some("1 of 5 LoRAs cannot be used: dora", folder / "all", dora)
    assert told.count("peft, 3 matrices") == 4 and "dora: unusable: " in told
    refused = call("experiments.adapters", "info", str(dora))
    assert refused.status == 2 and "DoRA" in refused.stderr and not refused.stdout
    for name, file in (("a_no_weights", "adapter_config.json"), ("b_no_settings", "adapter_model.safetensors")):
        (tmp_path / "some" / name).mkdir(parents=True)
        shutil.copy(folder / "all" / "lora_0" / file, tmp_path / "some" / name)
    shutil.copytree(folder / "all" / "lora_0", tmp_path / "some" / "c")
    told = _info_of_some("2 of 3 LoRAs cannot be used: a_no_weights, b_no_settings", tmp_path / "some")
    assert "a_no_weights: unusable: " in told and "b_no_settings: unusable: " in told and "c: peft, 3 matrices" in told
    told = _run("compare", folder / "all", f"--output={tmp_path / 'pairs'}")
    assert "cosine of dW" in told
    pairs = list(csv.DictReader((tmp_path / "pairs" / "similarity.csv").open()))
    assert len(pairs) == 6 and all(-1 <= float(pair["cosine"]) <= 1 for pair in pairs)
    page = (tmp_path / "pairs" / "report.html").read_text()
    assert "<title>Which LoRAs are alike" in page and "<p>outputs overlap by" in page and "cluster of 4" in page


@pytest.fixture(scope="module")
def mined(folder):
    told = _run("mine", folder / "all", "--dim=2", "--label=one", f"--output={folder / 'one'}")
    assert "In 3 of 3 matrices the adapters share more than chance" in told
    assert [line.split()[0] for line in told.splitlines()[1:3]] == ["down_proj", "q_proj"]
    return folder / "one"


@pytest.mark.slow
def test_what_is_mined_is_what_the_library_mines_and_analyze_reads_it(folder, mined):
    stored = read_folder(mined)
    assert stored.attribute == "one" and len(stored.adapter_files) == 4
    collection = collect([str(folder / "all")])
    expected = shared_subspaces(dict(collection.stacks), 2)
    for path in SHAPES:
        np.testing.assert_allclose(stored.factors[path].to_dense(), expected[path].factors.to_dense(), atol=1e-4)
        np.testing.assert_allclose(stored.read_adapter(2)[path].to_dense(), collection.read(path)["lora_2"].to_dense())
    summary = json.loads((mined / "summary.json").read_text())
    assert [row["name"] for row in summary["loras"]] and len(summary["matrices"][0]["held_out_each"]) == 4
    again = call("experiments.adapters", "mine", str(folder / "all"), "--dim=2", "--label=one", f"--output={mined}")
    assert again.status == 0 and "nothing to do" in again.stdout


@pytest.mark.slow
def test_a_lora_is_added_without_the_others(folder, mined, tmp_path):
    shutil.copytree(mined, tmp_path / "one")
    write(tmp_path / "lora_9", {name: x for name, x in factors(9, rank=4).items() if "down" not in name})
    told = _run("add", tmp_path / "lora_9", f"--to={tmp_path / 'one'}", f"--output={tmp_path / 'two'}")
    assert "Matrices that the new LoRA does not have, left out: model.layers.0.down_proj" in told
    assert "% of the energy of lora_9 lies in the subspace of the others" in told
    found, summary = read_folder(tmp_path / "two"), json.loads((tmp_path / "two" / "summary.json").read_text())
    assert found.origin.adapters == ("lora_0", "lora_1", "lora_2", "lora_3", "lora_9") and set(
        summary["bounds"]
    ) == set(found.factors)
    collection = collect([str(folder / "all"), str(tmp_path / "lora_9")])
    expected = shared_subspaces(dict(collection.stacks), 2)
    for path, own in found.factors.items():  # six directions of twelve are known of the others
        reference = expected[path].factors.to_dense()
        assert np.linalg.norm(own.to_dense() - reference) < 0.1 * np.linalg.norm(reference)
        np.testing.assert_allclose(found.read_adapter(4)[path].to_dense(), collection.read(path)["lora_9"].to_dense())
        np.testing.assert_allclose(found.statistics[path]["weights"], expected[path].weights, atol=0.02)
    shutil.rmtree(tmp_path / "one")
    again = call("experiments.adapters", "add", str(tmp_path / "lora_9"), f"--to={tmp_path / 'two'}")
    assert again.status == 2 and f"lora_9 is in {tmp_path / 'two'} already, as lora_9" in again.stderr
    for more in ((), ("--overwrite",)):
        onto = call("experiments.adapters", "add", tmp_path / "lora_9", f"--to={mined}", f"--output={mined}/.", *more)
        assert onto.status == 2 and "is the subspace that is added to" in onto.stderr and "[" not in onto.stderr
    write(tmp_path / "other" / "lora_9", factors(11))
    _run("add", tmp_path / "other" / "lora_9", f"--to={tmp_path / 'two'}", f"--output={tmp_path / 'three'}")
    assert read_folder(tmp_path / "three").origin.adapters[-1] == "lora_9_2"


@pytest.mark.parametrize("method", ["mean", "robust", "tsv"])
def test_merge(method, folder, tmp_path):
    told = _run("merge", folder / "all", f"--method={method}", "--rank=2", f"--output={tmp_path / 'merged'}")
    assert "3 matrices" in told
    lora = open_lora(tmp_path / "merged")
    assert lora.base == "some/model" and {x.rank for x in lora.modules.values()} == {2}
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "base_model: some/model" in card and "lora_3" in card and method in card


def test_project_and_residual_add_up(folder, mined, tmp_path):
    lora = open_lora(folder / "all" / "lora_0")
    parts = {}
    for part in ("project", "residual", "remove"):
        _run(part, folder / "all" / "lora_0", f"--basis={mined}", f"--output={tmp_path / part}")
        parts[part] = open_lora(tmp_path / part)
    for path in SHAPES:
        whole = lora.read(path).to_dense()
        both = sum(parts[part].read(path).to_dense() for part in ("project", "residual"))
        np.testing.assert_allclose(both, whole, atol=1e-4)


def test_names_may_hold_what_figures_and_reports_cannot_show(folder, tmp_path):
    for number, name in enumerate(("a$5_$10", "中文", "$x^$")):
        shutil.copytree(folder / "all" / f"lora_{number}", tmp_path / "some" / name)
    found = call("experiments.adapters", "compare", str(tmp_path / "some"), f"--output={tmp_path / 'pairs'}")
    assert found.status == 0 and "Warning" not in found.stderr, found.stderr
    shutil.copytree(folder / "all" / "lora_3", tmp_path / "some" / os.fsdecode(b"b\xff"))
    found = call("experiments.adapters", "mine", str(tmp_path / "some"), f"--output={tmp_path / 'mined'}")
    assert found.status == 2 and "'b\\udcff': this name cannot be written in reports" in found.stderr


def test_convert(folder, tmp_path):
    told = _run("convert", folder / "all" / "lora_0", "--to=kohya", f"--output={tmp_path / 'one.safetensors'}")
    assert "3 matrices of lora_0 as kohya" in told


@pytest.mark.parametrize("to", ["diffusers", "kohya"])
def test_convert_counts_what_is_written(to, folder, tmp_path):
    shutil.copytree(folder / "all" / "lora_0", tmp_path / "with_table")
    weights = tmp_path / "with_table" / "adapter_model.safetensors"
    sides = {"A": np.ones((3, 50), np.float32), "B": np.ones((24, 3), np.float32)}
    table = {f"base_model.model.emb.lora_embedding_{side}": x for side, x in sides.items()}
    save_file(load_file(weights) | table, weights)
    told = _run("convert", tmp_path / "with_table", f"--to={to}", f"--output={tmp_path / 'one.safetensors'}")
    assert f"left out, {to} has no place for it: emb (an embedding)" in told
    assert f": 3 matrices of with_table as {to}" in told and len(open_lora(tmp_path / "one.safetensors").modules) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to do, one of: info, compare"),
        (("mergee", "x"), "did you mean merge"),
        (("mine",), "mine needs LoRAs"),
        (("info", "absent"), "absent: no such file or folder"),
        (("merge", "{all}"), "merge needs --output"),
        (("convert", "{all}/lora_0", "--output={all}/x.safetensors"), "x.safetensors: the layout peft is a folder"),
        (
            ("convert", "{all}", "--to=diffusers", "--output={all}/new"),
            "new: the layout diffusers is one file",
        ),
        (("info", "{all}", "--rank=2"), "--rank has no effect on info"),
        (("mine", "{all}", "--dim=99"), "dim=99"),
        (("compare", "{all}", "--output={all}"), "exists already"),
        (("merge", "{all}", "--output=x", "--weigh=lora_0"), "NAME=NUMBER"),
        (("merge", "{all}", "--output=x", "--weigh=lora_0=1,lora_0=2"), "lora_0 has two weights, 1 and 2"),
        (("info", ""), "the name of a LoRA's place is empty"),
        (
            ("merge", "{all}", "--output=x", "--weigh=lora_9=2"),
            "weights name lora_9, which is none of the LoRAs: lora_0, lora_1, lora_2, lora_3 (see --weigh)",
        ),
        (("merge", "{all}", "--output=x", "--weigh=lora_0=nan"), "the weight of lora_0 must be a finite number"),
        (("merge", "{all}", "--output=x", "--weigh=lora_0=-3"), "weights add up to zero"),
        (
            ("merge", "{all}", "--output=x", "--weigh=lora_0=0.1,lora_1=0.2,lora_2=-0.3,lora_3=0"),
            "weights add up to zero",
        ),
        (("merge", "{all}", "--output=x", "--density=0.5"), "--density has no effect with --method=mean"),
        (("merge", "{all}", "--output=x", "--method=ties", "--seed=3"), "--seed has no effect with --method=ties"),
        (("merge", "{all}", "--output=x", "--to=onnx"), "layouts are peft"),
        (("project", "{all}/lora_0", "--output=x"), "needs --basis"),
        (("project", "{all}/lora_0", "--basis={all}", "--output=x"), "(see --basis)"),
        (("convert", "{all}", "--output=x"), "convert takes one LoRA, got 4"),
        (("convert", "{all}/lora_0", "--output=x", "--to=kohia"), "did you mean kohya"),
        (("add", "{all}/lora_0"), "add needs --to"),
        (("add", "{all}", "--to={all}"), "holds 4"),
        (
            ("add", "{all}/lora_0", "--to={all}"),
            "`adapters mine` make such folders (see --to)",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call("experiments.adapters", *(word.replace("{all}", str(folder / "all")) for word in arguments))
    assert found.status == 2 and message in found.stderr and "Traceback" not in found.stderr, found.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_not_said_to_be_absent(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("pipe.safetensors", "is a named pipe, not a file"), ("loop", "symbolic links")):
        found = call("experiments.adapters", "info", str(tmp_path / name))
        assert found.status == 2 and message in found.stderr and found.stderr.count("\n") == 1


def test_training_starts_and_stays_inside(folder, mined, tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    told = _run("start", folder / "all" / "lora_0", f"--basis={mined}", f"--output={tmp_path / 'start'}")
    assert "12 numbers to train" in told  # 2 × 2 in each of three matrices

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.down_proj = torch.nn.Linear(20, 24), torch.nn.Linear(30, 16)

    base = torch.nn.Module()
    base.model = torch.nn.Module()
    base.model.layers = torch.nn.ModuleList([Layer(), Layer()])
    base.forward = lambda x: base.model.layers[0].q_proj(x)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "start", is_trainable=True)
    names = {}
    exec((tmp_path / "start" / "train_inside.py").read_text(), names)
    names["inside"](model, tmp_path / "start")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == 12
    optimizer = torch.optim.SGD(trained, lr=0.1)
    base.model.layers[0].q_proj(torch.ones(2, 20)).sum().backward()
    optimizer.step()
    names["finish"](model)
    model.save_pretrained(tmp_path / "trained", save_embedding_layers=False)
    found = open_lora(tmp_path / "trained").read("model.layers.0.q_proj").to_dense()
    basis = Basis.of_canonical(read_folder(mined).factors["model.layers.0.q_proj"].to_numpy(np.float64))
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(basis.A @ basis.A.T @ found @ basis.B @ basis.B.T, found, atol=1e-6)


def test_what_some_loras_share_can_be_used(tmp_path):
    """With ``--modules=union`` matrices have their own numbers of LoRAs."""
    for i in range(4):
        made = factors(i) if i < 3 else {name: each for name, each in factors(i).items() if "down" not in name}
        write(tmp_path / "all" / f"lora_{i}", made)
    write(tmp_path / "all" / "other", factors(4, shapes={"model.layers.7.q_proj": (24, 20)}))
    told = call(
        "experiments.adapters",
        "mine",
        str(tmp_path / "all"),
        "--modules=union",
        "--dim=2",
        f"--output={tmp_path / 'one'}",
    )
    assert told.status == 0 and "trained in no matrix that counts, left out: other" in told.stderr + told.stdout
    weights = {path: len(each["weights"]) for path, each in read_folder(tmp_path / "one").statistics.items()}
    assert weights == {name: 3 if "down" in name else 4 for name in SHAPES}
    assert "NaN" not in (tmp_path / "one" / "summary.json").read_text()
    new = write(tmp_path / "new", factors(5))
    _run("add", new, f"--to={tmp_path / 'one'}", f"--output={tmp_path / 'two'}")
    assert read_folder(tmp_path / "two").statistics["model.layers.0.down_proj"]["weights"].shape == (4,)
    _run("project", new, f"--basis={tmp_path / 'one'}", f"--output={tmp_path / 'inside'}")
    _run("start", new, f"--basis={tmp_path / 'one'}", f"--output={tmp_path / 'start'}")


@pytest.mark.slow
def test_analyze_compares_groups_of_any_model(tmp_path):
    """Halves, shuffled labels and held-out LoRAs of two groups whose common parts differ."""
    for group in (1, 2):
        for i in range(4):
            made = factors(10 * group + i)
            shared = np.random.default_rng(group)
            for up, down in made.values():
                up[:, 0], down[0] = 2 * shared.standard_normal(len(up)), 2 * shared.standard_normal(down.shape[1])
            write(tmp_path / f"group_{group}" / f"lora_{i}", made)
        _run("mine", tmp_path / f"group_{group}", "--dim=1", f"--label=g{group}", f"--output={tmp_path / f'g{group}'}")
    folders = f"--subspaces={tmp_path / 'g1'},{tmp_path / 'g2'}"
    found = call("experiments.analyze", folders, f"--output={tmp_path / 'analysis'}")
    assert found.status == 0, found.stderr
    assert "Of 8 held-out adapters, 8 lie more in their own attribute's subspace" in found.stdout
    assert "overlaps clearly more with itself than with others" in found.stdout
