"""Scans that change after they were rendered, and runs that fail: what has changed is rendered again, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from experiments.data.dataset import Dataset
from experiments.data.manifest import read_manifest
from experiments.scenes import schema
from experiments.tasks import Recording, Settings, prepare
from subspace.errors import InputError
from tests.experiments.rendering.small_scenes import STAND_IN
from tests.experiments.tasks.test_scans import scan

NO_COLOURS = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def render(folder, **changes):
    small = {"views": 2, "resolution": 20, "samples": 1, "blender": str(STAND_IN)}
    where = {"meshes": folder / "scans", "output": folder / "out"}
    return prepare(Settings.of("nano", "humans", "test", **{**small, **where, **changes}))


def again(folder, **changes):
    """Renders the same scans into the same folder; (numbers of the scenes that were rendered, result)."""
    records = {path: path.stat().st_mtime_ns for path in folder.glob("out/test/*/*/record.json")}
    made = render(folder, **changes)
    Dataset(made.folder).verify()
    now = sorted(folder.glob("out/test/*/*/record.json"))
    rendered = [int(path.parent.name[-4:]) for path in now if records.get(path) != path.stat().st_mtime_ns]
    assert made.written == len(rendered)
    return rendered, made


def two_parts(path, height=1.8):
    """A scan of two parts: two objects, as many as the stand-in worker shows."""
    body = trimesh.load_mesh(scan(path.with_suffix(".ply"), height), process=False)
    path.with_suffix(".ply").unlink()
    trimesh.Scene([body, body.copy()]).export(path)


def textured(folder, color):
    """A scan of two parts as THuman 2.1 has them: a mesh, materials and a picture, in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(folder / "material0.png")
    (folder / "material0.mtl").write_text("newmtl a\nmap_Kd material0.png\nnewmtl b\nmap_Kd material0.png\n")
    corners = "".join(f"v {x} {y} {z}\n" for x, y, z in ((0, 0, 0), (1, 0, 0), (0, 1.7, 0), (0, 0, 1)))
    faces = "usemtl a\nf 1/1 2/2 3/3\nf 1/1 3/3 4/2\nusemtl b\nf 1/1 4/2 2/3\n"
    (folder / "mesh.obj").write_text(f"mtllib material0.mtl\n{corners}vt 0 0\nvt 1 0\nvt 0 1\n{faces}")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    textured(folder / "scans" / "0000", (200, 100, 50))
    (folder / "scans" / "0001").mkdir()
    two_parts(folder / "scans" / "0001" / "mesh.glb")
    (folder / "scans" / "0002.obj").write_text(NO_COLOURS)
    made = render(folder)
    assert (made.scenes, made.failed, made.written) == (2, 1, 2)
    return folder


@pytest.fixture
def rendered(original, monkeypatch):
    """A copy of a run, in its place, as descriptions of scenes name meshes by absolute paths."""
    kept = original.with_name(f"{original.name}_kept")
    shutil.copytree(original, kept)
    yield original
    shutil.rmtree(original)
    kept.rename(original)


def test_a_repeated_run_does_nothing_and_starts_no_blender(rendered):
    assert again(rendered, blender="/no/blender")[0] == []


def test_a_mesh_that_is_exported_again_is_rendered_again(rendered):
    two_parts(rendered / "scans" / "0001" / "mesh.glb", height=1.5)
    numbers, made = again(rendered)
    assert numbers == [1] and Dataset(made.folder)[1].spec.objects[0].size[2] == pytest.approx(1.5, rel=1e-3)
    assert again(rendered)[0] == []


def test_a_texture_that_is_painted_again_is_rendered_again(rendered):
    Image.new("RGB", (8, 8), (0, 0, 255)).save(rendered / "scans" / "0000" / "material0.png")
    numbers, made = again(rendered)
    assert numbers == [0]
    base = Dataset(made.folder)[0].spec.materials[0].base
    assert isinstance(base, schema.Wrapped)
    with Image.open(base.color) as picture:
        assert picture.getpixel((0, 0)) == (0, 0, 255)


