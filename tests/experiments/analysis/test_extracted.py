"""What is missing is extracted, what is there is found again: with planted adapters in place of rendering and training."""

import json
from types import SimpleNamespace

import pytest

from experiments import extract, models
from experiments.analysis import extracted
from experiments.analysis.conditions import Condition, read_controls
from experiments.extraction.source import Source
from experiments.mining.folder import read_inputs
from tests.experiments.analysis.planted import BASE, BASE_NAME, draw_adapters, draw_subspaces
from vggt_jax.adapters import Adapter, save_adapter

SHAPES = {"aggregator.frame_blocks.attn.qkv": ((2,), 48, 40)}


@pytest.fixture
def find(tmp_path, monkeypatch):
    """``find(*controls)``: the folders under study and of controls, and what was trained for them."""
    trained = []

    def find_adapters(choice):
        trained.append((choice.attribute, choice.init, choice.targets))
        drawn = draw_adapters(len(trained), draw_subspaces(9, shapes=SHAPES), k=5, rank=8, shapes=SHAPES)
        deltas = {f"{choice.attribute}_{i:02d}": adapter for i, adapter in enumerate(drawn)}
        files = {name: tmp_path / f"{name}.safetensors" for name in deltas}
        for name, file in files.items():
            save_adapter(file, Adapter(deltas[name], BASE))
        return Source(deltas, BASE.name, BASE.fingerprint, choice.attribute, files=files)

    monkeypatch.setattr(extract, "_find_adapters", find_adapters)
    monkeypatch.setattr(models, "load_base", lambda *_: SimpleNamespace(label=BASE_NAME))
    monkeypatch.setattr(extracted, "ATTRIBUTES", ("texture", "geometry"))

    def find(*controls):
        trained.clear()
        found = extracted.find_or_extract("object_centric", "nano", None, str(tmp_path / "store"), controls)
        return *found, list(trained)

    return find


def test_runs_and_controls_are_extracted_once(find):
    runs, controls, trained = find("shuffled")
    assert trained == [
        ("texture", "independent", "true"),
        ("geometry", "independent", "true"),
        ("texture", "independent", "shuffled"),
        ("geometry", "independent", "shuffled"),
    ]
    assert [folder.name for folder in runs] == ["texture_object_centric_nano", "geometry_object_centric_nano"]
    assert [folder.name for folder in controls] == [
        "texture_object_centric_nano_shuffled_targets",
        "geometry_object_centric_nano_shuffled_targets",
    ]
    assert list(read_controls(controls, read_inputs(runs))) == [Condition("independent", "shuffled")]
    assert find("shuffled") == (runs, controls, [])

    summary = runs[1] / "summary.json"
    stored = json.loads(summary.read_text())
    stored["facts"]["preset: steps"] = "7"
    summary.write_text(json.dumps(stored))
    assert find() == (runs, [], [("geometry", "independent", "true")])  # of other settings: made anew
    assert find(str(controls[0])) == (runs, controls[:1], [])


def test_a_control_that_is_no_folder_is_refused_before_anything_is_trained(find, tmp_path):
    with pytest.raises(ValueError, match="there is no folder shufled"):
        find("shufled")
    assert not (tmp_path / "store").exists()
