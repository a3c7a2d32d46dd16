import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.pretraining import Settings, pipeline, pretrain, scenes
from experiments.pretraining.run import Pretraining
from experiments.storage.files import write_json
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.pretraining import small

ROOT = Path(__file__).parents[3]


def test_without_data_one_line_says_so():
    command = [sys.executable, "-m", "experiments.pretrain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("python -m experiments.pretrain: data: name at least one data set")
    assert "(see --data)" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ablations={tmp}/absent", "--output={tmp}/model"], "absent/evaluation.json"),
        (["--ablations={tmp}/absent"], "--output: name the folder of the model"),
        (["--data={tmp}", "--output={tmp}/model"], "is no finished data set"),
        (["--data={tmp}", "--length=1e30"], "--length must be a number from 0 to 1000, got 1e30"),
        (["--data={tmp}", "--length=0"], "length must be positive, got 0.0 (see --length)"),
        (["--data={tmp}", "--length=inf"], "--length must be a number from 0 to 1000, got inf"),
        (["--data={tmp}", "--without=sleep"], "--without must be matching"),
        (["--data={tmp}", "--log=mlflow"], "mlflow is not a place for metrics; there are tensorboard, wandb"),
    ],
)
def test_bad_arguments_are_one_line_and_status_two(tmp_path, arguments, message):
    done = call("experiments.pretrain", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.status == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Stored:
    """Stands for a data set of one scene on disk, which tests of experiments.data write and read."""

    def __init__(self, folder):
        seed = int(Path(folder).suffix[1:] or 0)
        settings = SimpleNamespace(title="mixed object_centric", resolution=16, seed=seed, views=6)
        self.manifest = SimpleNamespace(
            settings=settings,
            sha256="ab" * 32,
            versions={"renderer": "exact"},
            dataset=int(Path(folder).stem),
            has_poses=True,
        )

    def __len__(self):
        return 4

    def __iter__(self):
        for number in range(4):
            views = small.box_scene(number)
            yield SimpleNamespace(folder=f"s{number}", load=lambda views=views: views)


@pytest.fixture
def stored(monkeypatch):
    """Every name is a data set's: ``3.7`` that of the third one drawn from the seed 7."""
    monkeypatch.setattr(scenes, "Dataset", Stored)
    monkeypatch.setitem(pipeline.recipe.RECIPES, "nano", lambda: small.recipe())


def test_a_data_set_is_read_whole_and_only_at_the_models_resolution(stored):
    source = scenes.read_source(Path("3"), 16)
    assert source.name == "mixed object_centric 3" and source.renderer == "exact" and source.sha256 == "ab" * 32
    assert [scene.name for scene in source.scenes] == ["s0", "s1", "s2", "s3"]
    assert source.scenes[0].images.dtype == np.uint8
    with pytest.raises(ValueError, match="has pictures of 16 pixels, the model needs 96"):
        scenes.read_source(Path("3"), 96)
    assert scenes.read_source(Path("3.7"), 16).name == "mixed object_centric 3, seed 7"


def test_data_without_poses_teach_nothing(stored, monkeypatch):
    dataset = Stored(Path("3"))
    dataset.manifest.has_poses = False
    monkeypatch.setattr(scenes, "Dataset", lambda folder: dataset)
    with pytest.raises(InputError, match=r"captures: it is not known where its cameras stood"):
        scenes.open_source(Path("captures"), 16)


@pytest.mark.parametrize(
    ("data", "also", "argument", "message"),
    [
        (["1", "1"], [], "data", "mixed object_centric 1 is given twice"),
        (["1"], ["2", "1"], "also_evaluate", "mixed object_centric 1 is among the data to train on"),
        (["1"], ["2", "2"], "also_evaluate", "mixed object_centric 2 is given twice"),
    ],
)
def test_what_is_trained_on_is_not_evaluated_on_as_another_data_set(stored, tmp_path, data, also, argument, message):
    settings = Settings(tuple(map(Path, data)), also_evaluate=tuple(map(Path, also)), store=tmp_path)
    with pytest.raises(InputError, match=message) as error:
        pretrain(settings)
    assert error.value.argument == argument and not list(tmp_path.iterdir())


def test_a_data_set_is_given_once(tmp_path):
    with pytest.raises(ValueError, match="data sets must differ, got boxes, boxes"):
        Pretraining(small.recipe(), [small.source(), small.source()], tmp_path)


@pytest.fixture
def quick(stored, monkeypatch):
    """Runs and models are stood in for; returns the folders of checkpoints, in the order of the runs."""
    runs = []

    class Quick:
        def __init__(self, recipe, sources, folder, log, reporter, begun):
            runs.append(folder)

        def __call__(self):
            return None, {"boxes": {}}

        def evaluate_on(self, parameters, sources):
            return {source.name: {} for source in sources}

        def model(self, parameters): ...
        def matcher(self, parameters): ...
        def described_data(self): ...

    def write_model(folder, model, matcher, recipe, data, evaluations, without):
        write_json(folder / "evaluation.json", list(evaluations))
        return 7

    monkeypatch.setattr(pipeline, "Pretraining", Quick)
    monkeypatch.setattr(pipeline, "write_model", write_model)
    return runs


def test_results_and_checkpoints_are_named_by_what_they_depend_on(quick, tmp_path):
    plain = Settings((Path("1"),), store=tmp_path)
    first = pretrain(plain)
    assert first.folder.parent == tmp_path / "pretrain" and first.folder.name.startswith("nano-") and first.size == 7
    assert pretrain(plain).folder == first.folder and quick[0] == quick[1] == first.run
    with pytest.raises(InputError, match="start=nano: has another width and") as error:
        pretrain(replace(plain, start="nano"))
    assert error.value.argument == "start"
    others = [{"seed": 1}, {"length": 2.0}, {"without": "matching"}, {"data": (Path("2"),)}]
    assert len({pretrain(replace(plain, **change)).folder for change in others} | {first.folder}) == 5
    assert len(set(quick)) == 5
    more = pretrain(replace(plain, also_evaluate=(Path("2"),)))
    assert more.run == first.run and more.folder != first.folder  # the training is the same
    assert set(more.evaluations) == {"boxes", "mixed object_centric 2"}
    assert pretrain(replace(plain, without="matching")).folder.name.startswith("nano_without_matching-")


def test_other_results_are_replaced_only_if_asked_for_and_that_is_said_before_training(quick, tmp_path):
    plain = Settings((Path("1"),), output=tmp_path / "model", run=tmp_path / "run")
    pretrain(plain)
    assert pipeline.ready(plain).results.kept and not pipeline.ready(replace(plain, overwrite=True)).results.kept
    pretrain(plain)
    with pytest.raises(InputError, match="holds results of other settings") as error:
        pretrain(replace(plain, seed=1))
    assert error.value.argument == "overwrite" and len(quick) == 2
    pretrain(replace(plain, seed=1, overwrite=True))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file") as error:
        pretrain(replace(plain, output=tmp_path / "new", run=tmp_path / "file"))
    assert error.value.argument == "run"
    (tmp_path / "others" / "scene_0000").mkdir(parents=True)
    with pytest.raises(InputError, match=r"others holds 'scene_0000', and nothing that this would complete"):
        pretrain(replace(plain, output=tmp_path / "new", run=tmp_path / "others"))
    (tmp_path / "model" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"mine\.txt"):
        pretrain(replace(plain, seed=1, overwrite=True))
    assert len(quick) == 3
