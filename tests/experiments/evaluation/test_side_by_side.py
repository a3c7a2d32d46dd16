"""What several methods made of the same scenes, in one picture."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.data.dataset import Dataset
from experiments.evaluation.predictions import from_folder, prediction_file, save_prediction
from experiments.evaluation.run import evaluate_views
from experiments.evaluation.scene import Reconstruction
from experiments.evaluation.side_by_side import Settings, draw_side_by_side, side_by_side
from experiments.rendering import runs
from experiments.rendering.pool import LocalPool
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.rendering.small_scenes import COMMAND, SETTINGS, VIEWS, make_scene

EVERY = list(range(VIEWS))
ERROR = 0.1
"""Half of the pixels of the worse method are this much too far, the other half this much too near."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    output = tmp_path_factory.mktemp("data") / "out"
    runs.generate(output, SETTINGS, 1, 2, lambda: make_scene, lambda: LocalPool(COMMAND, 1))
    return output / "dataset_00"


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    """The truth in another unit, and one with planted errors, as ``evaluate --save_predictions`` leaves them."""
    made = {}
    for name, error in (("good", 0.0), ("worse", ERROR)):
        made[name] = tmp_path_factory.mktemp(name)
        for scene in Dataset(data).scenes:
            loaded = scene.load(EVERY)
            checks = np.indices(loaded.depths.shape).sum(axis=0) % 2
            depths = 3 * loaded.depths * (1 + error * np.where(checks, 1, -1))
            extrinsics = np.concatenate([loaded.extrinsics[..., :3], 3 * loaded.extrinsics[..., 3:]], axis=-1)
            predicted = Reconstruction(depths.astype(np.float32), extrinsics, loaded.intrinsics)
            file = prediction_file(made[name] / "predictions", "dataset_00", scene.folder.name)
            save_prediction(file, predicted, EVERY)
    return made


def test_what_is_drawn_is_what_was_planted(data, results):
    (scene, *_) = Dataset(data).scenes
    loaded, key = scene.load(EVERY), ("dataset_00", scene.folder.name)
    found = {
        name: evaluate_views(from_folder(folder / "predictions"), key, loaded, EVERY)
        for name, folder in results.items()
    }
    figure = side_by_side(found, loaded.images, loaded.extrinsics)
    drawn = [axes for axes in figure.subfigs[1].axes if axes.images]
    good, worse = (np.ma.masked_invalid(axes.images[0].get_array()) for axes in drawn[-2:])
    assert good.count() == worse.count() == loaded.valid[0].sum() and good.max() < 1e-5
    assert worse.mean() == pytest.approx(ERROR, abs=0.03)  # the alignment makes half of the pixels right
    depth = np.ma.masked_invalid(drawn[-6].images[0].get_array())
    np.testing.assert_array_equal(depth.compressed(), loaded.depths[0][loaded.valid[0]])
    np.testing.assert_array_equal(drawn[-3].images[0].get_array(), loaded.images[0])
    titles = [axes.get_title() for axes in drawn if axes.get_title()]
    assert titles[0] == "truth" and [title.split("\n")[0] for title in titles[1:]] == ["good", "worse"]
    distances = [float(re.findall(r"\d+\.\d+", title)[0]) for title in titles[1:]]
    assert distances[0] < 1e-4 < distances[1]


def test_the_command_draws_the_scenes_that_are_named(data, results, tmp_path):
    given = [f"--data={data}", f"--output={tmp_path}", "--views=" + ",".join(map(str, EVERY))]
    named = ",".join(f"{name}={folder}" for name, folder in results.items())
    done = call("experiments.evaluate", *given, f"--side_by_side={named}", "--scenes=scene_0001")
    assert done.status == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scene_0001.png"]
    assert imread(tmp_path / "scene_0001.png").std() > 0.05
    drawn = (tmp_path / "scene_0001.png").read_bytes()
    (tmp_path / "scene_0001.png").write_text("of mine")
    again = call("experiments.evaluate", *given, f"--side_by_side={named}")
    assert again.status == 2 and f"{tmp_path}/scene_0001.png is there already" in again.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of mine"]
    assert call("experiments.evaluate", *given, f"--side_by_side={named}", "--overwrite").status == 0
    assert (tmp_path / "scene_0001.png").read_bytes() == drawn
    assert call("experiments.evaluate", *given, f"--side_by_side={named}", "--scenes=scene_0009").status == 2
    assert call("experiments.evaluate", *given, "--side_by_side=a=x,a=y").status == 2
    assert call("experiments.evaluate", *given, "--scenes=scene_0001").status == 2


def _of(tmp_path, name, scenes, results):
    """Results with predictions of these scenes only."""
    for scene in scenes:
        file = prediction_file(tmp_path / name / "predictions", "dataset_00", scene)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(prediction_file(results["good"] / "predictions", "dataset_00", scene), file)
    return tmp_path / name


def test_by_default_what_all_results_have_predictions_of_is_drawn(data, results, tmp_path):
    settings = Settings(
        data=data,
        results={"all": results["good"], "last": _of(tmp_path, "last", ["scene_0001"], results)},
        views=",".join(map(str, EVERY)),
        output=tmp_path / "new",
    )
    assert draw_side_by_side(settings) == [tmp_path / "new" / "scene_0001.png"]
    with pytest.raises(
        InputError, match=r"no prediction of dataset_00/scene_0000; it has those of scene_0001$"
    ) as error:
        draw_side_by_side(replace(settings, scenes=("scene_0000",)))
    assert error.value.argument == "scenes"
    first = {**settings.results, "first": _of(tmp_path, "first", ["scene_0000"], results)}
    with pytest.raises(InputError, match="no scene of dataset_00 of which all results have a prediction"):
        draw_side_by_side(replace(settings, results=first))


def test_results_without_predictions_are_named(data, tmp_path):
    settings = Settings(data=data, results={"a": tmp_path}, views=",".join(map(str, EVERY)), output=tmp_path / "new")
    with pytest.raises(InputError, match="has no prediction of a scene of dataset_00: evaluate with") as error:
        draw_side_by_side(settings)
    assert error.value.argument == "results" and not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=f"^there is no folder {tmp_path}/absent") as error:
        draw_side_by_side(replace(settings, results={"a": tmp_path / "absent"}))
    assert error.value.argument == "results" and not (tmp_path / "new").exists()
