"""Commands on two devices and in two processes leave what one device leaves."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.evaluation.results import read_csv
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from experiments.training.metrics_log import read_metrics
from tests.experiments.command_of_a_job import VIEWS
from tests.experiments.process.test_hosts import free_port
from tests.experiments.reconstruction.test_reconstruct_command import WEIGHTS, picture
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, make_scene
from tests.experiments.training import tiny

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow  # every mesh is compiled for anew


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with two data sets, a tiny random model whose fields of view are those of cameras, and four photos."""
    folder = tmp_path_factory.mktemp("work")
    settings = type(SETTINGS)(
        **{name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | {"views": VIEWS}
    )
    scene = partial(make_scene, views=VIEWS)
    runs.generate(folder / "data", settings, 2, 4, lambda: scene, lambda: LocalPool(COMMAND, 1))
    tiny.write(folder / "tiny")
    (folder / "photos").mkdir()
    for number in range(4):
        picture(100, 70, number).save(folder / "photos" / f"{number}.png")
    return folder


def call(work, name, *arguments, processes=1, devices=1):
    """Run a command in so many processes with so many devices each; returns what each printed."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-m", "tests.experiments.command_of_a_job", str(work / "data"), f"experiments.{name}"]
    of_a_job = [f"--coordinator=localhost:{free_port()}", f"--processes={processes}"]
    started = [
        subprocess.Popen(
            [*command, *map(str, arguments), *([*of_a_job, f"--process={number}"] if processes > 1 else [])],
            env=environment, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    ended = [process.communicate(timeout=900) for process in started]
    for process, (_, stderr) in zip(started, ended, strict=True):
        assert process.returncode == 0, stderr[-3000:]
    return [stdout for stdout, _ in ended]


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, other in expected.items():
        assert np.abs(found[name] - other).max() <= tolerance * max(np.abs(other).max(), 1e-6), name


def updates(folder):
    """dW of every adapter in a folder of results."""
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        if file.name.startswith(("geometry_", "adapter")):
            factors = load_file(file)
            for name in {name.rpartition(".")[0] for name in factors}:
                found[f"{file.name} {name}"] = factors[f"{name}.A"] @ np.swapaxes(factors[f"{name}.B"], -1, -2)
    return found


def losses(folder):
    return np.concatenate([np.atleast_1d(event["loss"]) for event in read_metrics(folder / "metrics.jsonl")])


MESHES = [
    ("adapter:2", {"processes": 2}),
    ("data:2", {"processes": 2}),
    ("data:2", {"devices": 2}),
    ("model:2", {"devices": 2}),
]


@pytest.fixture(scope="module")
def extracted(work):
    flags = ("--k=2", "--rank=1", "--dim=1", f"--weights={work / 'tiny'}")
    call(work, "extract", *flags, "--store=one", "--output=one/out")
    return flags, work / "one" / "out"


@pytest.mark.parametrize(("mesh", "machine"), [*MESHES, ("adapter:2", {"devices": 2})])
def test_extract(work, extracted, mesh, machine, tmp_path):
    flags, expected = extracted
    said = call(work, "extract", *flags, f"--mesh={mesh}", f"--store={tmp_path}", f"--output={tmp_path}/out", **machine)
    assert "wrote " in said[0]
    assert not any("wrote " in each for each in said[1:])
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(expected), rtol=1e-3)
    assert_close(updates(tmp_path / "out"), updates(expected), 2e-2)  # Adam divides what rounding leaves by itself
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in expected.iterdir()}


@pytest.fixture(scope="module")
def tuned(work):
    flags = ("--method=lora", "--rank=1", "--steps=2", f"--weights={work / 'tiny'}", f"--data={work}/data/dataset_00")
    call(work, "finetune", *flags, "--store=one", "--output=one/tuned")
    return flags, work / "one" / "tuned"


@pytest.mark.parametrize(("mesh", "machine"), MESHES[1:])
def test_finetune(work, tuned, mesh, machine, tmp_path):
    flags, expected = tuned
    more = () if mesh == "model:2" else ("--accumulate=1",)
    call(
        work, "finetune", *flags, *more, f"--mesh={mesh}", f"--store={tmp_path}", f"--output={tmp_path}/out", **machine
    )
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(expected), rtol=1e-3)
    assert_close(updates(tmp_path / "out"), updates(expected), 2e-2)


@pytest.fixture(scope="module")
def evaluated(work):
    flags = (f"--data={work}/data/dataset_00", f"--weights={work / 'tiny'}", "--views=0,1,2")
    call(work, "evaluate", *flags, "--output=one/evaluated")
    return flags, work / "one" / "evaluated"


@pytest.mark.parametrize(("mesh", "machine"), MESHES[1:])
def test_evaluate(work, evaluated, mesh, machine, tmp_path):
    flags, expected = evaluated
    call(work, "evaluate", *flags, f"--mesh={mesh}", f"--output={tmp_path}/out", **machine)
    found, expected = (read_csv(folder) for folder in (tmp_path / "out", expected))
    assert list(found) == list(expected)
    for scene, metrics in expected.items():
        np.testing.assert_allclose(list(found[scene].values()), list(metrics.values()), rtol=2e-3, err_msg=str(scene))


@pytest.fixture(scope="module")
def reconstructed(work):
    flags = (f"--images={work / 'photos'}", f"--weights={WEIGHTS}")
    call(work, "reconstruct", *flags, "--output=one/scene")
    return flags, work / "one" / "scene"


@pytest.mark.parametrize(("mesh", "machine"), [("model:2", {"processes": 2}), *MESHES[2:]])
def test_reconstruct(work, reconstructed, mesh, machine, tmp_path):
    flags, expected = reconstructed
    call(work, "reconstruct", *flags, f"--mesh={mesh}", f"--output={tmp_path}/out", **machine)
    for number in range(4):
        with np.load(tmp_path / "out" / "depth" / f"{number}.npz") as one:
            with np.load(expected / "depth" / f"{number}.npz") as other:
                np.testing.assert_allclose(one["depth"], other["depth"], rtol=1e-3)
