"""Scenes are reproducible, and each part depends on nothing but its own stream."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from experiments.scenes import schema
from experiments.scenes.streams import PARTS
from experiments.synthetic import cameras
from experiments.synthetic.rooms import MAX_OBJECTS
from tests.experiments.synthetic.conftest import SETTINGS, draw

CODE = """
import hashlib, sys
from experiments.synthetic.generator import make_scene
from experiments.scenes.schema import to_json
for setting in ("micro_baseline", "object_centric", "wide_baseline"):
    scene = make_scene("texture", setting, seed=5, dataset=1, scene=2, views=3, width=64, height=48, samples=4)
    print(hashlib.sha256(to_json(scene)).hexdigest())
"""


def test_another_process_makes_the_same_bytes():
    made = [draw("texture", s, 5, 1, 2, 3, width=64, height=48) for s in SETTINGS]
    here = [hashlib.sha256(schema.to_json(scene)).hexdigest() for scene in made]
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == here
    assert [schema.from_json(schema.to_json(scene)) for scene in made] == made


def test_scenes_round_trip_and_keep_their_names(datasets):
    for number, scenes in enumerate(datasets):
        for index, scene in enumerate(scenes):
            assert schema.from_json(schema.to_json(scene)) == scene
            assert (scene.provenance.dataset, scene.provenance.scene) == (number, index)
            assert 1 <= len(scene.objects) <= MAX_OBJECTS


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("change", "same"), [({"attempt": 1}, {"texture"}), ({"dataset": 3}, set()), ({"seed": 9}, set())]
)
def test_another_attempt_data_set_or_seed_is_another_scene(setting, change, same):
    plain, other = draw("lighting", setting), draw("lighting", setting, **change)
    assert plain.lighting != other.lighting
    kept = plain.objects == other.objects and plain.materials == other.materials and plain.cameras == other.cameras
    assert kept == bool(same)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_number_of_views_and_pixels_changes_the_cameras_only(setting):
    plain, other = draw("mixed", setting, views=2), draw("mixed", setting, views=9, width=70, height=140, samples=16)
    for part in set(PARTS) - {"cameras"}:
        assert getattr(plain, part) == getattr(other, part)
    assert plain.cameras.views[0].world_to_camera == other.cameras.views[0].world_to_camera
    assert (len(other.cameras.views), other.cameras.width, other.cameras.height) == (9, 70, 140)
    assert other.render.samples == 16


def test_attributes_of_one_seed_share_no_part():
    scenes = [draw(attribute) for attribute in ("texture", "geometry", "camera", "lighting", "mixed")]
    for part in PARTS:
        assert len({schema_bytes(getattr(scene, part)) for scene in scenes}) == 5


def schema_bytes(part) -> bytes:
    return msgspec.json.encode(part)


def test_a_scene_without_room_for_its_cameras_is_drawn_again(monkeypatch):
    plain, calls = draw("geometry"), []
    redraw = draw.__wrapped__  # not what is remembered

    def refuse_twice(seen, objects):
        calls.append(objects)
        return "objects[0] is too near" if len(calls) % 3 else None

    monkeypatch.setattr(cameras, "too_near", refuse_twice)
    first, second = redraw("geometry"), redraw("geometry")
    assert first == second and len(calls) == 6
    assert first.objects != plain.objects and first.provenance == plain.provenance
    assert (first.materials, first.lighting, first.cameras) == (plain.materials, plain.lighting, plain.cameras)
    monkeypatch.setattr(cameras, "too_near", lambda *_: "objects[0] is too near")
    with pytest.raises(ValueError, match="no place for the cameras"):
        redraw("geometry")


def test_too_near_names_the_object():
    scene = draw()
    assert cameras.too_near(scene.cameras, scene.objects) is None
    center = cameras.centers(scene.cameras)[2]
    block = msgspec.structs.replace(scene.objects[0], location=tuple(center + np.array([0, 0, 0.1])))
    assert "objects[1]" in str(cameras.too_near(scene.cameras, (scene.objects[1], block)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attribute": "colour"}, "unknown attribute 'colour'; known: texture, geometry, camera, lighting, mixed"),
        ({"setting": "outdoor"}, "unknown setting 'outdoor'"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"samples": 0}, "samples must be at least 1"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        draw(**change)
