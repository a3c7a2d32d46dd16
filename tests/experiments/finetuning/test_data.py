import shutil

import pytest

from experiments.data.dataset import Dataset
from experiments.data.manifest import MANIFEST
from experiments.finetuning.data import read_data
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from experiments.storage import files
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, SIZE, make_scene


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    output = tmp_path_factory.mktemp("data") / "out"
    runs.generate(output, SETTINGS, 2, 3, lambda: make_scene, lambda: LocalPool(COMMAND, 1))
    return [output / "dataset_00", output / "dataset_01"]


def test_the_last_scenes_of_every_data_set_are_held_out(folders):
    data = read_data(folders, 1)
    assert data.training == [Dataset(folder)[scene] for folder in folders for scene in (0, 1)]
    assert data.validation_names == ["dataset_00/scene_0002", "dataset_01/scene_0002"]
    assert list(data.sha256) == [str(folder) for folder in folders] and len(set(data.sha256.values())) == 2
    assert read_data(folders[:1], 0).validation == [] and data.resolution == SIZE


def changed(folder, copy, change):
    shutil.copytree(folder, copy)
    manifest = files.read_json(copy / MANIFEST)
    change(manifest)
    files.write_json(copy / MANIFEST, manifest)
    return copy


def test_unusable_data_is_one_line(folders, tmp_path):
    empty = changed(folders[0], tmp_path / "empty", lambda manifest: manifest.update(scenes={}))
    recorded = {
        "kind": "recorded", "task": "faces", "split": "test", "layout": "captures", "source": "faces", "scenes": [],
        "poses": False, "views": 3, "resolution": SIZE,
    }  # fmt: skip
    alone = changed(folders[0], tmp_path / "alone", lambda manifest: manifest.update(settings=recorded))
    larger = changed(folders[1], tmp_path / "larger", lambda manifest: manifest["settings"].update(resolution=2 * SIZE))
    cases = [
        ([empty], 0, "empty: has 0 scenes, nothing to train on beside 0 held-out ones"),
        (folders, 3, "dataset_00: has 3 scenes, nothing to train on beside 3 held-out ones"),
        ([folders[0], folders[0]], 1, "dataset_00 is there twice"),
        ([folders[0], larger], 1, f"of one size, .*dataset_00 has {SIZE} pixels, .*larger has {2 * SIZE} pixels"),
        ([alone], 1, "alone: it is not known where its cameras stood"),
        ([tmp_path], 1, "is no finished data set, it has no"),
    ]
    for given, held_out, message in cases:
        with pytest.raises(ValueError, match=message) as raised:
            read_data(given, held_out)
        assert "\n" not in str(raised.value)


def test_other_data_sets_can_be_validated_on(folders):
    data = read_data(folders[:1], 1, folders[1:])
    assert data.training == [Dataset(folders[0])[scene] for scene in (0, 1)]
    assert data.validation_names == [f"dataset_01/scene_{scene:04d}" for scene in range(3)]
    assert list(data.sha256) == [str(folders[0])] and list(data.validation_sha256) == [str(folders[1])]
    with pytest.raises(ValueError, match="dataset_00 is trained on, or there twice"):
        read_data(folders, 1, folders[:1])
