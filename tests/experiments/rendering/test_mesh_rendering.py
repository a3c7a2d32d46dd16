"""Meshes as Blender renders them: which colour of a file is seen."""

import numpy as np
import pytest
from PIL import Image

from experiments.scenes import mesh_files, schema
from tests.experiments.rendering.test_rendering import DOWN as FROM_ABOVE
from tests.experiments.rendering.test_rendering import Worker
from tests.experiments.scenes.examples import GREY, scene, thing
from tests.experiments.scenes.test_mesh_looks import DOWN, linear
from tests.experiments.scenes.written_meshes import base, plain_picture, write_gltf, write_obj, write_ply

pytestmark = pytest.mark.slow
RGB = (200, 100, 50)
ORANGE = plain_picture(RGB)


@pytest.fixture(scope="module")
def worker():
    made = Worker()
    yield made
    made.jobs.close()
    assert made.process.wait(timeout=30) == 0


def seen(worker, folder, path):
    """The square of a file from above, under a white sky, over a grey floor."""
    [part] = mesh_files.read(path)
    square = thing(mesh_files.write(part, folder, "part"), (1.0, 1.0, 1e-6))
    material = schema.Material(mesh_files.write_looks([part], folder, ["part"])[0], roughness=(1.0, 1.0), specular=0.0)
    floor = thing(schema.Rectangle(), (9.0, 9.0, 0.0), (0.0, 0.0, -0.5), material=1)
    [view] = worker.render(scene([square, floor], [material, GREY], [FROM_ABOVE], 16, 16, samples=64), folder / "scene")
    return view


@pytest.mark.parametrize(
    ("attributes", "material", "picture", "expected"),
    [
        ({}, base(False, baseColorFactor=[0.5, 0.25, 0.8, 1.0]), None, (0.5, 0.25, 0.8)),
        ({"TEXCOORD_0": DOWN}, base(baseColorFactor=[0.5, 1.0, 0.25, 1.0]), ORANGE, linear(RGB) * (0.5, 1, 0.25)),
        ({"TEXCOORD_0": DOWN, "COLOR_0": np.tile([0.25, 0.5, 1], (4, 1))}, base(), ORANGE, linear(RGB) * (0.25, 0.5, 1)),
        ({"COLOR_0": np.tile(np.array([13107, 39321, 65535, 65535], np.uint16), (4, 1))}, None, None, (0.2, 0.6, 1.0)),
    ],
)  # fmt: skip
def test_factors_pictures_and_colours_of_vertices_are_multiplied(
    worker, tmp_path, attributes, material, picture, expected
):
    path = write_gltf(tmp_path / "a.glb", attributes=attributes, material=material, picture=picture)
    np.testing.assert_allclose(seen(worker, tmp_path, path).color[8, 8], expected, atol=0.03)


@pytest.mark.parametrize("mode", ["MASK", "BLEND"])
def test_where_a_picture_is_transparent_there_is_no_surface(worker, tmp_path, mode):
    picture = plain_picture((250, 0, 0, 255), (32, 32), "RGBA")
    picture.paste((0, 250, 0, 0), (0, 0, 16, 16))
    path = write_gltf(
        tmp_path / "a.glb", attributes={"TEXCOORD_0": DOWN}, material={**base(), "alphaMode": mode}, picture=picture
    )
    view = seen(worker, tmp_path, path)
    np.testing.assert_array_equal(view.object_id[[3, 3, 12, 12], [3, 12, 3, 12]], [2, 1, 1, 1])
    np.testing.assert_allclose(view.depth[[3, 12], [3, 3]], [2.5, 2.0], atol=1e-3)
    assert view.color[12, 12, 0] > 0.8 and np.ptp(view.color[3, 3]) < 0.2


def test_faces_colours_and_deep_greys(worker, tmp_path):
    channels = [("red", "uchar", [250, 10]), ("green", "uchar", [20, 200]), ("blue", "uchar", [0, 70])]
    view = seen(worker, tmp_path, write_ply(tmp_path / "a.ply", face=channels))
    np.testing.assert_allclose(view.color[12, 8], linear((250, 20, 0)), atol=0.03)
    np.testing.assert_allclose(view.color[3, 8], linear((10, 200, 70)), atol=0.03)
    deep = Image.fromarray(np.full((4, 4), 188 * 257, np.uint16))
    (tmp_path / "b").mkdir()
    path = write_obj(tmp_path / "b" / "b.obj", mtl="map_Kd p.png", files={"p.png": deep})
    np.testing.assert_allclose(seen(worker, tmp_path / "b", path).color[8, 8], [0.5] * 3, atol=0.03)
