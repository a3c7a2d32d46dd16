"""``experiments.analyze``: from the folders of several attributes to the report, and bad input."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.analysis import Settings, analyze, pipeline
from experiments.extraction import ATTRIBUTES
from experiments.extraction import Settings as Extraction
from experiments.extraction.results import identity_of_trained
from experiments.models import load_base
from experiments.presets import PRESETS
from experiments.process.reporting import Reporter
from experiments.reports.drawings import Drawings
from experiments.storage.files import write_json
from experiments.storage.identity import digest
from experiments.storage.results import RECORD, results_folder
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, factors, write_run, write_subspace
from tests.experiments.commands import call

ROOT = Path(__file__).parents[3]
NAMES = ("geometry", "texture", "camera")
SHAPES = {"aggregator.frame_blocks.attn.qkv": ((3,), 96, 64), "depth_head.conv": ((), 96, 64)}
"""One size, since each is compiled for itself."""


def run(*arguments):
    return call("experiments.analyze", *arguments)


def _write(folder, name, seed, **facts):
    adapters = draw_adapters(seed, draw_subspaces(10 + seed, shapes=SHAPES), k=4, shapes=SHAPES)
    return write_run(folder, name, adapters, **facts)


def _without_adapters(folder, name, seed, **options):
    """Nothing is mined of such a folder, neither here nor by the analysis."""
    drawn = draw_subspaces(seed, shapes=SHAPES).items()
    return write_subspace(folder, name, {path: factors(U, V, [4, 3, 2, 1]) for path, (U, V) in drawn}, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [_write(folder / name, name, i, init="independent") for i, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Without adapters."""
    folder = tmp_path_factory.mktemp("bare")
    return [_without_adapters(folder / name, name, i) for i, name in enumerate(NAMES)]


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without pictures, which take longer than all the rest."""

    class Undrawn(Drawings):
        def add(self, figures):
            self._figures |= figures

        def save(self, folder):
            return dict.fromkeys(self._figures, "<svg/>")

    monkeypatch.setattr(pipeline, "Drawings", Undrawn)


@pytest.fixture(scope="module")
def result(folders, tmp_path_factory):
    """The command as users start it: in a process of its own."""
    cwd = tmp_path_factory.mktemp("result")
    control = _write(cwd / "control", "camera", 9, targets="shuffled", init="independent")
    subspaces = ",".join(map(str, folders))
    found = subprocess.run(
        [
            *(sys.executable, "-m", "experiments.analyze"),
            *(f"--subspaces={subspaces}", f"--controls={control}", "--output=out"),
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        timeout=600,
    )
    return found, cwd / "out"


@pytest.mark.slow  # the pictures take twenty seconds
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


@pytest.mark.slow
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
    assert numbers["The union as a basis"]["parameters"]["plain LoRA on every matrix"] == 4 * 4 * (96 + 64)


def test_results_are_named_by_what_they_depend_on(bare, undrawn, tmp_path):
    settings = Settings(tuple(bare[:2]), store=tmp_path / "store")
    found = analyze(settings)
    assert re.fullmatch(r"geometry_texture-[0-9a-f]{12}", found.folder.name)
    assert found.folder.parent == tmp_path / "store" / "analyze"
    assert (found.folder.parent / "latest").resolve() == found.folder
    (listed,) = json.loads((found.folder.parent / "index.json").read_text())
    assert listed["label"] == "geometry_texture" and listed["identity"]["seed"] == 0
    assert found.resampled is None and found.specificity is None and found.verdict.clear_sides is None
    written = (found.folder / "tables" / "angles.csv").read_bytes()
    (found.folder / "analysis.json").unlink()
    assert analyze(settings).folder == found.folder  # it lacked a file: made again unasked
    assert (found.folder / "tables" / "angles.csv").read_bytes() == written
    assert (found.folder / "analysis.json").is_file()


def test_other_results_are_replaced_only_if_that_is_asked_for(bare, undrawn, tmp_path):
    def record():
        return json.loads((tmp_path / "out" / RECORD).read_text())

    arguments = (f"--subspaces={bare[0]},{bare[1]}", f"--output={tmp_path / 'out'}")
    assert run(*arguments).status == 0
    before = record()
    (tmp_path / "out" / "note.txt").touch()  # of no concern where nothing is written
    found = run(*arguments)
    assert found.status == 0 and found.stdout.count("\n") == 1 and str(tmp_path / "out") in found.stdout
    assert record() == before and found.stderr == ""
    found = run(*arguments, "--overwrite")
    assert found.status == 2 and "note.txt" in found.stderr
    (tmp_path / "out" / "note.txt").unlink()
    for changed in (["--seed=1"], [f"--subspaces={bare[0]},{bare[2]}"], [f"--controls={_other(bare, tmp_path)}"]):
        found = run(*arguments, *changed)
        assert found.status == 2 and "--overwrite" in found.stderr and found.stderr.count("\n") == 1
        assert record() == before
    assert run(*arguments, "--seed=1", "--overwrite").status == 0
    assert record()["identity"] == {**before["identity"], "seed": 1}


def _other(bare, folder):
    control = folder / "control"
    return control if control.exists() else _without_adapters(control, "geometry", 7, init="shared")


def test_matrices_that_adapters_do_not_change_are_left_out(undrawn, tmp_path, monkeypatch):
    said, runs = [], []
    monkeypatch.setattr(Reporter, "info", lambda _, line: said.append(line))
    zero, *others = SHAPES
    for seed, name in enumerate(("texture", "geometry")):
        adapters = draw_adapters(seed, {}, shapes=SHAPES)
        if name == "geometry":
            adapters = [{**each, zero: LowRank(np.zeros_like(each[zero].A), each[zero].B)} for each in adapters]
        runs.append(write_run(tmp_path / name, name, adapters))
    found = analyze(Settings(tuple(runs), store=tmp_path / "store"))
    assert f"left out: {zero}, which the adapters of an attribute do not change" in said
    numbers = json.loads((found.folder / "analysis.json").read_text())
    matrices = sum(int(np.prod(SHAPES[path][0])) for path in others)
    assert {row["matrices"] for row in numbers["Angles between attributes"]} == {matrices}


def test_what_is_not_ours_is_left_alone(bare, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    found = run(f"--subspaces={bare[0]},{bare[1]}", f"--output={tmp_path / 'out'}", "--overwrite")
    assert found.status == 2 and "notes.txt" in found.stderr and found.stderr.count("\n") == 1
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["notes.txt"]
    found = run("--all", f"--store={tmp_path / 'store'}", f"--output={tmp_path / 'out'}")  # before anything is rendered
    assert found.status == 2 and "notes.txt" in found.stderr and not (tmp_path / "store").exists()


def test_bugs_are_no_bad_input(bare, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.analysis.pipeline.measure_angles", lambda *_: [][0])
    with pytest.raises(IndexError):
        analyze(Settings(tuple(bare), store=tmp_path))
    with pytest.raises(InputError, match="at least two attributes"):
        analyze(Settings((), store=tmp_path))
    assert not list(tmp_path.iterdir())


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
        (
            lambda f, t: [f"--subspaces={f[0]},{f[1]}", "--seed=-1"],
            "--seed must be a whole number of at least 0, got -1",
        ),
        (lambda f, t: [f"--subspaces={f[0]},{f[1]}", "--preset=nano"], "--preset has no effect without --all"),
        (lambda f, t: ["--all", f"--subspaces={f[0]}"], "--all finds the folders itself: leave --subspaces out"),
        (lambda f, t: ["--all", "--controls=shared,share"], "there is no folder share"),
        (lambda f, t: [f"--subspaces={f[0]},{f[1]}", "--controls=shared"], "--controls=shared goes with --all"),
        (lambda f, t: ["--all", f"--weights={t / 'absent'}"], "absent"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, bare, tmp_path):
    store = f"--store={tmp_path / 'store'}"
    found = run(*arguments(bare, tmp_path), f"--output={tmp_path / 'out'}", store)
    assert found.status == 2 and message.format(bare[0]) in found.stderr, found.stderr
    assert found.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_all_analyses_what_the_store_holds(undrawn, tmp_path):
    weights = ROOT / "tests" / "fixtures" / "vggt_small"
    base = load_base(str(weights), 518, PRESETS["vggt_1b"].training)
    for i, attribute in enumerate(ATTRIBUTES):
        settings = Extraction.of("vggt_1b", attribute=attribute)
        content = identity_of_trained(settings, base.weights)
        folder = results_folder(tmp_path / "store", "extract", settings.label, content)
        _without_adapters(folder, attribute, i, base=base.identity)
        write_json(
            folder / RECORD, {**dict.fromkeys(("version", "label", "identity", "date")), "digest": digest(content)}
        )
    found = run("--all", "--preset=vggt_1b", f"--weights={weights}", f"--store={tmp_path / 'store'}")
    assert found.status == 0, found.stderr
    assert [line.split(":")[0] for line in found.stderr.splitlines()[:4]] == [f"{i} of 4" for i in range(1, 5)]
    assert "extracting" not in found.stderr
    (output,) = (tmp_path / "store" / "analyze").glob("texture_geometry_camera_lighting-" + "?" * 12)
    assert found.stdout.splitlines()[-1].startswith(f"wrote {output} in ")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"extract", "analyze"}


def test_help_shows_the_flags_of_the_extraction():
    shown = run("--help").stdout
    assert all(f"--{name}: " in shown for name in ("setting", "preset", "weights", "store", "controls"))
