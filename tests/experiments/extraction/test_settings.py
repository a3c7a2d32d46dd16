"""What is asked of an extraction: presets, labels, what takes part in the identity, and what contradicts itself."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from experiments.cluster.settings import Ray
from experiments.extraction import ATTRIBUTES, Settings
from experiments.extraction.data import rendering_of
from experiments.extraction.recipe import Recipe
from experiments.extraction.results import identity_of_trained
from experiments.presets import PRESETS
from experiments.rendering import Settings as RenderingSettings
from experiments.scenes.schema import Setting
from experiments.storage.identity import digest, identity
from experiments.training import trackers
from experiments.training.losses import CameraLoss, Objective
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError

PLAIN = Settings.of("nano")


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "camera_object_centric_nano"),
        ({"rank": 4}, "camera_object_centric_nano_r4"),
        ({"init": "shared"}, "camera_object_centric_nano_shared_init"),
        ({"targets": "shuffled"}, "camera_object_centric_nano_shuffled_targets"),
        ({"init": "shared", "targets": "shuffled"}, "camera_object_centric_nano_shared_init_shuffled_targets"),
        ({"updates": "gradient"}, "camera_object_centric_nano_gradient"),
        ({"adapters": (Path("a"), Path("b"))}, "imported"),
    ],
)
def test_labels_tell_controls_from_what_they_control(changes, label):
    assert Settings.of("nano", attribute="camera", **changes).label == label


@pytest.mark.parametrize("name", PRESETS)
def test_numbers_are_the_presets(name):
    preset, settings = PRESETS[name], Settings.of(name, setting="micro_baseline")
    assert (settings.k, settings.weights) == (preset.rendering.datasets["micro_baseline"], preset.weights)
    assert settings.training == preset.training and settings.dim == preset.extraction.dim
    shared = ("scenes", "views", "resolution", "samples")
    assert {each: getattr(settings, each) for each in shared} == {
        each: getattr(preset.rendering, each) for each in shared
    }
    assert ATTRIBUTES == ("texture", "geometry", "camera", "lighting")


def test_a_rank_brings_its_scale_and_the_presets_own_changes_nothing():
    assert Settings.of("nano", rank=4).training == replace(PLAIN.training, rank=4, alpha=4.0)
    assert Settings.of("nano", rank=4, alpha=2.0).training.alpha == 2.0
    said_aloud = Settings.of("nano", rank=8, dim=8, k=5, steps=None, init=None)
    assert said_aloud == PLAIN and identity(said_aloud) == identity(PLAIN)


CHANGES = {
    "attribute": "texture", "setting": "wide_baseline", "k": 4, "scenes": 17, "views": 9, "resolution": 112, "samples": 5,
    "training": replace(PLAIN.training, steps=7), "dim": 4, "exponent": 2.0, "init": "shared", "targets": "shuffled", "seed": 1,
    "adapters": (Path("a"), Path("b")), "camera_weight": 0.0, "glass": False, "input_rate": 16.0, "snapshots": True,
    "updates": "gradient",
}  # fmt: skip
NO_EFFECT = {
    "preset": "vggt_1b",
    "weights": "other",
    "store": Path("other"),
    "workers": 3,
    "plan": StepPlan(accumulate=1),
    "executor": Ray(),
    "blender": "b",
    "log": ("wandb",),
    "output": Path("elsewhere"),
    "overwrite": True,
}


def test_every_field_is_said_to_matter_or_not():
    assert {each.name for each in fields(Settings)} == {*CHANGES, *NO_EFFECT, "outputs"}


@pytest.mark.parametrize("field", CHANGES)
def test_what_results_depend_on_is_part_of_their_identity(field):
    other = replace(PLAIN, **{field: CHANGES[field]})
    assert digest(identity_of_trained(other, "a")) != digest(identity_of_trained(PLAIN, "a"))


@pytest.mark.parametrize("field", NO_EFFECT)
def test_what_results_do_not_depend_on_is_no_part(field, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda package: object())  # whatever is installed
    other = replace(PLAIN, **{field: NO_EFFECT[field]})
    assert identity_of_trained(other, "a") == identity_of_trained(PLAIN, "a") != identity_of_trained(PLAIN, "b")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("setting", get_args(Setting))
def test_what_generate_renders_is_what_extract_needs(preset, setting):
    wanted = {"attribute": "lighting", "setting": setting}
    assert rendering_of(Settings.of(preset, **wanted)) == RenderingSettings.of(preset, **wanted)


def test_names_of_results_change_only_with_a_version():
    """If this fails, results that people have are made again: raise the version and say so in the changelog."""
    assert digest(identity_of_trained(PLAIN, "0123456789abcdef")) == "0d028daaa1ea"


def test_the_content_of_given_outputs_counts(tmp_path):
    digests = set()
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "subspace.safetensors").write_bytes(content)
        wanted = replace(PLAIN, outputs=tmp_path / name)
        assert wanted.label.endswith("second_pass")
        digests.add(digest(identity_of_trained(wanted, "a")))
    assert len(digests) == 2 and digest(identity_of_trained(PLAIN, "a")) not in digests
    with pytest.raises(InputError, match=r"has no subspace\.safetensors") as error:
        Recipe.of(replace(PLAIN, outputs=tmp_path))
    assert error.value.argument == "outputs"


def test_the_camera_loss_has_vggts_weight_or_another_or_is_left_out():
    assert Recipe.of(PLAIN).objective == Objective()
    assert Recipe.of(replace(PLAIN, camera_weight=1.0)).objective == Objective(CameraLoss(1.0))
    assert Recipe.of(replace(PLAIN, camera_weight=0.0)).objective == Objective(camera=None)


def test_the_whole_recipe_is_part_of_the_identity():
    content = identity_of_trained(PLAIN, "a")
    assert content["optimizer"]["clip"] == 0.5 and content["optimizer"]["weight_decay"] == 0.05
    assert content["objective"]["depth"]["gamma"] == 1.0 and content["loop"]["validate_every"] == 10
    assert content["versions"] == {"results": 1, "recipe": 1}


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"exponent": 0.0}, "exponent"),
        ({"camera_weight": -1.0}, "camera_weight"),
        ({"input_rate": 0.0}, "input_rate"),
        ({"exponent": 3.0}, "exponent"),
        ({"dim": 41}, "dim"),
        ({"dim": 0}, "dim"),
        ({"k": 1}, "k"),
        ({"scenes": 7}, "scenes"),
        ({"adapters": (Path("a"),)}, "adapters"),
        ({"outputs": Path("a"), "input_rate": 16.0}, "input_rate"),
        ({"outputs": Path("a"), "init": "shared"}, "init"),
        ({"updates": "full", "outputs": Path("a")}, "outputs"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, argument):
    with pytest.raises(InputError) as error:
        Settings.of("nano", **changes)
    assert error.value.argument == argument and "--" not in str(error.value)


def test_settings_and_commands_do_not_wait_for_jax():
    """Neither ``--help`` nor the processes that draw figures, which import the command's module, wait for it."""
    code = "import sys, experiments.analyze, experiments.extract; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], timeout=60).returncode == 0
