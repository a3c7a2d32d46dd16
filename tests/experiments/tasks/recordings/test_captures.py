"""Own captures → a data set: files of every kind, scenes without poses, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.data.dataset import Dataset
from experiments.data.poses import relative_pose
from experiments.tasks.recordings.conventions import Conventions
from experiments.tasks.recordings.conversion import convert
from subspace.errors import InputError
from tests.experiments.tasks.recordings.test_checking import Lines
from tests.experiments.tasks.recordings.written import (
    HEIGHT,
    WIDTH,
    cameras,
    centred,
    distance_to_surface,
    measure,
    write_capture,
    write_stray,
)

FRAMES = 3


def convert_it(source, output, resolution=HEIGHT, views=FRAMES, **settings):
    return convert(**{"layout": "captures", "task": "faces", "split": "test", **settings}, source=source, output=output,
                   resolution=resolution, views=views)  # fmt: skip


def converted(source, tmp_path, **settings):
    convert_it(source, tmp_path / "out", **settings)
    return Dataset(tmp_path / "out" / "dataset_00")


def check_truth(views, with_poses=True, tolerance=0.00051):
    for place, camera in enumerate(cameras(FRAMES)):
        colour, depth = measure(camera.extrinsics, centred(camera), HEIGHT, HEIGHT)
        np.testing.assert_array_equal(views.images[place], colour)
        np.testing.assert_allclose(views.depths[place], depth, atol=tolerance)
        np.testing.assert_allclose(views.intrinsics[place], centred(camera), rtol=1e-6)
        expected = camera.extrinsics if with_poses else np.eye(3, 4)
        np.testing.assert_allclose(views.extrinsics[place], expected, atol=1e-6)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0.00051), (".npz", 1e-5), (".npy", 1e-5)])
def test_every_pixel_is_where_it_was(suffix, tolerance, tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES, suffix=suffix)
    dataset = converted(tmp_path / "faces", tmp_path)
    assert dataset.manifest.has_poses and dataset.manifest.settings.title == "faces test (faces)"
    views = dataset[0].load()
    check_truth(views, tolerance=tolerance)
    assert distance_to_surface(views.world_points[views.valid]).max() < 2 * tolerance
    assert not views.object_ids.any() and not views.glass.any() and (views.mask == views.valid).all()


def test_coordinates_of_a_map_lose_nothing(tmp_path):
    """Poses 5,400 km from the origin, as UTM has them: float32 would move the cameras by decimetres."""
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES, suffix=".npz")
    near = [camera.extrinsics for camera in cameras(FRAMES)]
    for path in (scene / "poses").iterdir():
        pose = np.loadtxt(path)
        pose[:3, 3] += (447_000, 5_411_000, 150)
        np.savetxt(path, pose, fmt="%.17g")
    told = Lines()
    convert_it(tmp_path / "faces", tmp_path / "out", reporter=told)
    assert any("scene: its cameras stand 5,429," in line for line in told.lines)
    found = Dataset(tmp_path / "out" / "dataset_00")[0].load().extrinsics
    np.testing.assert_allclose(found[0, :, 3], 0, atol=1e-9)
    for pose, expected in zip(found[1:], near[1:], strict=True):
        np.testing.assert_allclose(relative_pose(found[0], pose), relative_pose(near[0], expected), atol=1e-6)


def test_intrinsics_of_frames_poses_in_json_and_millimetres_in_arrays(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES)
    (scene / "intrinsics.json").unlink()
    (scene / "intrinsics").mkdir()
    for path in (scene / "rgb").iterdir():
        name, camera = path.stem, cameras(FRAMES)[int(path.stem[-3:])]
        np.savetxt(scene / "intrinsics" / f"{name}.txt", camera.intrinsics, delimiter=", ")
        pose = np.loadtxt(scene / "poses" / f"{name}.txt")
        (scene / "poses" / f"{name}.txt").unlink()
        (scene / "poses" / f"{name}.json").write_text(json.dumps(pose[:3].tolist()))
        with Image.open(scene / "depth" / f"{name}.png") as depth:
            np.save(scene / "depth" / f"{name}.npy", np.asarray(depth))
        (scene / "depth" / f"{name}.png").unlink()
    check_truth(converted(tmp_path / "faces", tmp_path)[0].load())


def test_a_frame_of_another_size_needs_intrinsics_of_its_own(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES)
    picture = scene / "rgb" / "frame_001.png"
    with Image.open(picture) as whole:
        half = whole.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BOX)
    half.save(picture)
    message = rf"rgb/frame_001\.png has {WIDTH // 2} × {HEIGHT // 2} pixels, other frames {WIDTH} × {HEIGHT}"
    with pytest.raises(InputError, match=message):
        convert_it(tmp_path / "faces", tmp_path / "out")
    sized = tmp_path / "sized"
    convert_it(tmp_path / "faces", sized, conventions=Conventions(intrinsics_size=(WIDTH, HEIGHT)))
    (scene / "intrinsics.json").unlink()
    (scene / "intrinsics").mkdir()
    for number, camera in enumerate(cameras(FRAMES)):
        matrix = camera.intrinsics.copy()
        if number == 1:
            matrix[:2, 2] += 0.5
            matrix[:2] /= 2
            matrix[:2, 2] -= 0.5
        np.savetxt(scene / "intrinsics" / f"frame_{number:03d}.txt", matrix)
    own = converted(tmp_path / "faces", tmp_path)[0].load()
    for views in (own, Dataset(sized / "dataset_00")[0].load()):
        for place, camera in enumerate(cameras(FRAMES)):
            np.testing.assert_allclose(views.intrinsics[place], centred(camera), rtol=1e-5)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("scene/sparse/0/cameras.bin", "scene/sparse, a COLMAP model, is not read"),
        ("scene/transforms.json", "scene/transforms.json, cameras of Nerfstudio or Instant NGP, is not read"),
        ("transforms_train.json", "faces/transforms_train.json, cameras of NeRF's scenes, is not read"),
    ],
)
def test_cameras_of_other_programs_are_named_as_not_read(file, words, tmp_path):
    source = tmp_path / "faces"
    (source / "scene" / "images").mkdir(parents=True)
    (source / file).parent.mkdir(parents=True, exist_ok=True)
    (source / file).write_bytes(b"{}")
    with pytest.raises(InputError, match=f"scene has no rgb: .*; .*{words}") as error:
        convert_it(source, tmp_path / "out")
    assert "\n" not in str(error.value)


def test_masks_count_and_confidence_makes_depth_unknown(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES)
    (scene / "mask").mkdir()
    (scene / "confidence").mkdir()
    mask, confidence = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8), np.full((HEIGHT, WIDTH), 2, np.uint8)
    mask[5:9, 10:12] = 255
    confidence[12:14] = 0
    for path in (scene / "rgb").iterdir():
        Image.fromarray(mask).save(scene / "mask" / f"{path.stem}.png")
        Image.fromarray(confidence).save(scene / "confidence" / f"{path.stem}.png")
    views = converted(tmp_path / "faces", tmp_path)[0].load()
    expected = np.zeros((HEIGHT, HEIGHT), bool)
    expected[10:18, 12:16] = True  # twice as large, and eight columns to the left
    expected[12:14] = False
    np.testing.assert_array_equal(views.mask, np.broadcast_to(expected, views.mask.shape))
    assert not views.valid[:, 12:14].any() and views.valid[:, 14:].all()  # no sky so low
    assert not views.normals[:, 11:15].any() and not views.depths[:, 12:14].any()


def test_scenes_without_poses_say_so(tmp_path):
    for name in ("a", "b"):
        write_capture(tmp_path / "faces" / name, FRAMES, poses=False)
    assert not convert_it(tmp_path / "faces", tmp_path / "out").has_poses
    dataset = Dataset(tmp_path / "out" / "dataset_00")
    assert not dataset.manifest.has_poses
    check_truth(dataset[1].load(), with_poses=False)

    shutil.rmtree(tmp_path / "faces" / "b")
    write_capture(tmp_path / "faces" / "b", FRAMES)
    with pytest.raises(ValueError, match="b has poses and a has none"):
        convert_it(tmp_path / "faces", tmp_path / "other")


def test_stray_scanner(tmp_path):
    write_stray(tmp_path / "faces" / "71de12f9", FRAMES)
    views = converted(tmp_path / "faces", tmp_path)[0].load()
    for place, camera in enumerate(cameras(FRAMES)):
        np.testing.assert_allclose(views.extrinsics[place], camera.extrinsics, atol=1e-6)
        np.testing.assert_allclose(views.intrinsics[place], centred(camera), rtol=1e-6)
        exact = measure(camera.extrinsics, centred(camera), HEIGHT, HEIGHT)[1]
        exact[:, 24:28] = 0  # the column of no confidence
        np.testing.assert_allclose(views.depths[place, 2::4, 2::4], exact[2::4, 2::4], atol=0.00051)


def test_the_frames_are_spread_over_the_video(tmp_path):
    write_capture(tmp_path / "faces" / "scene", 6)
    dataset = converted(tmp_path / "faces", tmp_path, views=3, resolution=8)
    stored = json.loads((dataset[0].folder / "cameras.json").read_text())
    assert [view["frame"] for view in stored["views"]] == ["frame_000", "frame_002", "frame_005"]


def change_depth(scene, value):
    depth = np.ones((HEIGHT, WIDTH))
    depth[7, 9] = value
    np.save(scene / "depth" / "frame_001.npy", depth)
    (scene / "depth" / "frame_001.png").unlink()


def store_eight_bits(scene):
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(scene / "depth" / "frame_001.png")


def write(name, content):
    def change(scene):
        path = scene / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    return change


def delete(name):
    def change(scene):
        path = scene / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scene: change_depth(scene, np.nan), "frame_001.npy has a depth that is not finite or negative"),
        (lambda scene: change_depth(scene, np.inf), "frame_001.npy has a depth that is not finite or negative"),
        (lambda scene: change_depth(scene, -0.5), "frame_001.npy has a depth that is not finite or negative"),
        (delete("depth"), "scene has no depth"),
        (delete("rgb"), "scene has no rgb"),
        (store_eight_bits, "frame_001.png cannot be used: it has 8 bits, depth needs 16"),
        (delete("depth/frame_001.png"), "depth must have one of frame_001.png, frame_001.npy, frame_001.npz, it has 0"),
        (write("depth/frame_001.npy", b""), "it has 2"),
        (delete("intrinsics.json"), "needs one of intrinsics.txt, intrinsics.json, camera_matrix.csv"),
        (write("intrinsics.txt", b"1 2 3 4"), "it has intrinsics.txt and intrinsics.json"),
        (write("intrinsics.json", b'{"fx": 1}'), "intrinsics.json has no 'fy'"),
        (write("intrinsics.json", b"[[1, 2], [3]]"), "intrinsics.json holds no numbers"),
        (write("intrinsics.json", b"[1, 2]"), "intrinsics.json holds 2 numbers"),
        (write("poses/frame_001.txt", b"1 0 0"), "frame_001.txt holds 3 numbers, no 3×4 or 4×4 matrix"),
        (
            write("poses/frame_001.txt", b"1 0 0 0 0 1 0 0 0 0 1 0 2 3 4 1"),
            "frame_001.txt: the last row of a 4×4 pose must be 0 0 0 1, not 2 3 4 1, as if it were written column by column",
        ),
        (
            write("poses/frame_001.txt", b"1 0 0 2 0 1 0 3 0 0 1 4 0 0 0 2"),
            "frame_001.txt: the last row of a 4×4 pose must be 0 0 0 1, not 0 0 0 2",
        ),
        (write("poses/frame_001.txt", b"nan 0 0 0 0 1 0 0 0 0 1 0"), "frame_001 has a pose with NaN or infinity"),
        (delete("poses/frame_001.txt"), "poses must have one of frame_001.txt, frame_001.json, it has 0"),
        (write("mask/frame_000.png", b""), "frame_000.png cannot be used"),
        (delete("rgb/frame_001.png"), "rgb has 2 frames, 3 views were asked for"),
        (write("rgb/frame_001.png", b"\x89PNG"), "rgb/frame_001.png cannot be used"),
        (write("frame_bundle.npz", b""), "frame_bundle.npz stores Python objects"),
        (write("a.r3d", b""), "a.r3d is compressed in a format of Apple's"),
    ],
)
def test_what_cannot_be_used_is_named(change, message, tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES)
    change(scene)
    with pytest.raises(ValueError) as error:
        convert_it(tmp_path / "faces", tmp_path / "out")
    assert message in str(error.value) and "scene" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.partial"))


def test_arrays_that_are_no_depth_maps_are_refused(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, FRAMES, suffix=".npz")
    path = scene / "depth" / "frame_000.npz"
    for arrays, message in (
        ({"a": np.ones((2, 2)), "b": np.ones((2, 2))}, "holds no single array"),
        ({"a": np.array([{}], object)}, "a cannot be read: it holds object"),
        ({"a": np.ones(3)}, "holds no depth map"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=rf"frame_000\.npz.* {message}"):
            convert_it(tmp_path / "faces", tmp_path / "out")


def test_what_a_video_needs(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_stray(scene, FRAMES)
    (scene / "rgb.mp4").write_bytes(b"")
    (scene / "odometry.csv").write_text("x, y, z\n1, 2, 3\n")
    with pytest.raises(ValueError, match=r"odometry\.csv is no odometry\.csv of Stray Scanner"):
        convert_it(tmp_path / "faces", tmp_path / "out")
    shutil.rmtree(scene / "rgb")
    with pytest.raises(ValueError, match="ffmpeg -noautorotate"):
        convert_it(tmp_path / "faces", tmp_path / "out")


def test_frames_of_every_colour_mode_are_the_same_pictures(tmp_path):
    for name, mode in (("a", "L"), ("b", "I;16"), ("c", "RGBA"), ("d", "P")):
        write_capture(tmp_path / "faces" / name, FRAMES)
        for path in (tmp_path / "faces" / name / "rgb").iterdir():
            grey = np.asarray(Image.open(path).convert("L"))
            if mode == "I;16":
                Image.fromarray(grey.astype(np.uint16) * 257).save(path)
            else:
                Image.fromarray(grey).convert(mode).save(path)
    images = [scene.load().images for scene in converted(tmp_path / "faces", tmp_path)]
    for other in images[1:]:
        np.testing.assert_array_equal(other, images[0])


def test_what_archives_and_file_managers_leave_is_no_part_of_a_scene(tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    for name in ("__MACOSX/scene", ".Trash"):
        (tmp_path / "faces" / name).mkdir(parents=True)
    (tmp_path / "faces" / "scene" / "rgb" / "._frame_000.png").write_bytes(b"nothing")
    check_truth(converted(tmp_path / "faces", tmp_path)[0].load())


def test_folders_that_are_none_of_scenes(tmp_path):
    write_capture(tmp_path / "faces" / "scene", FRAMES)
    with pytest.raises(ValueError, match="scene is one scene: give the folder with all scenes' folders"):
        convert_it(tmp_path / "faces" / "scene", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no folders of scenes"):
        convert_it(tmp_path / "empty", tmp_path / "out")


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    scene = tmp_path / "faces" / "scene"
    write_capture(scene, 12)
    for path in [*scene.glob("*/frame_*")]:
        path.rename(path.with_stem(str(int(path.stem.removeprefix("frame_")))))
    convert_it(tmp_path / "faces", tmp_path / "out", views=4)
    found = Dataset(tmp_path / "out" / "dataset_00")[0].load().extrinsics
    np.testing.assert_allclose(found, [cameras(12)[number].extrinsics for number in (0, 4, 7, 11)], atol=1e-6)
    shutil.copy(scene / "rgb" / "3.png", scene / "rgb" / "3.jpg")
    with pytest.raises(ValueError, match=r"rgb/3\.jpg and .*rgb/3\.png are of one name: which is the frame 3\?"):
        convert_it(tmp_path / "faces", tmp_path / "new", views=4)
