"""Prints before a camera: where they are, what the cameras see of them, and which pixels count."""

import numpy as np
import pytest
from PIL import Image

from experiments.data.manifest import TaskSettings
from experiments.data.passes import Passes
from experiments.rendering import region
from experiments.scenes import mesh_files, schema
from experiments.scenes.support import distance
from experiments.tasks import faces
from experiments.tasks.face_pictures import FacePicture
from experiments.tasks.naming import Name

SETTINGS = TaskSettings(task="faces", split="test", seed=5, samples=1, views=7, resolution=64)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Three by four, its upper left part white in the mask."""
    folder = tmp_path_factory.mktemp("picture")
    mask = np.zeros((40, 30), np.uint8)
    mask[5:22, 3:17] = 255
    color = mesh_files.write_picture(Image.new("RGB", (30, 40), (90, 90, 90)), folder / "a.png")
    return FacePicture(color, mesh_files.write_picture(Image.fromarray(mask), folder / "mask.png"), 0.75), mask > 0


@pytest.fixture(scope="module")
def scenes(picture):
    make = faces.PrintScenes([picture[0]])
    return [make(Name(SETTINGS, 0, scene, 0)) for scene in range(3)]


def project(view, points):
    pose = np.reshape(view.world_to_camera, (3, 4))
    local = points @ pose[:, :3].T + pose[:, 3]
    return local[:, :2] / local[:, 2:] * (view.fx, view.fy) + (view.cx, view.cy)


def test_the_same_name_gives_the_same_scene(picture, scenes):
    again = faces.PrintScenes([picture[0]])(Name(SETTINGS, 0, 1, 0))
    assert schema.to_json(again) == schema.to_json(scenes[1])
    assert scenes[0].objects != scenes[1].objects


def test_every_view_shows_the_whole_print_from_its_front(scenes):
    for scene in scenes:
        flat = scene.objects[-1]
        ends = faces.corners(flat)
        assert flat.name == "print" and flat.size[0] == pytest.approx(0.75 * flat.size[1])
        assert faces.HEIGHT[0] <= flat.size[1] <= faces.HEIGHT[1]
        normal = np.cross(ends[1] - ends[0], ends[3] - ends[0])
        for view in scene.cameras.views:
            pixels = project(view, ends)
            assert pixels.min() > 0 and pixels.max() < 64
            across, up = pixels[1] - pixels[0], pixels[3] - pixels[0]
            assert across[0] > 0 > up[1]  # neither mirrored nor upside down
            pose = np.reshape(view.world_to_camera, (3, 4))
            toward = -pose[:, :3].T @ pose[:, 3] - ends.mean(axis=0)
            cosine = normal @ toward / np.linalg.norm(normal) / np.linalg.norm(toward)
            assert np.degrees(np.arccos(cosine)) < faces.SLANT + 8  # 8: the path's own turn


def test_the_cameras_hardly_move_and_are_steps_of_one_path(scenes):
    for scene in scenes:
        assert len(scene.cameras.views) == 7
        poses = np.array([view.world_to_camera for view in scene.cameras.views]).reshape(-1, 3, 4)
        centers = -np.einsum("vji,vj->vi", poses[:, :, :3], poses[:, :, 3])
        assert np.linalg.norm(centers - centers[0], axis=1).max() < 0.07


def test_nothing_touches_the_print(scenes):
    for scene in scenes:
        ends = faces.corners(scene.objects[-1])
        others = [item for item in scene.objects[:-1] if item.name != "board"]
        assert min(distance(ends, item).min() for item in others) >= faces.CLEAR


def homography(source, target):
    """By the direct linear transform (Hartley and Zisserman 2004, 4.1)."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    return np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)


def test_the_mask_is_the_pictures_under_the_homography(picture, scenes):
    counts = picture[1]
    for scene in scenes:
        number = len(scene.objects)
        seen = Passes(
            np.zeros((64, 64, 3)), np.ones((64, 64)), np.zeros((64, 64, 3)), np.full((64, 64), number, np.uint16)
        )
        mask_of = region.mask_of(scene)
        assert mask_of is not None
        for i, view in enumerate(scene.cameras.views):
            pixels = project(view, faces.corners(scene.objects[-1]))
            back = homography(pixels, [(0, 40), (30, 40), (30, 0), (0, 0)])  # to columns and rows of the picture
            column, row = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
            place = np.stack([column, row, np.ones_like(row)], axis=-1) @ back.T
            x, y = place[..., 0] / place[..., 2], place[..., 1] / place[..., 2]
            inside = (x >= 0) & (x < 30) & (y >= 0) & (y < 40)
            expected = inside & counts[np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int)]
            mask = mask_of(i, seen)
            assert 20 < mask.sum() < inside.sum()
            assert (mask != expected).sum() <= 2  # where a ray meets the border between two texels


def test_what_hides_the_print_does_not_count(scenes):
    seen = Passes(np.zeros((64, 64, 3)), np.ones((64, 64)), np.zeros((64, 64, 3)), np.ones((64, 64), np.uint16))
    mask_of = region.mask_of(scenes[0])
    assert mask_of is not None and not mask_of(0, seen).any()


def test_a_changed_mask_is_refused(scenes):
    changed = schema.Region(scenes[0].region.object, scenes[0].region.picture, "0" * 64)
    import msgspec

    with pytest.raises(ValueError, match="is not the picture that the scene was made with"):
        region.mask_of(msgspec.structs.replace(scenes[0], region=changed))


def test_a_scene_without_region_has_no_mask(scenes):
    import msgspec

    assert region.mask_of(msgspec.structs.replace(scenes[0], region=msgspec.UNSET)) is None
