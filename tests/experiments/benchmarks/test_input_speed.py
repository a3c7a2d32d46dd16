"""What pictures cost: on drawn scenes that are read like rendered ones."""

import numpy as np
import pytest

from experiments.benchmarks import input_speed, machine
from tests.experiments.commands import call
from tests.experiments.training import tiny


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return input_speed.drawn_scenes(tmp_path_factory.mktemp("drawn"), tiny.CONFIG.image_size, scenes=2, views=3)


def test_drawn_scenes_are_read_like_rendered_ones(scenes):
    for scene in scenes:
        views = scene.load()
        assert views.images.shape == (3, 16, 16, 3) and views.images.std() > 10
        assert 0.4 < views.valid.mean() < 1 and (views.depths[views.valid] >= 2).all()
        np.testing.assert_array_equal(views.depths > 0, views.valid)


def test_every_stage_is_timed(scenes):
    found = list(input_speed.stages(scenes))
    assert len(found) == 9 and all(stage.wall_s > 0 and stage.cpu_s >= 0 for stage in found)
    assert len({str(stage)[:50] for stage in found}) == 9


def test_own_data_is_measured_or_named(tmp_path, monkeypatch):
    monkeypatch.setattr(input_speed, "stages", lambda scenes: iter([f"  {len(scenes)} scenes"]))
    monkeypatch.setattr(machine, "describe", lambda: "a machine")
    monkeypatch.setattr(input_speed, "SIDES", (16,))
    assert "32 pictures of 16²" in call("experiments.benchmark", "input", "--nostep").stdout
    found = call("experiments.benchmark", "input", "--nostep", f"--data={tmp_path / 'none'}")
    assert found.status == 2 and str(tmp_path / "none") in found.stderr
    refused = call("experiments.benchmark", "training", "--nostep")
    assert refused.status == 2 and "--step" in refused.stderr
