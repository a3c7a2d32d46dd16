"""``experiments.reproduce`` from the outside: what it would do, and what it refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.reproduction.settings import Settings
from experiments.tasks import preparation
from tests.experiments.commands import call

ROOT = Path(__file__).parents[2]
COMMAND = "experiments.reproduce"


def test_a_dry_run_lists_the_runs_and_their_cost_and_writes_nothing(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", COMMAND, "--table=1", "--seeds=0,1", "--dry_run"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    names = found.stdout.splitlines()
    assert names[0] == "faces_base" and names[-1] == "faces_subspace_32_r64_seed1" and len(names) == 28
    assert "base model nano_2; tables and records in results/nano_2" in found.stderr
    assert "fine-tunings for seed(s) 0, 1" in found.stderr and "about" in found.stderr
    assert not list(tmp_path.iterdir()) and "have a record" not in found.stderr


def test_a_dry_run_says_which_runs_have_a_record():
    flags = "--table=1", "--seeds=0,9", "--dry_run", f"--output={ROOT / 'results' / 'nano'}"
    shipped = call(COMMAND, *flags, "--weights=nano")
    assert "faces_full_seed0  (has a record)" in shipped.stdout and "faces_full_seed9\n" in shipped.stdout
    assert "15 of 28 runs have a record and are not run again" in shipped.stderr
    assert "13 fine-tunings for seed(s) 0, 9; all learning rates are known" in shipped.stderr
    another = call(COMMAND, *flags)
    assert another.status == 2 and "is of another base model: nano (" in another.stderr and not another.stdout
    anew = call(COMMAND, *flags, "--overwrite")
    assert anew.status == 0 and "has a record" not in anew.stdout


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, "nano_2"),
        ({"weights": "nano"}, "nano"),
        ({"weights": "models/my.safetensors"}, "my"),
        ({"weights": "models/v1.5/"}, "v1.5"),
        ({"weights": "."}, Path().absolute().name),
        ({"preset": "vggt_1b"}, "VGGT-1B"),
        ({"weights": "hf:facebook/VGGT-1B@main"}, "VGGT-1B"),
        ({"output": Path("mine")}, "../mine"),
    ],
)
def test_models_have_folders_of_their_own(changes, folder):
    assert Settings(**changes).folder.resolve() == Path("results", folder).resolve()


def test_the_page_says_which_command_makes_its_figures(tmp_path):
    shutil.copytree(ROOT / "results" / "nano" / "records", tmp_path / "records")
    flags = "--table=1", "--seeds=0,1", "--weights=nano"
    found = call(COMMAND, *flags, f"--output={tmp_path}", f"--store={tmp_path / 'store'}", "--workers=1")
    assert found.status == 0, found.stderr
    assert "all 28 runs have a record" in found.stderr and "about" not in found.stderr
    command = "`python -m experiments.reproduce --table=1 --preset=nano --seeds=0,1 --weights=nano`"
    assert command in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--table=6"], "--table must be 1, 2"),
        (["--seeds=a"], "--seeds=a: numbers with commas between them, such as 0,1,2"),
        (["--seeds=-1"], "seeds: name at least one, none below 0"),
        (["--table=3", "--weights=nowhere.safetensors"], "nowhere.safetensors"),
        (["--data=nowhere"], "there is no folder nowhere"),
        (["--data=."], ". has no data set at TASK/SPLIT/dataset_00"),
        (["--table=3", "--at_once=1000000"], "at_once=1000000 fine-tunings need"),
        (["--dry_run", "--weights=nano_3"], "nano_3: no such file or folder; did you mean nano_2?"),
        (["--output=/dev/null"], "/dev/null is a file"),
        (["--dry_run", "--output=/dev/null", "--overwrite"], "/dev/null is a file"),
        (["--dry_run", f"--output={Path(__file__).parent}"], "and nothing that this would complete"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    found = call(COMMAND, *flags)
    assert found.status == 2 and message in found.stderr and found.stderr.count("\n") == 1 and not found.stdout
    assert not (tmp_path / "results").exists()


def test_a_missing_package_is_told_before_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparation, "_MADE_WITH", {("humans", "train"): ("no_such_package",)})
    found = call(COMMAND, "--table=2")
    assert found.status == 2 and "pip install" in found.stderr and found.stderr.count("\n") == 1
