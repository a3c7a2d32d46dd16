"""``experiments.extract`` from nothing to the report, with the shipped model and real pictures: a few steps are enough."""

import json
import shutil

import numpy as np
import pytest

from experiments.mining.subspace_file import load_subspace
from experiments.presets import SMALL_MODEL
from experiments.training.metrics_log import read_metrics
from tests.experiments.commands import call
from tests.experiments.extraction.command import run
from vggt_jax.adapters import load_adapter

SMALL = ("--attribute=lighting", "--k=2", "--rank=4", "--steps=3", "--store=store")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extract")
    process = run(*SMALL, "--dim=4", cwd=folder, timeout=900)
    assert process.returncode == 0, process.stderr[-2000:]
    return folder, process


def output_of(folder):
    (output,) = (folder / "store" / "extract").glob("lighting_object_centric_nano_r4-" + 12 * "[0-9a-f]")
    return output


def test_what_it_says(first):
    folder, process = first
    assert f"base model: {SMALL_MODEL}" in process.stderr and "training 2 adapters at once, 3 steps" in process.stderr
    assert "On held-out scenes of its own data set, " in process.stdout
    assert process.stdout.splitlines()[-1].startswith(f"wrote {output_of(folder).relative_to(folder)} in ")


def test_what_it_writes(first):
    folder, _ = first
    output = output_of(folder)
    assert {path.name for path in output.iterdir()} == {
        "subspace.safetensors", "adapters", "metrics.jsonl", "summary.json", "results.json", "figures", "report.html",
    }  # fmt: skip
    stored = load_subspace(output / "subspace.safetensors")
    assert stored.origin.attribute == "lighting" and stored.origin.dim == 4
    assert stored.origin.base == SMALL_MODEL and stored.origin.init == "independent"
    path = "aggregator.frame_blocks.attn.qkv"
    factors, sizes = stored.factors[path], stored.statistics[path]["singular_values"]
    assert factors.A.shape == (5, 384, 4) and factors.B.shape == (5, 128, 4)
    for side in (factors.A, factors.B):  # U Σ^½ and V Σ^½
        gram = np.einsum("lid,lie->lde", side, side)
        np.testing.assert_allclose(gram, sizes[:, None, :4] * np.eye(4), atol=1e-4 * sizes.max())
    adapters = [load_adapter(path) for path in sorted((output / "adapters").iterdir())]
    assert [adapter.about["dataset"] for adapter in adapters] == [0, 1]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["settings"]["init"] == "independent" and len(summary["matrices"]) >= 40
    stages = {stage["name"]: stage for stage in summary["stages"]}
    assert list(stages) == ["rendering", "compiling", "training", "mining", "report"]
    assert all(stage["seconds"] >= 0 and stage["cpu_seconds"] >= 0 for stage in stages.values())
    assert stages["training"]["compiled"] + stages["training"]["found"] < 5  # the step is there before its first batch
    steps = [event["step"] for event in read_metrics(output / "metrics.jsonl") if event["kind"] == "training"]
    assert steps == [1, 2, 3]
    page = (output / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and page.count("data:image") >= 4


def test_another_dim_trains_nothing(first):
    folder, _ = first
    before = {
        path: path.stat().st_mtime_ns
        for path in (folder / "store").rglob("*.safetensors")
        if "extract" not in path.parts
    }
    process = run(*SMALL, "--dim=2", "--output=other", cwd=folder)
    assert process.returncode == 0, process.stderr[-2000:]
    assert "2 trained adapters found in" in process.stderr and "training 2" not in process.stderr
    assert load_subspace(folder / "other" / "subspace.safetensors").origin.dim == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dim=9"], "dim"),
        (["--weights=nowhere"], "nowhere: no such file or folder"),
        (["--attribute=colour"], "--attribute must be texture, geometry, camera or lighting, got colour"),
        (["--k=1"], "--k must be a whole number from 2 to 100000, got 1"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = call("experiments.extract", *SMALL, *arguments)
    assert done.status == 2 and done.stdout == ""
    assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_adapter_is_named(first, tmp_path):
    folder, _ = first
    shutil.copytree(folder / "store", tmp_path / "store")
    (damaged,) = (tmp_path / "store" / "adapters").rglob("lighting_01.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    process = run(*SMALL, "--dim=4", "--overwrite", cwd=tmp_path)
    assert process.returncode == 2 and "lighting_01.safetensors" in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