def test_a_scan_that_had_failed_is_rendered_once_it_is_repaired(rendered):
    assert [failed.scene for failed in read_manifest(rendered / "out" / "test" / "dataset_00").failed] == [2]
    (rendered / "scans" / "0002.obj").write_text(NO_COLOURS + "\n")
    numbers, made = again(rendered)
    assert (numbers, made.failed) == ([], 1)  # tried again, in vain
    (rendered / "scans" / "0002.obj").unlink()
    two_parts(rendered / "scans" / "0002.glb")
    numbers, made = again(rendered)
    assert (numbers, made.failed) == ([2], 0)


def test_a_scan_whose_texture_was_missing_is_rendered_once_it_is_there(rendered):
    shutil.copytree(rendered / "scans" / "0000", rendered / "scans" / "0003")
    (rendered / "scans" / "0003" / "material0.png").rename(rendered / "kept.png")
    assert again(rendered)[1].failed == 2
    assert again(rendered, blender="/no/blender")[0] == []
    (rendered / "kept.png").rename(rendered / "scans" / "0003" / "material0.png")
    numbers, made = again(rendered)
    assert (numbers, made.failed) == ([3], 1)


def test_a_blender_that_does_not_start_leaves_the_finished_data_set_as_it_was(rendered):
    Image.new("RGB", (8, 8), (0, 0, 255)).save(rendered / "scans" / "0000" / "material0.png")
    with pytest.raises(InputError, match="no program that can be run"):
        render(rendered, blender="/no/blender")
    Dataset(rendered / "out" / "test" / "dataset_00").verify()
    assert again(rendered)[0] == [0]


def test_another_axis_or_folder_is_refused_and_replaces_what_is_there_if_that_is_asked_for(rendered, tmp_path):
    with pytest.raises(InputError, match="was made with up=y, not z; name another folder, or overwrite it"):
        render(rendered, up="z")
    other = shutil.copytree(rendered / "scans", tmp_path / "scans")
    with pytest.raises(InputError, match=r"was made with meshes=.*, not .*; name another folder, or overwrite it"):
        render(rendered, meshes=other)
    before = np.array(Dataset(rendered / "out" / "test" / "dataset_00")[1].spec.objects[0].size)
    numbers, made = again(rendered, up="z", overwrite=True)
    assert numbers == [0, 1] and not np.allclose(before, Dataset(made.folder)[1].spec.objects[0].size)
    assert again(rendered, up="z", blender="/no/blender")[0] == []


def test_a_run_that_failed_refuses_no_other_settings(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "0000.obj").write_text(NO_COLOURS)
    with pytest.raises(InputError, match=r"none of the 1 scenes of .* could be rendered"):
        render(tmp_path)
    (tmp_path / "scans" / "0000.obj").unlink()
    two_parts(tmp_path / "scans" / "0000.glb")
    assert again(tmp_path, up="z", samples=2)[0] == [0]


def test_numbers_of_a_preset():
    settings = Settings.of("nano", "glass", "test", scenes=4)
    assert (settings.scenes, settings.views, settings.resolution, settings.samples, settings.turn) == (
        4,
        8,
        96,
        16,
        90.0,
    )
    assert Settings.of("nano", "faces", "train").turn is None
    assert Settings.of("nano", "humans", "train", meshes=settings.store).scenes is None
    with pytest.raises(InputError, match="the task glass has no split cross_domain; it has train, test"):
        Settings.of("nano", "glass", "cross_domain")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": 0}, "scenes must be at least 1, got 0"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"resolution": 13}, "resolution must be at least 14, got 13"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_numbers_that_are_too_small_are_named(change, message):
    with pytest.raises(InputError, match=message) as error:
        Settings.of("nano", "glass", "test", **change)
    assert error.value.argument in change
    if change.keys() & {"views", "resolution"}:
        with pytest.raises(InputError, match=message):
            Recording.of("nano", "captures", Path(), "glass", "test", **change)


def test_meshes_are_people(tmp_path):
    with pytest.raises(InputError, match="they go with the task humans, not glass"):
        prepare(Settings.of("nano", "glass", "test", meshes=tmp_path))
    scan(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"scenes=2 is more than the 1 meshes that .* holds"):
        prepare(Settings.of("nano", "humans", "test", meshes=tmp_path, scenes=2))
