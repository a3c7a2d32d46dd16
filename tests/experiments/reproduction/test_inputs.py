"""What is asked of preparation and extraction for a run, and what is taken from the user."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.reproduction import inputs
from experiments.reproduction.inputs import RunInputs
from experiments.reproduction.plan import Subspaces
from experiments.reproduction.settings import Settings
from experiments.tasks import Recording, prepare
from subspace.errors import InputError
from tests.experiments.tasks.recordings.written import HEIGHT, write_capture


@pytest.fixture
def asked(monkeypatch):
    """Settings that pipelines were called with, in the place of doing what they do."""
    made = []

    def prepare(settings, reporter):
        made.append(settings)
        return SimpleNamespace(folder=settings.task_folder / settings.split / "dataset_00", written=len(made) - 1)

    def extract_missing(wanted, reporter):
        made.extend(wanted)
        return [Path("found", each.attribute) for each in wanted]

    monkeypatch.setattr(inputs, "prepare", prepare)
    monkeypatch.setattr(inputs, "extract_missing", extract_missing)
    return made


def test_the_users_data_are_taken_where_they_are_there(tmp_path, asked):
    own = tmp_path / "mine" / "glass" / "test" / "dataset_00"
    own.mkdir(parents=True)
    settings = Settings(data=tmp_path / "mine", store=tmp_path)
    assert RunInputs(settings).dataset("glass", "test") == own and not asked
    assert RunInputs(settings).dataset("glass", "train").parts[-2:] == ("train", "dataset_00")
    (wanted,) = asked
    assert (wanted.task, wanted.split, wanted.scenes, wanted.store) == ("glass", "train", 48, tmp_path)


def test_only_what_was_rendered_is_told(tmp_path, asked):
    said = []
    made = RunInputs(Settings(store=tmp_path, workers=3), SimpleNamespace(info=said.append))  # pyright: ignore[reportArgumentType]
    for split in ("test", "train"):
        made.dataset("humans", split)
    assert len(said) == 1 and "1 scenes of humans train" in said[0]
    assert {each.workers for each in asked} == {3} and {each.resolution for each in asked} == {96}


def test_every_attribute_is_mined_from_adapters_of_the_rank_that_is_wanted(tmp_path, asked):
    wanted = Subspaces(("texture", "geometry"), "micro_baseline", 16)
    found = RunInputs(Settings(store=tmp_path, weights="my weights")).subspaces(wanted)
    assert [path.name for path in found] == ["texture", "geometry"] and all(path.is_absolute() for path in found)
    assert {(each.setting, each.training.rank, each.dim, each.k) for each in asked} == {("micro_baseline", 2, 8, 5)}
    assert {(each.weights, each.store) for each in asked} == {("my weights", tmp_path)}


def test_subspaces_are_mined_from_what_a_row_wants_and_a_second_pass_from_the_first(tmp_path, asked):
    folders = RunInputs(Settings(store=tmp_path))
    folders.subspaces(Subspaces(("camera",), "object_centric", 64, updates="gradient", mined_dim=128))
    (gradient,) = asked
    assert (gradient.updates, gradient.dim, gradient.outputs) == ("gradient", 16, None)
    asked.clear()
    folders.subspaces(Subspaces(("camera",), "object_centric", 64, updates="second_pass"))
    first, second = asked
    assert second == replace(first, outputs=Path("found", "camera")) and first.made == "lora"


@pytest.mark.parametrize(("tables", "needs"), [(("2",), "anny"), (("1",), "skimage"), (("3",), None)])
def test_a_missing_package_is_named_before_anything_is_made(tables, needs, tmp_path, asked, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings = Settings(tables=tables, store=tmp_path)
    if needs is None:
        RunInputs(settings).check(settings.plan)
        return
    with pytest.raises(InputError, match=f"{needs} is missing"):
        RunInputs(settings).check(settings.plan)
    for task, split in (("humans", "train"), ("humans", "test"), ("humans", "cross_domain"), ("faces", "test")):
        finished = tmp_path / "mine" / task / split / "dataset_00"
        finished.mkdir(parents=True)
        (finished / "manifest.json").touch()
    of_eight = SimpleNamespace(manifest=SimpleNamespace(settings=SimpleNamespace(views=8)))
    monkeypatch.setattr(inputs, "Dataset", lambda folder: of_eight)
    RunInputs(replace(settings, data=tmp_path / "mine")).check(settings.plan)
    assert not asked


def test_recordings_are_not_tested_on_after_a_choice_on_rendered_scenes(tmp_path, asked, monkeypatch):
    for name in ("test", "validation"):
        (tmp_path / "mine" / "glass" / name / "dataset_00").mkdir(parents=True)
        settings = Settings(data=tmp_path / "mine", store=tmp_path, validate_on="test")
        monkeypatch.setattr(inputs, "describe", lambda folder: SimpleNamespace(recorded="9 scenes of lab (captures)"))
        found = RunInputs(settings)
        if name == "test":
            with pytest.raises(
                InputError, match=r"holds recordings \(9 scenes .*validation/dataset_00 is not there"
            ) as error:
                found.validation("glass")
            assert error.value.argument == "validate_on" and not asked
    assert found.validation("glass") == tmp_path / "mine" / "glass" / "validation" / "dataset_00"
    monkeypatch.setattr(inputs, "describe", lambda folder: SimpleNamespace(recorded=None))
    (tmp_path / "mine" / "glass" / "validation" / "dataset_00").rmdir()
    found.validation("glass")  # rendered scenes that lie there, in another number
    (wanted,) = asked
    assert (wanted.split, wanted.seed, wanted.scenes) == ("test", 1000, 16)


def test_the_users_scenes_of_a_strange_number_of_views_are_refused_before_anything_is_trained(tmp_path):
    write_capture(tmp_path / "captures" / "a", 3)
    wanted = Recording.of(
        "nano",
        "captures",
        tmp_path / "captures",
        "glass",
        "test",
        output=tmp_path / "glass",
        views=3,
        resolution=HEIGHT,
    )
    prepare(wanted)
    settings = Settings(tables=("3",), data=tmp_path, store=tmp_path / "store")
    with pytest.raises(
        InputError, match=r"glass/test/dataset_00 has scenes with 3 views: .* scenes with 8, 42, 96, 100"
    ):
        RunInputs(settings).check(settings.plan)
