"""Files as Blender writes them, written here by the OpenEXR package."""

import numpy as np
import OpenEXR
import pytest

from experiments.data import passes
from subspace.errors import InputError

HEIGHT, WIDTH = 3, 4
TURN = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
"""A camera that looks along the world's -x, with z up."""


def write(path, index="IndexOB.X", leave_out=""):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (HEIGHT, WIDTH))
    depth[0, 0] = 1e10
    planes = {
        **{f"Combined.{c}": rng.uniform(-0.01, 3, (HEIGHT, WIDTH)) for c in "RGBA"},
        "Depth.Z": depth,
        **{f"Normal.{c}": np.full((HEIGHT, WIDTH), value) for c, value in zip("XYZ", (2.0, 0, 0), strict=True)},
        index: np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH),
    }
    planes = {f"ViewLayer.{name}": plane.astype(np.float32) for name, plane in planes.items() if name != leave_out}
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, dict(planes)) as file:
        file.write(str(path))
    return planes


@pytest.mark.parametrize("index", ["IndexOB.X", "Object Index.X"])
def test_arrays_have_their_units_and_frames(tmp_path, index):
    planes = write(tmp_path / "view.exr", index)
    view = passes.read(tmp_path / "view.exr", np.concatenate([TURN, [[1], [2], [3]]], axis=1))
    assert view.color.shape == view.normal.shape == (HEIGHT, WIDTH, 3)
    assert view.color.dtype == view.depth.dtype == view.normal.dtype == np.float32
    assert view.object_id.dtype == np.uint16
    np.testing.assert_array_equal(view.color[..., 1], np.maximum(planes["ViewLayer.Combined.G"], 0))
    expected = planes["ViewLayer.Depth.Z"].copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(view.depth, expected)
    np.testing.assert_array_equal(view.object_id.ravel(), range(HEIGHT * WIDTH))
    facing_the_camera = np.broadcast_to(np.float32([0, 0, -1]), (HEIGHT, WIDTH, 3)).copy()
    facing_the_camera[0, 0] = 0
    np.testing.assert_allclose(view.normal, facing_the_camera, atol=1e-6)


def test_where_nothing_is_hit_everything_is_zero(tmp_path):
    write(tmp_path / "view.exr")
    view = passes.read(tmp_path / "view.exr", np.eye(4))
    np.testing.assert_array_equal(np.argwhere(~view.valid), [[0, 0]])
    assert view.depth[0, 0] == view.object_id[0, 0] == 0
    assert not view.normal[0, 0].any()


def test_a_missing_channel_is_named(tmp_path):
    write(tmp_path / "view.exr", leave_out="Normal.Y")
    with pytest.raises(ValueError, match=r"view\.exr has no channel Normal\.Y; it has ViewLayer\.Combined\.A"):
        passes.read(tmp_path / "view.exr", np.eye(4))


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_unreadable_files_are_named(tmp_path, content):
    path = tmp_path / "view.exr"
    write(path)
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(InputError, match=r"view\.exr cannot be read"):
        passes.read(path, np.eye(4))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.exr"):
        passes.read(tmp_path / "none.exr", np.eye(4))
