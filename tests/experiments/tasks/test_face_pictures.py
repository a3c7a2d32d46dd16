"""Pictures of faces: heads that are rendered once, whatever an earlier run asked for."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from experiments.rendering.pool import LocalPool
from experiments.tasks import bodies, face_pictures
from tests.experiments.rendering.small_scenes import COMMAND, told


def write_bodies(folder, kind, number, seed, reporter):
    """In place of anny's: long balls with a texture."""
    assert kind == "portraits"
    paths = [folder / f"{i:04d}" / f"{i:04d}.obj" for i in range(number)]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        ball = trimesh.creation.icosphere(subdivisions=3).apply_scale((0.2, 0.85 + 0.01 * i, 0.2))
        uv = np.random.default_rng(seed).random((len(ball.vertices), 2))
        picture = Image.new("RGB", (8, 8), (200, 120, 90))
        visual = trimesh.visual.TextureVisuals(uv, image=picture)  # pyright: ignore[reportAttributeAccessIssue]
        trimesh.Trimesh(ball.vertices, ball.faces, visual=visual, process=False).export(path)
    return paths


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes pictures; (result, numbers of the heads that were rendered)."""
    monkeypatch.setattr(bodies, "make_bodies", write_bodies)
    monkeypatch.setattr(face_pictures, "photo", lambda: (np.zeros((40, 30, 3), np.uint8), np.ones((40, 30), bool)))
    monkeypatch.setattr(face_pictures, "RESOLUTION", 24)
    log = tmp_path / "log"

    def run(number, seed=0):
        log.unlink(missing_ok=True)
        with told(log=str(log)):
            made = face_pictures.make_pictures(tmp_path / "out", number, seed, lambda: LocalPool(COMMAND, 2))
        rendered = sorted(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else []
        return made, [int(place.split("/")[1]) for place in rendered]

    return run


def test_heads_are_rendered_once_and_an_earlier_run_with_more_or_others_is_no_obstacle(make):
    three, rendered = make(3, 1)  # of these seeds the stand-in worker sees something
    assert len(three) == 3 and rendered == [0, 1]
    assert make(3, 1) == (three, [])
    assert make(2, 1) == (three[:2], [])
    assert make(3, 1) == (three, [])
    others, rendered = make(2, 0)
    assert rendered == [0] and others[0] == three[0] and len(others) == 2


def test_the_mask_is_where_the_first_object_is(make):
    (photo, head), _ = make(2)
    with Image.open(head.color.color) as picture, Image.open(head.mask.color) as mask:
        assert picture.size == mask.size == (26, 26)
        assert set(np.unique(mask)) == {0, 255}
    assert photo.aspect == pytest.approx(34 / 44)
