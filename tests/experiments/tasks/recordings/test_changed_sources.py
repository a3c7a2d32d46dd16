"""Recordings that change after they were converted: what has changed is converted again, nothing else is replaced unasked."""

import json
import shutil

import numpy as np
import pytest

from experiments.data.dataset import Dataset
from experiments.data.manifest import RecordedSettings
from experiments.tasks import Recording, prepare
from subspace.errors import InputError
from tests.experiments.tasks.recordings.written import HEIGHT, camera_to_world, cameras, write_capture

FRAMES = 2


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(source, output) of two scenes that were converted."""
    folder = tmp_path_factory.mktemp("captures")
    for name in "ab":
        write_capture(folder / "faces" / name, FRAMES, poses=False)
    assert convert(folder / "faces", folder / "out").written == 2
    return folder


@pytest.fixture
def converted(original, tmp_path):
    copy = shutil.copytree(original, tmp_path / "copy")
    assert again(copy)[0] == []  # where recordings lie does not matter
    return copy


def convert(source, output, **changes):
    numbers = {"views": FRAMES, "resolution": HEIGHT, **changes}
    return prepare(Recording.of("nano", "captures", source, "faces", "test", output=output, **numbers))


def again(folder, **changes):
    """Converts the same source into the same folder; (scenes that were written, result)."""
    records = {path: path.stat().st_mtime_ns for path in folder.glob("out/test/*/*/record.json")}
    made = convert(folder / "faces", folder / "out", **changes)
    Dataset(made.folder).verify()
    now = sorted(folder.glob("out/test/*/*/record.json"))
    written = [path.parent.name for path in now if records.get(path) != path.stat().st_mtime_ns]
    assert made.written == len(written)
    return written, made


def intrinsics(folder, scene):
    path = folder / "faces" / scene / "intrinsics.json"
    return path, json.loads(path.read_text())


def test_corrected_intrinsics_are_used_for_their_scene_only(converted):
    assert again(converted)[0] == []
    path, values = intrinsics(converted, "b")
    path.write_text(json.dumps({**values, "fx": 2 * values["fx"]}))
    written, made = again(converted)
    assert written == ["scene_0001"]
    focal = [scene.load().intrinsics[0, 0, 0] for scene in Dataset(made.folder)]
    assert focal[1] == pytest.approx(2 * focal[0])
    assert again(converted)[0] == []


def test_a_file_that_was_only_copied_again_changes_nothing(converted):
    path, _ = intrinsics(converted, "b")
    path.write_bytes(path.read_bytes())
    assert again(converted)[0] == []


def test_files_that_join_a_scene_change_it(converted):
    scene = converted / "faces" / "a"
    (scene / "mask").mkdir()
    for path in (scene / "rgb").iterdir():
        shutil.copy(path, scene / "mask" / path.name)
    with pytest.raises(InputError, match="has the channels R, G, B"):  # it is read, so it was noticed
        again(converted)
    shutil.rmtree(scene / "mask")
    assert again(converted)[0] == []  # the scene of before is still there, and right
    for name in "ab":
        (converted / "faces" / name / "poses").mkdir()
        for camera, path in zip(cameras(FRAMES), sorted((converted / "faces" / name / "rgb").iterdir()), strict=True):
            np.savetxt(converted / "faces" / name / "poses" / f"{path.stem}.txt", camera_to_world(camera))
    written, made = again(converted)
    assert written == ["scene_0000", "scene_0001"] and made.has_poses
    assert Dataset(made.folder).manifest.has_poses


def test_a_scene_that_joins_the_others_is_made_up(converted):
    shutil.copytree(converted / "faces" / "b", converted / "faces" / "c")
    written, made = again(converted)
    assert written == ["scene_0002"]
    settings = Dataset(made.folder).manifest.settings
    assert isinstance(settings, RecordedSettings) and settings.scenes == ("a", "b", "c")


def test_another_source_of_the_same_name_is_refused(converted, tmp_path):
    other = shutil.copytree(converted / "faces", tmp_path / "other" / "faces")
    assert convert(other, converted / "out").written == 0  # the same recordings, moved
    path = other / "a" / "intrinsics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fx": 99.0}))
    assert convert(other, converted / "out").written == 1  # they have moved for good
    before = Dataset(converted / "out" / "test" / "dataset_00").manifest.sha256
    with pytest.raises(InputError, match=r"was made from .*other/faces, and .*copy/faces holds others") as error:
        convert(converted / "faces", converted / "out")
    assert "\n" not in str(error.value)
    assert Dataset(converted / "out" / "test" / "dataset_00").manifest.sha256 == before
    made = convert(converted / "faces", converted / "out", overwrite=True)
    assert made.written == 1 and Dataset(made.folder).manifest.sha256 != before


def test_other_settings_are_refused_and_replace_what_is_there_if_that_is_asked_for(converted):
    with pytest.raises(InputError, match="was made with resolution=48, not 24; name another folder, or overwrite it"):
        convert(converted / "faces", converted / "out", resolution=24)
    written, made = again(converted, resolution=24, overwrite=True)
    assert len(written) == 2 and Dataset(made.folder)[0].load().images.shape == (FRAMES, 24, 24, 3)


def test_fewer_scenes_are_refused_and_allowed_if_that_is_asked_for(converted):
    shutil.rmtree(converted / "faces" / "b")
    with pytest.raises(InputError, match="holds 2 scenes, scenes=1 is fewer"):
        again(converted)
    made = convert(converted / "faces", converted / "out", overwrite=True)
    assert (made.written, len(Dataset(made.folder))) == (0, 1)


def test_a_run_that_failed_refuses_no_other_settings(converted):
    output = converted / "new"
    path, values = intrinsics(converted, "a")
    path.write_text("{}")
    with pytest.raises(InputError, match="has no 'fx'"):
        convert(converted / "faces", output)
    path.write_text(json.dumps({**values, "fx": -1.0}))
    with pytest.raises(InputError, match="no pinhole camera"):
        convert(converted / "faces", output)
    path.write_text(json.dumps(values))
    assert convert(converted / "faces", output, resolution=24).written == 2


def test_scenes_of_a_version_that_put_no_sources_on_record_are_made_again(converted):
    for path in converted.glob("out/test/*/*/record.json"):
        record = json.loads(path.read_text())
        del record["inputs"]
        path.write_text(json.dumps(record))
    path = converted / "out" / "test" / "settings.json"
    settings = json.loads(path.read_text())
    del settings["source_folder"]
    path.write_text(json.dumps(settings))
    (converted / "out" / "test" / "dataset_00" / "manifest.json").unlink()
    assert len(again(converted)[0]) == 2
