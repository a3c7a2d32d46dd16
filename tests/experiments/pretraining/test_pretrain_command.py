import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from experiments.pretrain import pretrain
from experiments.pretraining import scenes


def test_without_data_one_line_says_so():
    command = [sys.executable, "-m", "experiments.pretrain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    expected = "python -m experiments.pretrain: --data: name at least one data set, a folder with a manifest.json"
    assert done.stderr.strip() == expected


def test_an_output_in_the_way_is_noticed_before_anything_else(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="model: exists already"):
        pretrain([tmp_path / "absent"], tmp_path / "model", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} is no finished data set"):
        pretrain([tmp_path], tmp_path / "model", tmp_path / "run")


def test_a_missing_ablation_is_named(tmp_path):
    command = [
        sys.executable,
        "-m",
        "experiments.pretrain",
        f"--ablations={tmp_path}/absent",
        f"--output={tmp_path}/model",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "absent/evaluation.json" in done.stderr and done.stderr.count("\n") == 1


def test_a_data_set_is_read_whole_and_only_at_the_models_resolution(tmp_path, monkeypatch):
    class Stored:
        """Stands for a data set on disk, which tests of experiments.data write and read."""

        def __init__(self, folder):
            settings = type("Settings", (), {"title": "mixed object_centric", "resolution": 16, "seed": seed})
            self.manifest = type(
                "Manifest",
                (),
                {"settings": settings, "sha256": "ab" * 32, "versions": {"renderer": "exact"}, "dataset": 3},
            )

        def __len__(self):
            return 1

        def __iter__(self):
            from tests.experiments.pretraining.small import box_scene

            views = box_scene(0)
            yield type("Scene", (), {"folder": tmp_path / "s", "load": lambda self: views})()

    seed = 0
    monkeypatch.setattr(scenes, "Dataset", Stored)
    source = scenes.read_source(tmp_path, 16)
    assert source.name == "mixed object_centric 3" and source.renderer == "exact" and source.sha256 == "ab" * 32
    assert source.scenes[0].name == str(tmp_path / "s") and source.scenes[0].images.dtype == np.uint8
    with pytest.raises(ValueError, match="has pictures of 16 pixels, the model needs 96"):
        scenes.read_source(tmp_path, 96)
    seed = 7
    assert scenes.read_source(tmp_path, 16).name == "mixed object_centric 3, seed 7"


def test_what_is_trained_on_is_not_evaluated_on_as_another_data_set(tmp_path, monkeypatch):
    from tests.experiments.pretraining import small

    monkeypatch.setattr(scenes, "read_source", lambda *_: small.source())
    with pytest.raises(ValueError, match="--also_evaluate: boxes is among --data already"):
        pretrain([tmp_path / "a"], tmp_path / "model", tmp_path / "run", also_evaluate=[tmp_path / "b"])
    monkeypatch.setattr(scenes, "read_source", lambda path, *_: replace(small.source(), name=path.name))
    with pytest.raises(ValueError, match="--also_evaluate: data sets must differ, got b, b"):
        pretrain([tmp_path / "a"], tmp_path / "model", tmp_path / "run", also_evaluate=[tmp_path / "b", tmp_path / "b"])
    assert not (tmp_path / "run").exists()


def test_a_data_set_is_given_once(tmp_path):
    from experiments.pretraining.run import Pretraining
    from tests.experiments.pretraining import small

    with pytest.raises(ValueError, match="data sets must differ, got boxes, boxes"):
        Pretraining(small.recipe(), [small.source(), small.source()], tmp_path)
