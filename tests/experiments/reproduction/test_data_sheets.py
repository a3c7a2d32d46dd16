"""What says that two renderings are of the same scenes, and what that they are not."""

import json
import shutil

import msgspec
import numpy as np
import pytest
from PIL import Image

from experiments.data.dataset import Dataset
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from experiments.reproduction import records
from experiments.reproduction.data_sheets import COLOR_TOLERANCE, TOLERANCE, DataSheet, FirstView, describe
from experiments.tasks import Recording, prepare
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, make_scene
from tests.experiments.reproduction.planted import sheet
from tests.experiments.tasks.recordings.written import HEIGHT, write_capture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("datasets") / "out"
    runs.generate(output, SETTINGS, 1, 2, lambda: make_scene, lambda: LocalPool(COMMAND, 1))
    return output / "dataset_00"


def test_a_sheet_says_what_the_first_view_of_each_scene_shows(folder):
    found = describe(folder)
    assert found.sha256 == (Dataset(folder).manifest.sha256,)
    assert found.settings["seed"] == SETTINGS.seed and found.settings["kind"] == "attribute"
    assert "textures" not in found.settings
    assert list(found.scenes) == ["scene_0000", "scene_0001"]
    for name, scene in found.scenes.items():
        with Image.open(folder / name / "images" / "000000.png") as picture:
            np.testing.assert_allclose(scene.color, np.asarray(picture).reshape(-1, 3).mean(0) / 255, atol=1e-6)
        arrays = np.load(folder / name / "arrays" / "000000.npz")
        assert scene.valid == pytest.approx(arrays["valid"].mean(), abs=1e-6)
        assert scene.depth == pytest.approx(arrays["depth"].sum() / arrays["valid"].sum(), abs=1e-5)


def test_a_scene_without_a_surface_has_a_sheet(folder, tmp_path):
    changed = shutil.copytree(folder, tmp_path / "changed")
    arrays = changed / "scene_0001" / "arrays" / "000000.npz"
    stored = dict(np.load(arrays))
    np.savez(arrays, **{name: np.zeros_like(array) for name, array in stored.items()})
    scene = describe(changed).scenes["scene_0001"]
    assert scene.valid == 0 and scene.depth == 0


def test_another_rendering_of_the_same_scenes_joins(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["scenes"]["scene_0000"]["files"]["spec.json"] = "0" * 64
    (moved / "manifest.json").write_text(json.dumps(manifest))
    first, second = describe(folder), describe(moved)
    assert first.sha256 != second.sha256
    both = first.joined(second)
    assert both.sha256 == first.sha256 + second.sha256 and both.scenes == first.scenes
    assert both.joined(second) == both


def test_a_sheet_of_recordings_is_the_same_when_it_is_read_again(tmp_path):
    for name in "ab":
        write_capture(tmp_path / "faces" / name, 2)
    wanted = Recording.of(
        "nano", "captures", tmp_path / "faces", "faces", "test", output=tmp_path / "out", views=2, resolution=HEIGHT
    )
    made = describe(prepare(wanted).folder)
    assert made.settings["scenes"] == ["a", "b"]
    records.write(tmp_path / "sheet.json", made)
    read = records.read(tmp_path / "sheet.json", DataSheet)
    assert read is not None and read == made and read.joined(made) == made


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"depth": 3.0 * (1 + 2 * TOLERANCE)}, "depth 3.006 m .*not depth 3 m"),
        ({"valid": 0.5 - 2 * TOLERANCE}, "in 49.8% of the picture"),
        ({"color": (0.2, 0.3, 0.4 + 2 * COLOR_TOLERANCE)}, r"\(0.200, 0.300, 0.410\), not"),
    ],
)
def test_a_scene_that_shows_something_else_does_not(scene, message):
    first = sheet("ab")
    ours = msgspec.to_builtins(first.scenes["scene_0000"])
    for factor, joins in ((0.25, True), (1, False)):
        value = {name: np.array(ours[name]) + factor * (np.array(new) - ours[name]) for name, new in scene.items()}
        other = FirstView(**{**ours, **{name: new.tolist() for name, new in value.items()}})
        second = msgspec.structs.replace(first, sha256=("cd",), scenes={**first.scenes, "scene_0000": other})
        if joins:
            assert first.joined(second).sha256 == ("ab", "cd")
            continue
        with pytest.raises(ValueError, match=rf"^scene_0000 shows .*{message}"):
            first.joined(second)


def test_other_settings_or_scenes_do_not(folder):
    with pytest.raises(ValueError, match=r"^views is 16, not 8$"):
        sheet("ab").joined(sheet("cd", views=16))
    with pytest.raises(ValueError, match=r"^turn is 90, not None$"):
        sheet("ab").joined(sheet("cd", turn=90))
    with pytest.raises(ValueError, match=r"^there are 3 scenes, not the same 2$"):
        sheet("ab").joined(sheet("cd", scenes=3))
