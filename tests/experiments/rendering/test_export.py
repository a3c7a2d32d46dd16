import numpy as np
import pytest
import trimesh

from experiments.rendering import export
from experiments.scenes import schema


def scene(*objects):
    return schema.Scene(
        version=1,
        provenance=schema.Provenance("mixed", "object_centric", seed=0, dataset=0, scene=0),
        objects=objects,
        materials=(schema.Material(schema.Plain((0.5, 0.5, 0.5))),),
        lighting=schema.Lighting(schema.UniformSky((1.0, 1.0, 1.0), 1.0), ()),
        cameras=schema.Cameras(8, 8, ()),
    )


HALF_TURN = 0.5**0.5
BOX = schema.Object(
    "crate", "clutter", schema.Box(), (2.0, 1.0, 0.5), (HALF_TURN, 0.0, 0.0, HALF_TURN), (10.0, 0.0, 1.0), 0
)
BALL = schema.Object("ball", "clutter", schema.Ellipsoid(), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0)


def test_objects_are_turned_then_moved():
    bounds = export.object_mesh(BOX).bounds  # a quarter turn about z: x and y change places
    np.testing.assert_allclose(bounds, [[9.5, -1, 0.75], [10.5, 1, 1.25]], atol=1e-6)


def test_parts_are_named_by_id_and_name():
    assert set(export.to_trimesh(scene(BOX, BALL)).geometry) == {"1 crate", "2 ball"}


def test_the_command_writes_a_glb(tmp_path, capsys):
    spec, target = tmp_path / "scene.json", tmp_path / "scene.glb"
    spec.write_bytes(schema.to_json(scene(BOX, BALL)))
    export.main([str(spec), str(target)])
    assert "2 objects" in capsys.readouterr().out
    loaded = trimesh.load_scene(target)
    np.testing.assert_allclose(loaded.bounds, [[-0.5, -1, -0.5], [10.5, 1, 1.25]], atol=1e-6)


@pytest.mark.parametrize("arguments", [[], ["only.json"]])
def test_the_command_says_what_it_needs(arguments):
    with pytest.raises(ValueError, match="a scene's JSON file and the file to write"):
        export.main(arguments)


def test_the_command_refuses_other_files(tmp_path):
    spec = tmp_path / "scene.json"
    spec.write_text("{}")
    with pytest.raises(ValueError, match="not a scene of version 1"):
        export.main([str(spec), str(tmp_path / "scene.glb")])
