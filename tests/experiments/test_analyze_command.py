"""``experiments.analyze``: from the folders of several attributes to the report, and bad input."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.extraction import ATTRIBUTES, Settings
from experiments.extraction.results import identity_of_trained
from experiments.models import load_base
from experiments.presets import PRESETS
from experiments.storage.files import write_json
from experiments.storage.identity import digest
from experiments.storage.results import RECORD, results_folder
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, write_run

ROOT = Path(__file__).parents[2]
NAMES = ("geometry", "texture", "camera")
SHAPES = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64), "depth_head.conv": ((), 60, 48)}


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "experiments.analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        timeout=600,
    )


def _write(folder, name, seed, **facts):
    adapters = draw_adapters(seed, draw_subspaces(10 + seed, shapes=SHAPES), k=4, shapes=SHAPES)
    return write_run(folder, name, adapters, **facts)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [_write(folder / name, name, i, init="independent") for i, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def result(folders, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("result")
    control = _write(cwd / "control", "camera", 9, targets="shuffled", init="independent")
    found = run(f"--subspaces={','.join(map(str, folders))}", f"--controls={control}", "--output=out", cwd=cwd)
    return found, cwd / "out"


def test_writes_report_figures_tables_and_numbers(result):
    found, output = result
    assert found.returncode == 0, found.stderr
    assert {entry.name for entry in output.iterdir()} == {
        "report.html",
        "analysis.json",
        "results.json",
        "figures",
        "tables",
    }
    assert found.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    names = {path.stem for path in (output / "figures").glob("*.png")}
    assert names == {path.stem for path in (output / "figures").glob("*.pdf")}
    assert names == {
        "spectra_patterns",
        "spectra_ratio",
        *(f"spectra_{name}" for name in NAMES),
        "magnitudes",
        "overlap_map",
        "overlap_layers",
        "smallest_angle",
        *(f"eigenvalues_{pair}" for pair in ("geometry_texture", "geometry_camera", "texture_camera")),
        "same_attribute",
        "specificity",
        "allocation",
        "controls_spectra",
        "controls_drops",
    }
    html = (output / "report.html").read_text()
    assert html.count("<figure>") == len(names)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html) and "@import" not in html
    for table in (output / "tables").glob("*.csv"):
        rows = list(csv.DictReader(table.open()))
        assert rows and all(None not in row and None not in row.values() for row in rows), table
    titles = re.findall(r"<h2 id=\"s\d+\">(.*?)</h2>", html)
    assert titles[:4] == ["In figures", "Spectra", "Magnitudes", "Angles between attributes"]
    for name, count in (("spectra", 3 * 4), ("magnitudes", 3 * 4), ("singular_values", 3 * 4 * 16)):
        with (output / "tables" / f"{name}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == count
    with (output / "tables" / "angles.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 4 * 3


def test_the_verdict_says_what_was_planted(result):
    found, output = result
    numbers = json.loads((output / "analysis.json").read_text())
    assert numbers["verdict"] in found.stdout
    assert (
        "An attribute overlaps clearly more with itself than with others, so that orthogonality means"
        in numbers["verdict"]
    )
    assert "Of 12 held-out adapters, 12 lie more in their own" in numbers["verdict"]
    assert "With independent initialisation, shuffled targets" in numbers["verdict"]
    assert numbers["The union as a basis"]["parameters"]["plain LoRA on every matrix"] == 4 * (3 * (96 + 64) + 60 + 48)


def test_a_second_run_replaces_its_own_results_and_nothing_else(folders, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    found = run(f"--subspaces={','.join(map(str, folders))}", "--output=out", cwd=tmp_path)
    assert found.returncode == 2 and "notes.txt" in found.stderr and found.stderr.count("\n") == 1
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda f, t: [], "the folders of at least two attributes are needed, got nothing"),
        (lambda f, t: [f"--subspaces={f[0]}"], "at least two attributes are needed, got only {0}"),
        (lambda f, t: [f"--subspaces={f[0]},{f[0]}"], "both hold the attribute geometry"),
        (lambda f, t: [f"--subspaces={f[0]},{t / 'absent'}"], "there is no folder"),
        (
            lambda f, t: [f"--subspaces={f[0]},{f[1]}", f"--controls={f[2]}"],
            "holds the attribute camera, under study are",
        ),
        (lambda f, t: [f"--subspaces={f[0]},{f[1]}", "--seed=-1"], "--seed=-1"),
        (lambda f, t: [f"--subspaces={f[0]},{f[1]}", "--preset=nano"], "--preset is of use only with --all"),
        (lambda f, t: ["--all", f"--subspaces={f[0]}"], "--all finds the folders itself: leave --subspaces out"),
        (lambda f, t: ["--all", "--controls=shared,share"], "there is no folder share"),
        (lambda f, t: ["--all", f"--weights={t / 'absent'}"], "absent"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, folders, tmp_path):
    found = run(*arguments(folders, tmp_path), "--output=out", cwd=tmp_path)
    assert found.returncode == 2 and message.format(folders[0]) in found.stderr, found.stderr
    assert found.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_all_analyses_what_the_store_holds(tmp_path):
    weights = ROOT / "tests" / "fixtures" / "vggt_small"
    base = load_base(str(weights), 518, PRESETS["vggt_1b"].training)
    for i, attribute in enumerate(ATTRIBUTES):
        settings = Settings.of("vggt_1b", attribute=attribute)
        adapters = draw_adapters(i, draw_subspaces(10 + i, shapes=SHAPES), k=4, shapes=SHAPES)
        content = identity_of_trained(settings, base.identity.fingerprint)
        folder = results_folder(tmp_path / "store", "extract", settings.label, content)
        write_run(folder, attribute, adapters, base=base.identity)
        write_json(
            folder / RECORD, {**dict.fromkeys(("version", "label", "identity", "date")), "digest": digest(content)}
        )
    found = run("--all", "--preset=vggt_1b", f"--weights={weights}", "--store=store", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert [line.split(":")[0] for line in found.stderr.splitlines()[:4]] == [f"{i} of 4" for i in range(1, 5)]
    assert "extracting" not in found.stderr
    (output,) = (tmp_path / "store" / "analyze").glob("texture_geometry_camera_lighting-" + "?" * 12)
    assert found.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"extract", "analyze"}


def test_help_shows_the_flags_of_the_extraction(tmp_path):
    shown = run("--help", cwd=tmp_path).stdout
    assert all(f"--{name}: " in shown for name in ("setting", "preset", "weights", "store", "controls"))
