"""ClearPose as it lies on disk → this project's data set: units, poses, labels, sides, interruptions, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from experiments.data.agreement import Geometry, cross_view_agreement
from experiments.data.dataset import Dataset
from experiments.data.manifest import RecordedSettings
from experiments.tasks.recordings.clearpose import TRAINING, clearpose_scenes
from experiments.tasks.recordings.conversion import Converted, convert
from tests.experiments.tasks.recordings.written import (
    GLASS,
    HEIGHT,
    OPAQUE,
    cameras,
    centred,
    labels,
    measure,
    write_clearpose,
)

FRAMES = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clearpose") / "clearpose"
    write_clearpose(folder / "set1" / "scene1", FRAMES)
    write_clearpose(folder / "set4" / "scene2", FRAMES, factor=2000)
    shutil.copytree(folder / "set1" / "scene1", folder / "set1" / "scene5")
    shutil.copytree(folder / "set1" / "scene1", folder / "set9" / "scene10")
    shutil.copytree(folder / "set1" / "scene1", folder / "set9" / "scene2")
    (folder / "model").mkdir()
    return folder


def convert_it(source, output, split="train", resolution=HEIGHT, views=3, task="glass"):
    return convert("clearpose", task, split, source, output, resolution, views)


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "train"
    assert convert_it(source, output) == Converted(output / "dataset_00", scenes=2, written=2, has_poses=True)
    return Dataset(output / "dataset_00")


def test_held_out_scenes_leave_scenes_of_every_set_to_train_on(tmp_path):
    for number in range(1, 10):
        for scene in range(1, 7):
            write_names(tmp_path / f"set{number}" / f"scene{scene}")
    names = [scene.name for scene in clearpose_scenes(tmp_path, "train", 1)]
    assert len(names) == 32 and {*names} == TRAINING
    for held_out in (8, 16):
        assert {name.split("/")[0] for name in names[:-held_out]} == {f"set{number}" for number in range(1, 9)}
    tested = [scene.name for scene in clearpose_scenes(tmp_path, "test", 1)]
    assert tested == sorted(tested) and not {*tested} & TRAINING


def write_names(folder):
    folder.mkdir(parents=True)
    (folder / "000000-color.png").touch()


def test_every_pixel_is_where_it_was(dataset):
    dataset.verify()
    for scene in dataset:
        views = scene.load()
        for place, number in enumerate((0, 2, 4)):
            camera = cameras(FRAMES)[number]
            np.testing.assert_allclose(views.extrinsics[place], camera.extrinsics, atol=1e-6)
            np.testing.assert_allclose(views.intrinsics[place], centred(camera), rtol=1e-6)
            # the truth, traced through the cropped camera: nothing of the conversion is in it
            colour, depth = measure(camera.extrinsics, centred(camera), HEIGHT, HEIGHT)
            np.testing.assert_array_equal(views.images[place], colour)
            np.testing.assert_allclose(views.depths[place], depth, atol=0.00051)
            np.testing.assert_array_equal(views.valid[place], depth > 0)
            np.testing.assert_array_equal(views.mask[place], depth > 0)


def test_points_of_different_views_agree(dataset):
    views = dataset[0].load()
    agreement = cross_view_agreement(Geometry.of(views))
    assert agreement.share > 0.99 and agreement.co_visible > 500


def test_labels_are_ids_and_glass_is_what_the_owners_call_transparent(dataset):
    views = dataset[0].load([1])
    expected = labels(cameras(FRAMES)[2])[:, 8:56]
    np.testing.assert_array_equal(views.object_ids[0], expected)
    np.testing.assert_array_equal(views.glass[0], expected == GLASS)
    assert (expected == GLASS).any() and (expected == OPAQUE).any() and (expected == 0).any()


def test_smaller_pictures(source, tmp_path):
    convert_it(source, tmp_path / "out", resolution=12)
    views = Dataset(tmp_path / "out" / "dataset_00")[0].load()
    assert views.images.shape == (3, 12, 12, 3)
    camera = cameras(FRAMES)[2]
    exact = measure(camera.extrinsics, views.intrinsics[1], 12, 12)[1]
    both = views.valid[1] & (exact > 0)
    assert both.mean() > 0.5 and np.median(np.abs(views.depths[1] / np.where(both, exact, 1) - 1)[both]) < 0.02


def test_what_the_manifest_says(dataset):
    settings = dataset.manifest.settings
    assert settings == RecordedSettings(
        task="glass", split="train", layout="clearpose", source="clearpose", views=3, resolution=48,
        scenes=("set1/scene1", "set4/scene2"), poses=True,
    )  # fmt: skip
    assert dataset.manifest.has_poses and dataset.manifest.versions["renderer"] == "recorded (clearpose)"
    stored = json.loads((dataset[0].folder / "cameras.json").read_text())
    assert [view["frame"] for view in stored["views"]] == ["000000", "000002", "000004"]
    assert (dataset.folder / "contact_sheet.png").is_file()
    with pytest.raises(ValueError, match="scene_0000 was recorded, not rendered"):
        _ = dataset[0].spec


def test_sides(source, tmp_path):
    assert len(TRAINING) == 32 and not TRAINING & {f"set{number}/scene6" for number in (4, 5, 6, 7)}
    convert_it(source, tmp_path / "test", "test")
    scenes = Dataset(tmp_path / "test" / "dataset_00").manifest.settings
    assert isinstance(scenes, RecordedSettings) and scenes.scenes == ("set1/scene5", "set9/scene2", "set9/scene10")


def test_interrupted_conversions_go_on_and_finished_ones_do_nothing(source, tmp_path):
    copy, output = shutil.copytree(source, tmp_path / "clearpose"), tmp_path / "out"
    broken = copy / "set4" / "scene2" / "000004-color.png"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"scene2/000004-color\.png cannot be used"):
        convert_it(copy, output)
    folder = output / "dataset_00"
    assert [path.name for path in folder.iterdir()] == ["scene_0000"]
    first = (folder / "scene_0000" / "record.json").stat().st_mtime_ns

    broken.write_bytes(content)
    assert convert_it(copy, output).written == 1
    assert (folder / "scene_0000" / "record.json").stat().st_mtime_ns == first
    assert len(Dataset(folder)) == 2 and not list(output.rglob("*.partial"))
    assert convert_it(copy, output).written == 0

    (folder / "scene_0001" / "images" / "000001.png").unlink()
    assert convert_it(copy, output).written == 1
    Dataset(folder).verify()
    for change, message in (({"views": 2}, "views=3, not 2"), ({"resolution": 24}, "resolution=48, not 24")):
        with pytest.raises(ValueError, match=message):
            convert_it(copy, output, **change)
    shutil.rmtree(copy / "set4")
    with pytest.raises(ValueError, match="holds 2 scenes, scenes=1 is fewer"):
        convert_it(copy, output)


def one_scene(tmp_path):
    folder = tmp_path / "clearpose" / "set1" / "scene1"
    write_clearpose(folder, 2)
    return folder


def refused(tmp_path, **settings):
    with pytest.raises(ValueError) as error:
        convert_it(tmp_path / "clearpose", tmp_path / "out", **{"views": 2, **settings})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.mat", None, "metadata.mat is missing"),
        ("metadata.mat", b"nothing like it", "metadata.mat is damaged"),
        ("000001-label.png", None, "000001-label.png is missing"),
        ("000001-depth_true.png", None, "000001-depth_true.png is missing"),
        (
            "000001-depth_true.png",
            np.zeros((HEIGHT, 64), np.uint8),
            "000001-depth_true.png cannot be used: it has 8 bits",
        ),
        (
            "000001-depth_true.png",
            np.zeros((HEIGHT, 40), np.uint16),
            "40 × 48 pixels are of another shape than the picture's",
        ),
        ("000001-label.png", np.zeros((HEIGHT, 64, 3), np.uint8), "it has the channels R, G, B, one is expected"),
    ],
)
def test_files_that_cannot_be_used_are_named(name, content, message, tmp_path):
    path = one_scene(tmp_path) / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(path)
    found = refused(tmp_path)
    assert message in found and "set1/scene1" in found


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("factor_depth", np.array([[0]]), "factor_depth of frame 000001 is 0"),
        ("factor_depth", None, "says nothing about 'factor_depth' of frame 000001"),
        ("intrinsic_matrix", np.eye(2), "intrinsic_matrix of frame 000001 has shape (2, 2), not (3, 3)"),
        ("intrinsic_matrix", np.diag([-1.0, 1, 1]), "frame 000001 has intrinsics of no pinhole camera"),
        (
            "rotation_translation_matrix",
            2 * np.eye(3, 4),
            "frame 000001 has a pose that is no rotation and translation",
        ),
    ],
)
def test_metadata_that_cannot_be_right_is_refused(field, value, message, tmp_path):
    path = one_scene(tmp_path) / "metadata.mat"
    names = ("factor_depth", "intrinsic_matrix", "rotation_translation_matrix")
    content = {
        frame: {name: facts[name] for name in names}
        for frame, facts in loadmat(path, simplify_cells=True).items()
        if frame[0] == "0"
    }
    if value is None:
        del content["000001"][field]
    else:
        content["000001"][field] = value
    savemat(path, content)
    assert message in refused(tmp_path)


def test_what_is_refused(tmp_path):
    one_scene(tmp_path)
    assert "has 2 frames, 3 views were asked for" in refused(tmp_path, views=3)
    assert "only 1 of the other split" in refused(tmp_path, split="test")
    assert "train and test, not cross_domain" in refused(tmp_path, split="cross_domain")
    assert "its task is glass, not faces" in refused(tmp_path, task="faces")
    (tmp_path / "empty").mkdir()
    for source, message in (("empty", "no setN/sceneM"), ("missing", "there is no folder")):
        with pytest.raises(ValueError, match=message):
            convert_it(tmp_path / source, tmp_path / "out")
    with pytest.raises(ValueError, match="layout='other' is none of clearpose, captures"):
        convert("other", "glass", "train", tmp_path, tmp_path / "out", 8, 2)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "out").exists()


def test_the_facts_are_read_where_memory_is_limited_already(tmp_path):
    path = one_scene(tmp_path) / "metadata.mat"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)); from pathlib import Path; "
        "from experiments.tasks.recordings.mat_files import read_frames; "
        "print(read_frames(Path(sys.argv[1]), ['000001'], ['factor_depth']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=300)
    assert "factor_depth" in done.stdout, done.stderr
