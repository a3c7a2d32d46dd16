"""Heads from several places: what a base model can be trained on."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.presets import PRESETS
from experiments.scenes import mesh_files
from experiments.tasks import Settings, bodies
from experiments.tasks.makers import task_scenes
from experiments.tasks.naming import Name
from experiments.tasks.portraits import HEAD
from experiments.tasks.scans import standing
from tests.experiments.tasks.test_face_pictures import write_bodies


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(bodies, "make_bodies", write_bodies)
    settings = replace(Settings.of("nano", "heads", "train", scenes=2), output=tmp_path)
    make = task_scenes(
        settings.stored, tmp_path, 2, "y", lambda: pytest.fail("nothing is rendered for scenes of heads")
    )
    return settings, [make(Name(settings.stored, 0, number, 0)) for number in range(2)]


def test_every_view_has_the_whole_head_and_views_lie_before_the_face(scenes, tmp_path):
    settings, made = scenes
    for number, scene in enumerate(made):
        [body] = standing(
            mesh_files.read(tmp_path / "bodies" / "train" / "meshes" / f"{number:04d}" / f"{number:04d}.obj")
        )
        head = body.vertices[body.vertices[:, 2] > (1 - HEAD) * body.vertices[:, 2].max()]
        extrinsics = np.array([view.world_to_camera for view in scene.cameras.views]).reshape(-1, 3, 4)
        assert len(extrinsics) == settings.views == 12
        for pose, view in zip(extrinsics, scene.cameras.views, strict=True):
            x, y, z = pose[:, :3] @ head.T + pose[:, 3:]
            pixels = np.stack([x / z * view.fx + view.cx, y / z * view.fy + view.cy])
            assert z.min() > 0 and pixels.min() > 0 and pixels.max() < settings.resolution
        directions = extrinsics[:, 2, :3]
        turn = np.degrees(np.arccos(np.clip(directions[0] @ directions[-1], -1, 1)))
        assert 100 < turn <= PRESETS["nano"].tasks.head_turn
        front = np.array([0, 1, 0])  # bodies look along -y, cameras back at them
        assert (directions @ front).mean() > 0.5
    assert made[0] != made[1]
