"""``python -m experiments.generate``: killed, interrupted, repeated, and everything that can be wrong with its input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.data.agreement import Geometry, cross_view_agreement
from experiments.data.dataset import Dataset
from experiments.rendering import blender_command
from experiments.rendering.blender_command import PINNED, WORKER, worker_command
from experiments.scenes import schema
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import STAND_IN, alive, content, wait_until

ROOT = Path(__file__).parents[3]
SMALL = ("--datasets=2", "--scenes=3", "--views=2", "--resolution=20", "--seed=3")


def start(*arguments, **instructions):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.generate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", "STAND_IN": json.dumps(instructions)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which tests in a shell's background ignore
    )


def run(*arguments, **instructions):
    with start(*arguments, **instructions) as process:
        output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(folder, what the command said)."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    code, said, errors = run(*SMALL, f"--blender={STAND_IN}", f"--output={output}")
    assert code == 0, errors
    return output, said


def test_what_it_says_and_writes(undisturbed):
    output, said = undisturbed
    (line,) = said.splitlines()
    assert line.startswith(f"wrote 2 data set(s), 6 scenes × 2 views of 20×20 pixels to {output} in ")
    assert sorted(path.name for path in output.iterdir()) == ["dataset_00", "dataset_01", "settings.json"]
    for folder in output.glob("dataset_*"):
        dataset = Dataset(folder)
        dataset.verify()
        assert len(dataset) == 3 and dataset[0].load().images.shape == (2, 20, 20, 3)
    provenance = Dataset(output / "dataset_01")[2].spec.provenance
    assert provenance == schema.Provenance(
        attribute="geometry", setting="object_centric", seed=3, dataset=1, scene=2, attempt=0
    )


def test_a_repeated_command_does_nothing_and_starts_no_blender(undisturbed):
    output, _ = undisturbed
    before = content(output)
    done = call("experiments.generate", *SMALL, f"--output={output}", "--blender=/no/blender")
    assert (done.status, done.stderr) == (0, "") and done.stdout.startswith("nothing to do: ")
    assert content(output) == before


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_files(undisturbed, tmp_path):
    log, output = tmp_path / "log", tmp_path / "out"
    arguments = (*SMALL, f"--blender={STAND_IN}", f"--output={output}", "--workers=3")
    for last in ("0/1/0", "1/1/0"):  # hangs, so that only a signal ends it
        process = start(*arguments, log=str(log), seconds=0.1, faults={last: "hang"})
        wait_until(lambda last=last: any(line.startswith(last) for line in lines(log)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not any(alive(line.split()[1]) for line in lines(log)))  # its workers die with it
    assert run(*arguments)[0] == 0
    assert content(output) == content(undisturbed[0])


def test_an_interrupt_leaves_nothing_half_written(undisturbed, tmp_path):
    log, output = tmp_path / "log", tmp_path / "out"
    arguments = (*SMALL, f"--blender={STAND_IN}", f"--output={output}")
    process = start(*arguments, log=str(log), seconds=0.3, faults={"1/2/0": "hang"})  # it does not end by itself
    wait_until(lambda: len(lines(log)) >= 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "python -m experiments.generate: interrupted" in errors.splitlines()[-1] and "Traceback" not in errors
    assert not any(alive(line.split()[1]) for line in lines(log))
    assert not [path for path in output.rglob("*") if "partial" in path.name]
    assert run(*arguments)[0] == 0
    assert content(output) == content(undisturbed[0])


def test_bad_input_is_one_clear_line(undisturbed, tmp_path):
    (tmp_path / "torn").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "torn" / "a.jpg")
    os.truncate(tmp_path / "torn" / "a.jpg", 700)
    (tmp_path / "file").touch()
    stand_in = f"--blender={STAND_IN}"
    cases = [
        (
            ("--attribute=colour",),
            "--attribute must be texture, geometry, camera, lighting or mixed, got colour",
        ),
        (("--scenes=0",), "--scenes must be a whole number from 1 to 100000, got 0"),
        (("--datasets=99999999999",), "--datasets must be a whole number from 1 to 100000"),
        (("--samples=99999999999",), "--samples must be a whole number from 1 to 100000"),
        (("--blender=/no/blender",), "blender=/no/blender is no program that can be run"),
        ((f"--blender={shutil.which('true')}",), "is neither Blender nor Python"),
        ((f"--output={tmp_path / 'file'}", stand_in), f"{tmp_path / 'file'} is a file, not a folder"),
        ((f"--output={tmp_path / 'torn'}", stand_in), f"{tmp_path / 'torn'} holds 'a.jpg', and nothing"),
        ((f"--output={undisturbed[0]}", "--seed=4", *SMALL[:-1]), "was made with seed=3, not 4"),
        ((f"--output={undisturbed[0]}", *SMALL, "--scenes=2"), "holds 3 scenes, scenes=2 is fewer"),
        ((stand_in, f"--textures={tmp_path / 'torn'}"), f"{tmp_path / 'torn' / 'a.jpg'} cannot be decoded"),
    ]
    before = content(undisturbed[0])
    for i, (arguments, message) in enumerate(cases):
        done = call("experiments.generate", f"--output={tmp_path / str(i)}", *arguments)
        assert (done.status, done.stdout) == (2, ""), arguments
        (line,) = done.stderr.splitlines()
        assert message in line
    assert content(undisturbed[0]) == before
    assert not list(tmp_path.glob("[0-9]*/*"))  # no settings that would refuse the next try


def test_textures_are_told_of_and_shown_and_a_failed_run_refuses_no_other(tmp_path):
    (tmp_path / "lib").mkdir()
    for name in ("wood_color.png", "wood_gloss.png", "wood_ao.png"):
        Image.new("RGB", (1200, 600), (90, 80, 70)).save(tmp_path / "lib" / name)
    where = (f"--textures={tmp_path / 'lib'}", f"--output={tmp_path / 'out'}")
    done = call("experiments.generate", *SMALL, *where, "--blender=/no/blender")
    assert done.status == 2 and not [path for path in (tmp_path / "out").glob("*") if not path.name.startswith(".")]
    done = call("experiments.generate", *SMALL[:-1], "--seed=4", *where, f"--blender={STAND_IN}")
    assert done.status == 0, done.stderr
    assert "1 material(s) (1 with roughness); left out: 1 occlusion" in done.stderr
    assert Image.open(tmp_path / "out" / "textures.png").width > 56
    before = content(tmp_path / "out")
    assert call("experiments.generate", *SMALL[:-1], "--seed=4", *where).stdout.startswith("nothing to do")
    assert content(tmp_path / "out") == before


def test_a_python_without_bpy_is_one_clear_line(tmp_path):
    done = call("experiments.generate", *SMALL, f"--blender={sys.executable}", f"--output={tmp_path / 'out'}")
    assert done.status == 2 and "cannot import bpy" in done.stderr.splitlines()[-1]


def test_overwrite_replaces_data_sets_of_other_settings(undisturbed, tmp_path):
    output = shutil.copytree(undisturbed[0], tmp_path / "out")
    other = (*SMALL[:-1], "--seed=4", f"--blender={STAND_IN}", f"--output={output}")
    assert call("experiments.generate", *other).status == 2 and content(output) == content(undisturbed[0])
    done = call("experiments.generate", *other, "--overwrite")
    assert done.status == 0 and done.stdout.startswith("wrote 2 data set(s), 6 scenes"), done.stderr
    assert {Dataset(folder)[0].spec.provenance.seed for folder in output.glob("dataset_*")} == {4}


def test_uv_that_is_missing_or_fails_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(tmp_path / "uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "uv").write_text("#!/bin/sh\necho 'error: no network' >&2\nexit 1\n")
    (tmp_path / "uv").chmod(0o755)
    with pytest.raises(InputError, match="uv cannot make Blender's environment: error: no network"):
        worker_command(None)
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="uv is missing"):
        worker_command(None)


def test_every_file_of_blenders_environment_has_its_hash():
    text = re.sub(r"(?m)^#.*\n", "", PINNED.read_text()).replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines()]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", name) and hashes for name, *hashes in lines)
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for _, *hashes in lines for each in hashes)
    asked = re.findall(r"bpy==[\d.]+", WORKER.read_text())
    assert {name for name, *_ in lines} > set(asked) and asked


@pytest.mark.slow
def test_a_file_with_another_hash_is_not_installed(monkeypatch, tmp_path):
    text = PINNED.read_text()
    (tmp_path / "requirements.txt").write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", text))
    monkeypatch.setattr(blender_command, "PINNED", tmp_path / "requirements.txt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):  # nothing is taken for complete
        with pytest.raises(InputError, match="uv cannot make Blender's environment"):
            worker_command(None)


def test_an_installed_blender_is_told_from_a_python(tmp_path):
    (tmp_path / "blender").write_text("#!/bin/sh\necho 'Blender 4.5.3 LTS'\n")
    (tmp_path / "blender").chmod(0o755)
    path = str(tmp_path / "blender")
    assert worker_command(path) == [path, "--background", "--factory-startup", "--python", str(WORKER), "--"]
    assert worker_command(sys.executable) == [sys.executable, str(WORKER)]


BLENDER = (*("--datasets=1", "--scenes=3", "--views=6", "--resolution=84"),)


@pytest.fixture(scope="module", params=["object_centric", "micro_baseline"])
def rendered(request, tmp_path_factory):
    """(arguments, folder) of a small data set by the real Blender."""
    output = tmp_path_factory.mktemp("rendered") / "out {b} {"  # Blender reads braces as templates
    arguments = (*BLENDER, f"--setting={request.param}")
    code, _, errors = run(*arguments, f"--output={output}")
    assert code == 0, errors
    return arguments, output


@pytest.mark.slow
def test_rendered_views_agree(rendered):
    for scene in Dataset(rendered[1] / "dataset_00"):
        views = scene.load()
        agreement = cross_view_agreement(Geometry.of(views))
        assert agreement.share >= 0.97
        assert agreement.co_visible > 0.05 * views.valid.sum()


@pytest.mark.slow
def test_blender_killed_and_with_other_workers_gives_the_same_files(rendered, tmp_path):
    arguments, output = (*rendered[0], f"--output={tmp_path / 'out'}"), tmp_path / "out"
    process = start(*arguments, "--workers=2")
    wait_until(lambda: list(output.glob("dataset_00/scene_*")), seconds=120)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run(*arguments, "--workers=1")[0] == 0
    assert content(output) == content(rendered[1])
