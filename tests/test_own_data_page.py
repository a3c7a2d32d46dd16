"""The commands of the page "Bring your own scans and captures", run for real in its order on small folders."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals

from experiments.data.dataset import Dataset
from experiments.evaluation.predictions import prediction_file, save_prediction
from experiments.evaluation.scene import Reconstruction
from tests.experiments.tasks.recordings.written import write_capture

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
FRAMES = 8
RENDERED = "--views=2 --resolution=32 --samples=1 --workers=1"
SMALL = {
    "prepare --layout": "--resolution=48",
    "prepare --meshes": RENDERED,
    "generate --textures": f"{RENDERED} --views=4 --datasets=2 --scenes=2",
    "finetune": "--steps=2 --held_out=1",
}
"""What makes a command small, by its name and a flag that it has."""


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def smaller(command):
    for key, extra in SMALL.items():
        name, *flags = key.split()
        if command[2] == f"experiments.{name}" and all(any(a.startswith(flag) for a in command) for flag in flags):
            return [*command, *extra.split()]
    return command


def write_scan(path):
    """A textured box of a person's height."""
    box = trimesh.creation.box((0.5, 1.7, 0.3))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    uv = np.random.default_rng(1).uniform(size=(len(box.vertices), 2))
    box.visual = TextureVisuals(uv, image=picture)
    path.parent.mkdir(exist_ok=True)
    box.export(path)


def write_folders(folder):
    for number in range(3):
        write_capture(folder / "captures" / f"room_{number}", FRAMES)
    write_capture(folder / "captures_test" / "room", FRAMES)
    write_scan(folder / "scans" / "person.glb")
    (folder / "textures").mkdir()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(folder / "textures" / "grey.png")


def write_predictions(folder):
    """The truth, as another program would store it."""
    (data,) = folder.glob("runs/tasks/glass/test/dataset_00")
    for scene in Dataset(data):
        views = scene.load()
        predicted = Reconstruction(np.where(views.valid, views.depths, np.nan), views.extrinsics, views.intrinsics)
        save_prediction(prediction_file(folder / "of_mine", data.name, scene.folder.name), predicted, range(FRAMES))


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path):
    write_folders(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    said = {}
    for command in commands():
        assert command[:2] == ["python", "-m"]
        if any(argument == "--predictions=of_mine" for argument in command):
            write_predictions(tmp_path)
        done = subprocess.run(
            [sys.executable, *smaller(command)[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (command, done.stderr)
        said[" ".join(command)] = done.stdout + done.stderr
    assert len(said) == 10
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr
    assert sum("pixels that two views see agree" in words for words in said.values()) == 2
    for made in (
        "tuned/adapter.safetensors",
        "result/report.html",
        "result_of_mine/report.html",
        "textured/dataset_01/manifest.json",
    ):
        assert (tmp_path / made).is_file()
    words = said[next(command for command in said if "of_mine" in command)]
    assert re.search(r"^AUC@30 ↑ +1\.0", words, re.MULTILINE) and "fit the truth" not in words
