import subprocess
import sys
from pathlib import Path

import pytest

from experiments.extraction.choice import choose


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "camera_object_centric_nano"),
        ({"rank": 4}, "camera_object_centric_nano_r4"),
        ({"init": "shared"}, "camera_object_centric_nano_shared_init"),
        ({"targets": "shuffled"}, "camera_object_centric_nano_shuffled_targets"),
        ({"init": "shared", "targets": "shuffled"}, "camera_object_centric_nano_shared_init_shuffled_targets"),
        ({"adapters": ["a", "b"]}, "imported"),
    ],
)
def test_controls_do_not_take_the_folder_of_what_they_control(changes, name):
    choice = choose(attribute="camera", setting="object_centric", preset="nano", store="runs", **changes)
    assert choice.default_output == Path("runs/extract") / name


def test_changes_of_the_preset_are_among_the_settings():
    def settings(**changes):
        return choose(attribute="camera", setting="object_centric", preset="nano", store="runs", **changes).settings

    plain = settings()
    assert plain["input factors drawn"] == "independent" and plain["targets"] == "true" and plain["k"] == "5"
    changed = {name for name, value in settings(rank=4).items() if value != plain[name]}
    assert changed == {"preset: rank", "preset: alpha"}
    assert settings(rank=8, dim=8) == plain  # the preset's own, said aloud
    assert {name for name, value in settings(dim=4).items() if value != plain[name]} == {"d'", "preset: dim"}


def test_commands_start_without_jax():
    """Neither ``--help`` nor the processes that draw figures, which import the command's module, wait for it."""
    code = "import sys, experiments.analyze, experiments.extract; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], timeout=60).returncode == 0
