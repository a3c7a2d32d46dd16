"""What is missing is extracted, what is there is found again: with planted adapters in place of rendering and training."""

import shutil
from pathlib import Path

import pytest

from experiments.analysis import extracted
from experiments.analysis.conditions import Condition, read_controls
from experiments.extraction import Settings
from experiments.mining.folder import read_inputs
from tests.experiments.extraction.planted import plant


@pytest.fixture
def find(tmp_path, monkeypatch):
    """``find(*controls)``: the folders under study and of controls, and what was trained for them."""
    made = plant(monkeypatch, tmp_path)
    monkeypatch.setattr(extracted, "ATTRIBUTES", ("texture", "geometry"))

    def find(*controls):
        made.clear()
        found = extracted.find_or_extract(Settings.of("nano", store=tmp_path / "store"), controls)
        return *found, [(each.attribute, each.init, each.targets) for each in made]

    return find


def test_runs_and_controls_are_extracted_once(find):
    runs, controls, trained = find("shuffled")
    assert trained == [
        ("texture", "independent", "true"),
        ("geometry", "independent", "true"),
        ("texture", "independent", "shuffled"),
        ("geometry", "independent", "shuffled"),
    ]
    assert [folder.name.rpartition("-")[0] for folder in [*runs, *controls]] == [
        "texture_object_centric_nano",
        "geometry_object_centric_nano",
        "texture_object_centric_nano_shuffled_targets",
        "geometry_object_centric_nano_shuffled_targets",
    ]
    assert list(read_controls(controls, read_inputs(runs))) == [Condition("independent", "shuffled")]
    assert find("shuffled") == (runs, controls, [])

    shutil.rmtree(runs[1])
    assert find() == (runs, [], [("geometry", "independent", "true")])
    assert find(controls[0]) == find(str(controls[0])) == (runs, controls[:1], [])


def test_other_updates_are_conditions_of_their_own(find):
    runs, controls, _ = find("gradient")
    assert list(read_controls(controls, read_inputs(runs))) == [Condition(None, "true", updates="gradient")]


@pytest.mark.parametrize("control", [Path("shufled"), "shufled"])
def test_a_control_that_is_no_folder_is_refused_before_anything_is_trained(control, find, tmp_path):
    with pytest.raises(ValueError, match="there is no folder shufled"):
        find(control)
    assert not (tmp_path / "store").exists()
