"""What is not finished, in a store that machines share: another machine goes on with it, whole or not at all."""

import os
import zipfile

import pytest

from experiments.data.production import fetch_scenes
from experiments.storage import begun, shared
from experiments.storage.overview import overview
from experiments.training import continuation
from experiments.training.continuation import Continuation
from tests.experiments.storage.test_shared import read, written

MARK = "done.json"


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Folders of copies of the same store on two machines."""

    def folder(name):
        monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / name))
        return shared.opened(f"file://{tmp_path}/store")

    return folder("one"), folder("two")


def test_a_part_is_found_by_another_machine_until_its_folder_is_published(machines):
    one, two = (machine / "data" / "x" / "dataset_00" for machine in machines)
    written(one / "scene_0001", {"record.json": "1", "images/0.png": "2"})
    begun.publish(one, "scene_0001", ["record.json", "images/0.png"], whole=one / "scene_0001")
    assert begun.parts(two) == begun.parts(one) == ["scene_0001"] and begun.parts(two.parent) == []
    fetch_scenes(two)
    assert read(two / "scene_0001") == read(one / "scene_0001")
    assert [(e.name, e.state) for e in overview(machines[1], ())] == [("data/x/dataset_00", "unfinished")]
    written(one, {MARK: "{}"})
    shared.publish(one.parent, MARK, [])  # another folder, although its name begins like that
    assert begun.parts(one) == ["scene_0001"]
    shared.publish(one, MARK)
    assert begun.parts(one) == [] and not [path for path in os.listdir(one) if path.startswith(".")]


def test_folders_that_are_no_copies_are_left_alone(tmp_path):
    written(tmp_path, {"a": "1"})
    begun.publish(tmp_path, "a", ["a"])
    assert begun.parts(tmp_path) == [] and not begun.fetch(tmp_path, "a", tmp_path / "")
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_a_damaged_part_is_none(machines, tmp_path):
    one, two = (machine / "adapters" / "x" for machine in machines)
    written(one, {"a": "content" * 10})
    begun.publish(one, "state", ["a"])
    object = tmp_path / "store" / "begun" / "adapters" / "x" / "state.zip"
    whole = object.read_bytes()
    for spoiled in (whole.replace(b"contentcontent", b"contextcontent"), whole[:-30]):
        object.write_bytes(spoiled)
        assert not begun.fetch(two, "state", two) and not two.exists()
    object.write_bytes(whole)
    assert zipfile.is_zipfile(object) and begun.fetch(two, "state", two)


def test_the_newest_state_of_a_training_goes_on_elsewhere(machines, monkeypatch):
    one, two = (machine / "adapters" / "x" for machine in machines)
    written(
        one, {".lock": "", "run.json": "{}", "metrics.jsonl": "1", "checkpoints/2/a": "2", "checkpoints/4/.hidden": "4"}
    )
    here = Continuation(one)
    here.saved()
    assert begun.parts(one) == []  # it is not ten minutes old
    monkeypatch.setattr(continuation, "_EVERY_S", 0.0)
    here = Continuation(one)
    here.saved()
    here.saved()
    assert begun.parts(one) == ["state_000002"]
    written(two, {"metrics.jsonl": "old", "checkpoints/2/a": "2"})
    there = Continuation(two)
    there.fetch()
    assert read(two) | {".state.json": ""} == {
        ".state.json": "", "run.json": "{}", "metrics.jsonl": "1", "checkpoints/2/a": "2", "checkpoints/4/.hidden": "4",
    }  # fmt: skip
    written(two, {"metrics.jsonl": "newer"})
    there.fetch()
    here.fetch()
    assert (two / "metrics.jsonl").read_text() == "newer" and (one / "metrics.jsonl").read_text() == "1"


def test_a_machine_that_had_gone_further_goes_on_from_the_newest_state_alone(machines, monkeypatch):
    monkeypatch.setattr(continuation, "_EVERY_S", 0.0)
    one, two = (machine / "adapters" / "x" for machine in machines)
    written(one, {"metrics.jsonl": "1 2", "checkpoints/2/a": "2"})
    Continuation(one).saved()
    written(one, {"metrics.jsonl": "1 2 3 4 5 6", "checkpoints/6/a": "6"})  # which it did not publish
    Continuation(two).fetch()
    written(two, {"metrics.jsonl": "1 2 3 4", "checkpoints/4/a": "4"})
    Continuation(two).saved()
    back = Continuation(one)
    back.fetch()
    found = read(one)
    assert found["metrics.jsonl"] == "1 2 3 4" and "checkpoints/4/a" in found and "checkpoints/6/a" not in found
