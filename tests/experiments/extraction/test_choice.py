from pathlib import Path

import pytest

from experiments.extraction.choice import choose

GIVEN = {
    "attribute": "camera", "setting": "object_centric", "preset": "nano", "weights": None, "k": None, "rank": None,
    "dim": None, "steps": None, "alpha": 1.0, "init": "independent", "targets": "true", "seed": 0, "adapters": None,
    "workers": None, "blender": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "camera_object_centric_nano"),
        ({"init": "shared"}, "camera_object_centric_nano_shared_init"),
        ({"targets": "shuffled"}, "camera_object_centric_nano_shuffled_targets"),
        ({"init": "shared", "targets": "shuffled"}, "camera_object_centric_nano_shared_init_shuffled_targets"),
        ({"adapters": ["a", "b"]}, "imported"),
    ],
)
def test_controls_do_not_take_the_folder_of_what_they_control(changes, name):
    assert choose(GIVEN | changes, Path("runs")).default_output == Path("runs/extract") / name
