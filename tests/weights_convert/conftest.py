import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from weights_convert.checkpoint import open_checkpoint
from weights_convert.convert import convert

SMALL = Path(__file__).parents[1] / "fixtures" / "vggt_small"


@pytest.fixture(scope="session")
def tensors():
    """The small model's official tensors by name, as the safetensors library reads them; not to be changed."""
    return load_file(SMALL / "weights.safetensors")


@pytest.fixture
def official(tmp_path):
    """A folder of its own with the small model's official weights and configuration."""
    folder = tmp_path / "official"
    shutil.copytree(SMALL, folder, ignore=shutil.ignore_patterns("*.npz"))
    return folder


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """The small model in this project's form; not to be changed."""
    folder = tmp_path_factory.mktemp("session") / "converted"
    convert(open_checkpoint(SMALL), folder)
    return folder


@pytest.fixture
def folder_with(tmp_path):
    """``folder_with(tensors)``: a folder in the fixtures' form that holds them and the small model's configuration."""

    def make(tensors, name="changed"):
        folder = tmp_path / name
        folder.mkdir()
        save_file(tensors, folder / "weights.safetensors")
        shutil.copy(SMALL / "config.json", folder)
        return folder

    return make


@pytest.fixture
def sharded(tmp_path, tensors):
    """The small model in two files with an index, as Hugging Face splits large ones."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    names = sorted(tensors)
    places = {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    shutil.copy(SMALL / "config.json", folder)
    return folder


@pytest.fixture
def command():
    """``command("--input=…", …)``: the finished process of ``python -m weights_convert``."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "weights_convert", *map(str, arguments)], capture_output=True, text=True
        )

    return run
