"""Bodies of anny. About a minute, most of which anny takes to build its model the first time."""

import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("anny", reason="the extra `tasks` is not installed")

from experiments.scenes import mesh_files
from experiments.tasks import bodies
from experiments.tasks.portraits import HEAD
from experiments.tasks.scans import standing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    return {kind: bodies.make_bodies(folder / kind, kind, 5, seed=0) for kind in ("train", "cross_domain", "portraits")}


def heights(paths):
    read = [mesh_files.read(path) for path in paths]
    return np.array([np.ptp(parts[0].vertices[:, 1]) for parts in read])  # y is up


def test_bodies_are_as_tall_as_people(made):
    assert np.all((heights(made["train"]) > 1.3) & (heights(made["train"]) < 2.3))
    children = heights(made["cross_domain"])[0]
    assert 0.7 < children < 1.6


def test_bodies_look_along_z_with_their_heads_above(made):
    [part] = standing(mesh_files.read(made["portraits"][0]))
    top = part.vertices[part.vertices[:, 2] > 0.9 * part.vertices[:, 2].max()]
    nose = top[top[:, 1].argmin()]
    assert abs(nose[0] - top[:, 0].mean()) < 0.03  # which sticks out in front, in the middle
    feet = part.vertices[part.vertices[:, 2] < 0.04]
    ankles = part.vertices[(part.vertices[:, 2] > 0.08) & (part.vertices[:, 2] < 0.12)]
    assert feet[:, 1].min() < ankles[:, 1].min() - 0.05  # toes point along -y


def test_bodies_differ_and_do_not_depend_on_how_many_there_are(made, tmp_path):
    again = bodies.make_bodies(tmp_path, "train", 2, seed=0)
    for one, other in zip(again, made["train"], strict=False):
        assert one.read_bytes() == other.read_bytes()
        assert (one.parent / "material0.png").read_bytes() == (other.parent / "material0.png").read_bytes()
    assert len({path.read_bytes() for path in made["train"]}) == 5


def test_what_is_there_is_not_made_again(made):
    paths = made["train"]
    before = [path.stat().st_mtime_ns for path in paths]
    assert bodies.make_bodies(paths[0].parents[1], "train", 5, seed=0) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


@pytest.mark.parametrize("change", ["none", "rounding", "pose", "clothes"])
def test_a_folder_of_another_versions_bodies_is_not_completed(made, tmp_path, change):
    """Only what a second machine rounds differently may differ: prints of two versions of the heads once made one test set."""
    folder = shutil.copytree(made["train"][0].parents[1], tmp_path / "bodies")
    shutil.rmtree(folder / "0004")
    body, picture = folder / "0003" / "0003.obj", folder / "0003" / "material0.png"
    lines = body.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("v "))
    x, y, z = map(float, lines[first].split()[1:])
    moved = {"rounding": 2e-5, "pose": 1e-2}.get(change, 0.0)
    lines[first] = f"v {x + moved:.5f} {y:.5f} {z:.5f}\n"
    body.write_text("".join(lines))
    if change == "clothes":
        Image.open(picture).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(picture)
    if change in ("none", "rounding"):
        assert len(bodies.make_bodies(folder, "train", 5, seed=0)) == 5 and (folder / "0004" / "0004.obj").exists()
        return
    with pytest.raises(
        ValueError, match=r"0003\.obj is not the body that this version makes: delete .*bodies, or name"
    ):
        bodies.make_bodies(folder, "train", 5, seed=0)
    assert not (folder / "0004").exists()


def test_nothing_but_the_head_of_a_portrait_is_as_high_as_its_chin(made):
    """What PortraitScenes takes for the head, and so what counts, must be no raised hand."""
    for path in made["portraits"]:
        [part] = standing(mesh_files.read(path))
        head = part.vertices[part.vertices[:, 2] > (1 - HEAD) * part.vertices[:, 2].max()]
        assert np.all(np.ptp(head[:, :2], axis=0) < 0.3)
