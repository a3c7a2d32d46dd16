"""Tables with things of glass."""

import numpy as np
import pytest

from experiments.data.manifest import TaskSettings
from experiments.rendering.export import object_mesh
from experiments.scenes import schema
from experiments.scenes.support import bounds
from experiments.synthetic import cameras
from experiments.tasks import glass, vessels
from experiments.tasks.naming import Name
from tests.experiments.scenes.examples import thing


def name(scene, split="train"):
    settings = TaskSettings(task="glass", split=split, seed=2, samples=4, views=8, resolution=64, turn=360.0)
    return Name(settings, 0, scene, 0)


@pytest.fixture(scope="module")
def scenes():
    return [glass.make_scene(name(scene)) for scene in range(8)]


def is_glass(scene, item):
    return scene.materials[item.material % len(scene.materials)].transmission == 1


def test_the_same_name_gives_the_same_scene_and_splits_differ(scenes):
    assert schema.to_json(glass.make_scene(name(3))) == schema.to_json(scenes[3])
    assert glass.make_scene(name(3, "test")).objects != scenes[3].objects


def test_most_things_are_glass_and_their_support_is_not(scenes):
    for scene in scenes:
        assert not any(is_glass(scene, item) for item in scene.objects[:2])
        assert glass.GLASS[0] <= sum(is_glass(scene, item) for item in scene.objects) <= glass.GLASS[1]
    indices = [m.ior for scene in scenes for m in scene.materials if m.transmission]
    assert min(indices) < 1.4 and max(indices) > 1.55


def test_things_stand_on_the_table_apart_from_each_other(scenes):
    for scene in scenes:
        table, _, *things = scene.objects
        for item in things:
            low, high = bounds(item)
            assert low[2] > -1e-6 and high[2] < 0.3
            assert np.abs([low[:2], high[:2]]).max() < table.size[0] / 2 + 0.05


def test_cameras_see_the_table_from_outside(scenes):
    for scene in scenes:
        places = cameras.centers(scene.cameras)
        things = scene.objects[2:]
        assert min(float(cameras.distance(places, item).min()) for item in things) > 0.1
        elevation = np.degrees(np.arcsin(places[:, 2] / np.linalg.norm(places, axis=1)))
        assert elevation.min() > 15 and elevation.max() < 65


@pytest.mark.parametrize("seed", range(12))
def test_vessels_have_walls(seed):
    """Closed surfaces that hold less glass than the solid they are turned from, with room for a drink."""
    shape = vessels.vessel(np.random.default_rng(seed))
    mesh = object_mesh(thing(shape, (0.1, 0.1, 0.2)))
    assert mesh.is_watertight and mesh.volume > 0
    full = mesh.convex_hull.volume
    assert mesh.volume < 0.75 * full
