"""``python -m experiments.reconstruct`` from photos to files, and everything that can be wrong with its input."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image, ImageOps

from experiments.reconstruction import Settings, pipeline, reconstruct, records
from experiments.reconstruction.framing import frame_photos
from experiments.reconstruction.inference import Compiled, ModelOutputs, load_photos, refined, scene_of
from experiments.reconstruction.photos import find_photos
from experiments.reconstruction.pipeline import OUTPUTS
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.reconstruction.readers import READERS
from vggt_jax.geometry import project_points, unproject_depth
from vggt_jax.pixels import from_corner, to_corner
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.preprocessing import load_images
from weights_convert import load_vggt

ROOT = Path(__file__).parents[3]
WEIGHTS = ROOT / "tests" / "fixtures" / "vggt_small"
ORIENTATION = 0x0112
load: Any = trimesh.load


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.reconstruct", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", "JAX_PLATFORMS": "cpu"},
    )


def picture(width, height, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four photos whose alphabetical order is wrong; the last is stored on its side."""
    folder = tmp_path_factory.mktemp("photos")
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the right side of what is stored is the bottom
    picture(120, 90, 1).save(folder / "img1.png")
    picture(97, 61, 2).save(folder / "img2.jpg", quality=95)
    picture(64, 100, 10).save(folder / "img10.png")
    picture(100, 80, 11).save(folder / "img 11.jpg", exif=exif, quality=95)
    (folder / "notes.txt").write_text("not a photo")
    (folder / ".hidden.png").write_text("not a photo either")
    (folder / "more").mkdir()
    return folder


@pytest.fixture(scope="module")
def result(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("results") / "out"
    process = run(f"--images={photos}", f"--output={output}", f"--weights={WEIGHTS}", "--confidence=30")
    assert process.returncode == 0, process.stderr
    return output, process


def test_what_it_says_and_writes(result):
    output, process = result
    assert {path.name for path in output.iterdir()} == {*OUTPUTS, "results.json"}
    assert list(output.parent.iterdir()) == [output]
    assert {path.name for path in (output / "depth").iterdir()} == {
        f"{stem}.{suffix}" for stem in ("img 11", "img1", "img2", "img10") for suffix in ("png", "npz")
    }
    (line,) = process.stdout.splitlines()
    cloud = load(output / "points.ply")
    assert f"{len(cloud.vertices):,} points from 4 view(s)" in line and str(output) in line and "points.glb" in line
    for said in ("passed over 1 file(s) that are no images: notes.txt", "img 11.jpg", "compiling"):
        assert said in process.stderr


def test_predictions_are_the_models(result, photos, tmp_path):
    output, _ = result
    content = json.loads((output / "cameras.json").read_text(encoding="utf-8"))
    names = [camera["name"] for camera in content["cameras"]]
    assert names == ["img1.png", "img2.jpg", "img10.png", "img 11.jpg"]
    with Image.open(photos / names[3]) as image:
        image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    images = load_images([*(photos / name for name in names[:3]), tmp_path / "upright.png"], "crop", 70, 14)
    model = load_vggt(WEIGHTS, heads=("camera", "depth"))
    expected = jax.jit(lambda images: model(images))(images[None])
    extrinsics, intrinsics = decode_pose(expected.pose_enc[0], images.shape[1:3])
    intrinsics = from_corner(intrinsics)
    points = unproject_depth(expected.depth[0, ..., 0], extrinsics, intrinsics)
    for view, camera in enumerate(content["cameras"]):
        np.testing.assert_allclose(camera["world_to_camera"], extrinsics[view], atol=1e-5)
        np.testing.assert_allclose(camera["preprocessed"]["intrinsics"], intrinsics[view], rtol=1e-4)
        with np.load(output / camera["depth_npz"]) as arrays:
            np.testing.assert_allclose(arrays["depth"], expected.depth[0, view, ..., 0], rtol=1e-4)
            np.testing.assert_allclose(arrays["confidence"], expected.depth_conf[0, view], rtol=1e-4)
            np.testing.assert_allclose(arrays["points"], points[view], atol=1e-4)
    turned = content["cameras"][3]["photo"]
    assert (turned["width"], turned["height"]) == (80, 100)
    assert content["confidence_percentile"] == 30.0

    # what was kept is what the percentile says, with the colours that the model saw
    is_photo = np.stack([np.load(output / camera["depth_npz"])["is_photo"] for camera in content["cameras"]])
    confidence = np.stack([np.load(output / camera["depth_npz"])["confidence"] for camera in content["cameras"]])
    kept = is_photo & (confidence >= content["confidence_threshold"])
    cloud = load(output / "points.ply")
    assert 0.69 < kept.sum() / is_photo.sum() < 0.71
    np.testing.assert_array_equal(cloud.colors[:, :3], np.rint(images * 255)[kept])
    np.testing.assert_allclose(cloud.vertices, points[kept], atol=1e-4)
    glb = load(output / "points.glb").geometry["points"]
    np.testing.assert_allclose(glb.vertices, cloud.vertices * [1, -1, -1], atol=1e-6)


def test_colmap_model_projects_onto_the_pixels(result):
    output, _ = result
    content = json.loads((output / "cameras.json").read_text(encoding="utf-8"))
    model = pycolmap.Reconstruction(str(output / "sparse" / "0"))
    assert model.num_points3D() == content["points"]
    worst = 0.0
    for camera in content["cameras"]:
        image = model.images[camera["colmap_image_id"]]
        assert f"images/{image.name}" == camera["image"]
        np.testing.assert_allclose(image.projection_center(), camera["centre"], atol=1e-9)
        observed = np.array([point.xy for point in image.points2D])
        points = np.array([model.points3D[point.point3D_id].xyz for point in image.points2D])
        projected = np.array([image.project_point(xyz) for xyz in points])
        worst = max(worst, np.abs(projected - observed).max())
        # and cameras.json agrees, half a pixel to the upper left
        pixels, _ = project_points(points, np.array(camera["world_to_camera"]), np.array(camera["photo"]["intrinsics"]))
        np.testing.assert_allclose(pixels + 0.5, observed, atol=1e-3)
        assert ((observed > 0) & (observed < [camera["photo"]["width"], camera["photo"]["height"]])).all()
    assert worst < 1e-6


def test_images_are_the_upright_photos(result, photos):
    output, _ = result
    with (output / "photos.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["image"], row["photo"], row["turned"]) for row in table] == [
        ("images/0001.png", "img1.png", "no"),
        ("images/0002.jpg", "img2.jpg", "no"),
        ("images/0003.png", "img10.png", "no"),
        ("images/0004.jpg", "img 11.jpg", "yes"),
    ]
    assert [row["depth"] for row in table] == [f"depth/{name}.png" for name in ("img1", "img2", "img10", "img 11")]
    for row in table[:3]:
        assert (output / row["depth"]).is_file()
        assert (output / row["image"]).read_bytes() == (photos / row["photo"]).read_bytes()
    with Image.open(output / "images" / "0004.jpg") as image, Image.open(photos / "img 11.jpg") as stored:
        assert image.size == (80, 100) and not image.getexif().get(ORIENTATION)
        difference = np.asarray(image, int) - np.asarray(ImageOps.exif_transpose(stored), int)
        assert np.abs(difference).mean() < 2


def test_pictures_that_this_program_made_are_no_photos(result, tmp_path):
    output, _ = result
    found = find_photos(str(output))
    assert found.folder == output / "images" and len(found.photos) == 4
    assert {(kind, path.name) for kind, path in found.passed_over} == set()
    for images in (output / "depth", output / "overview.png", output / "depth" / "*.png"):
        with pytest.raises(InputError, match=r"\d picture\(s\) that this program made"):
            find_photos(str(images))
    shutil.copy(output / "depth" / "img1.png", tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"elsewhere\.png: a depth map"):
        find_photos(str(tmp_path))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_trainers_read_it(result, reader):
    output, _ = result
    content = json.loads((output / "cameras.json").read_text(encoding="utf-8"))
    scene = reader(output)
    by_path = {view.path.relative_to(output).as_posix(): view for view in scene.views}
    for camera in content["cameras"]:
        view = by_path.pop(camera["image"])
        np.testing.assert_allclose(view.extrinsics, camera["world_to_camera"], atol=1e-12)
        np.testing.assert_allclose(view.intrinsics, to_corner(np.array(camera["photo"]["intrinsics"])), rtol=1e-12)
    assert not by_path
    cloud = load(output / "points.ply")
    np.testing.assert_array_equal(scene.positions.astype(np.float32), cloud.vertices)
    np.testing.assert_array_equal(scene.colours, cloud.colors[:, :3])


def test_colmap_undistorts_it(result, tmp_path):
    output, _ = result
    pycolmap.undistort_images(tmp_path / "dense", output / "sparse" / "0", output / "images")
    written = {path.name for path in (tmp_path / "dense" / "images").iterdir()}
    assert written == {path.name for path in (output / "images").iterdir()} and len(written) == 4
    model = pycolmap.Reconstruction(str(tmp_path / "dense" / "sparse"))
    for image in model.images.values():
        with Image.open(tmp_path / "dense" / "images" / image.name) as picture:
            camera = model.cameras[image.camera_id]
            assert picture.size == (camera.width, camera.height) and np.ptp(np.asarray(picture)) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images=nowhere", "--output=out", "--weights=missing"], "there is no file or folder nowhere"),
        (["--output=out", f"--weights={WEIGHTS}"], "--images is missing"),
        (["--images=nowhere", "--output=out", f"--weights={WEIGHTS}"], "there is no file or folder nowhere"),
        (
            ["--images=nowhere", "--output=out", "--confidence=101"],
            "--confidence must be a number from 0 to 100, got 101",
        ),
    ],
)
def test_bad_arguments_are_one_line_and_status_two(arguments, message):
    done = call("experiments.reconstruct", *arguments)
    assert done.status == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_flags_are_the_settings(monkeypatch):
    asked = []

    def stand_in(settings, reporter):
        asked.append(settings)
        raise InputError("enough")

    monkeypatch.setattr("experiments.reconstruction.pipeline.ready", stand_in)
    flags = (
        "--colmap_camera=SIMPLE_RADIAL",
        "--shared_camera",
        "--colmap_text",
        "--mode=pad",
        "--colmap_points=7",
        "--dtype=bfloat16",
    )
    for given in ((), flags):
        assert call("experiments.reconstruct", "--images=photos", *given).status == 2
    plain, chosen = asked
    assert plain == Settings("photos")
    assert chosen == replace(
        plain,
        colmap_camera="SIMPLE_RADIAL",
        shared_camera=True,
        colmap_text=True,
        mode="pad",
        colmap_points=7,
        dtype="bfloat16",
    )


def test_help_names_units():
    done = call("experiments.reconstruct", "--help")
    assert done.status == 0
    for word in ("pixels", "percentile", "--images", "overwrite"):
        assert word in done.stdout


def refused(tmp_path, images, output=None, **settings):
    """The message of the refusal, after which nothing may be left."""
    output = output or tmp_path / "results" / "out"
    with pytest.raises((ValueError, OSError)) as error:
        reconstruct(Settings(str(images), **{"weights": str(WEIGHTS), "output": output, **settings}))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.partial"))
    if not settings and output.parent == tmp_path / "results":
        assert not output.exists()
    return str(error.value)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    picture(60, 50).save(tmp_path / "in" / "good.jpg")
    return tmp_path / "in"


def test_no_photos(tmp_path, folder):
    message = refused(tmp_path, tmp_path / "inn")
    assert f"there is no file or folder {tmp_path / 'inn'}; did you mean in?" in message
    assert "no images at" in refused(tmp_path, folder / "*.png")
    (folder / "good.jpg").rename(folder / "good.jpg_large")
    message = refused(tmp_path, folder)
    assert "no images at" in message and "good.jpg_large" in message


def test_text_called_png(tmp_path, folder):
    (folder / "text.png").write_text("hello")
    assert str(folder / "text.png") in refused(tmp_path, folder)


def test_text_matched_by_a_glob(tmp_path, folder):
    (folder / "notes.txt").write_text("hello")
    assert str(folder / "notes.txt") in refused(tmp_path, folder / "*")
    assert str(folder / "notes.txt") not in [str(photo.path) for photo in find_photos(f"{folder}/**/*").photos]


def test_truncated_jpeg(tmp_path, folder):
    whole = (folder / "good.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert str(folder / "half.jpg") in refused(tmp_path, folder)


def test_empty_file(tmp_path, folder):
    (folder / "empty.jpg").touch()
    assert str(folder / "empty.jpg") in refused(tmp_path, folder)


def test_image_of_unknown_range(tmp_path, folder):
    Image.fromarray(np.full((50, 60), 1e6, np.float32)).save(folder / "deep.tif")
    assert str(folder / "deep.tif") in refused(tmp_path, folder)


def test_photos_of_one_name_get_outputs_of_their_own(tmp_path, folder, caplog):
    picture(60, 50, 1).save(folder / "GOOD.png")
    picture(60, 50, 2).save(folder / "other.jpg")
    found = reconstruct(Settings(str(folder), weights=str(WEIGHTS), output=tmp_path / "out", confidence=100.0))
    assert found.scene.names == ("good.jpg", "GOOD.png", "other.jpg") and len(found.cloud) < 100
    assert f"confidence=100 keeps {len(found.cloud)} of " in caplog.text
    with (tmp_path / "out" / "photos.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["photo"], row["image"], row["depth"]) for row in table] == [
        ("good.jpg", "images/0001.jpg", "depth/0001.png"),
        ("GOOD.png", "images/0002.png", "depth/0002.png"),
        ("other.jpg", "images/0003.jpg", "depth/0003.png"),
    ]
    assert len(list((tmp_path / "out" / "depth").iterdir())) == 6
    for row in table:
        assert (tmp_path / "out" / row["image"]).read_bytes() == (folder / row["photo"]).read_bytes()


def test_resolution_must_fit_the_patches(tmp_path, folder):
    assert "resolution=100" in refused(tmp_path, folder, resolution=100)


def test_photos_of_two_sizes_share_no_camera(tmp_path, folder):
    picture(50, 60).save(folder / "tall.jpg")
    message = refused(tmp_path, folder, shared_camera=True, weights="not loaded")
    assert "good.jpg has 60×50" in message and "tall.jpg 50×60" in message


def test_missing_weights(tmp_path, folder):
    with pytest.raises(OSError, match="nothing_here"):
        reconstruct(Settings(str(folder), weights=str(tmp_path / "nothing_here"), output=tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_settings_out_of_range(folder):
    for wrong in ({"confidence": 101.0}, {"resolution": 0}, {"colmap_points": 0}):
        with pytest.raises(InputError) as error:
            Settings(str(folder), **wrong)
        assert error.value.argument == next(iter(wrong))


def test_existing_output_is_kept(tmp_path, folder):
    output = tmp_path / "results" / "out"
    output.mkdir(parents=True)
    (output / "points.ply").write_text("dear")
    assert "do not say what they were made from" in refused(tmp_path, folder, output, mode="crop")
    # to overwrite replaces only what this command can have made, and only once the new files are there
    assert "resolution=100" in refused(tmp_path, folder, output, overwrite=True, resolution=100)
    (output / "thesis.tex").write_text("dearer")
    assert "thesis.tex" in refused(tmp_path, folder, output, overwrite=True)
    assert (output / "points.ply").read_text() == "dear"


def test_other_results_are_replaced_only_if_asked_for(tmp_path, folder, monkeypatch):
    """The model and the writers are stood in for: what they do is checked above."""
    scene = SimpleNamespace(
        cloud=lambda percentile: range(300),
        threshold=lambda percentile: 0.5,
        names=["good.jpg"],
        pixel_aspects=np.ones(1),
    )
    monkeypatch.setattr(
        pipeline, "compile_forward", lambda *_: Compiled(lambda *_: [np.zeros((1, 1, 1, 1, 1))] * 3, (1, 1, 1, 3), 0)
    )
    monkeypatch.setattr(pipeline, "scene_of", lambda *_: scene)
    monkeypatch.setattr(
        pipeline, "_write", lambda new, settings, *_: (new / "points.ply").write_text(f"{settings.confidence:g}")
    )
    plain = Settings(str(folder), weights=str(WEIGHTS), store=tmp_path / "runs")
    other = replace(plain, confidence=70.0)
    first, second = reconstruct(plain).folder, reconstruct(other).folder
    assert first.parent == second.parent == tmp_path / "runs" / "reconstruct" and first != second
    assert first.name.startswith("in-") and reconstruct(plain).folder == first
    assert pipeline.ready(plain).results.kept and not pipeline.ready(replace(plain, overwrite=True)).results.kept
    picture(60, 50, 1).save(folder / "good.jpg")
    assert reconstruct(plain).folder not in (first, second)  # other photos of the same name

    with pytest.raises(InputError, match="holds results of other settings") as error:
        reconstruct(replace(other, output=first, weights=str(tmp_path / "nowhere")))  # before the model is looked for
    assert error.value.argument == "overwrite" and (first / "points.ply").read_text() == "50"
    assert reconstruct(replace(other, output=first, overwrite=True)).folder == first
    assert (first / "points.ply").read_text() == "70"


def test_unwritable_output(tmp_path, folder, monkeypatch):
    def load_vggt(*_, **__):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(pipeline, "load_vggt", load_vggt)
    (tmp_path / "file").write_text("dear")
    assert "is a file" in refused(tmp_path, folder, tmp_path / "file")
    assert str(tmp_path / "file") in refused(tmp_path, folder, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "dear"


def test_photos_of_several_folders(tmp_path):
    for name in ("b/1.png", "a/10.png", "a/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(30, 30).save(tmp_path / name)
    found = find_photos(str(tmp_path / "**" / "*.png"))
    assert [photo.name for photo in found.photos] == ["a/2.png", "a/10.png", "b/1.png"] and not found.passed_over
    assert [photo.stem for photo in found.photos] == ["a/2", "a/10", "b/1"]


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [(0, np.nan, "not finite"), (8, 0.0, "0 by 57 degrees"), (7, 3.5, "57 by 201 degrees")],
)
def test_predictions_that_are_no_camera(index, value, message):
    poses = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1]] * 2, np.float32)
    poses[1, index] = value
    arrays = np.ones((2, 14, 14, 3), np.float32), poses, *np.ones((2, 2, 14, 14), np.float32)
    with pytest.raises(ValueError, match=message) as error:
        scene_of(["a.jpg", "b.jpg"], frame_photos([(14, 14)] * 2, "crop", 14, 14), arrays[0], ModelOutputs(*arrays[1:]))
    assert str(error.value).startswith("b.jpg: ")


def test_refined_cameras_are_those_that_explain_the_matches():
    """A wall that the second camera sees from the side; the camera head claims that it did not move."""
    size, patch, distance, shift = 64, 4, 2.0, 0.25
    poses = np.zeros((2, 9), np.float32)
    poses[:, 6:] = 1  # no turn; the field of view is one radian
    focal = size / 2 / np.tan(0.5)
    side = size // patch
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(1, -1, 2).astype(np.float32)
    moved = np.array([focal * shift / distance / patch, 0])
    matched = np.concatenate([grid + moved, grid - moved])
    probability = ((matched >= 0) & (matched < side)).all(axis=-1).astype(np.float32)
    matched[:, :side] += 5  # above the photo, in the frame that was added around it
    depth = np.full((2, size, size), distance, np.float32)
    framings = frame_photos([(64, 48)] * 2, "pad", size, patch)
    outputs = ModelOutputs(poses, depth, depth, matched, probability)
    scene = scene_of(["a.png", "b.png"], framings, np.ones((2, size, size, 3), np.float32), outputs)
    expected = np.stack([np.eye(3, 4)] * 2)
    np.testing.assert_allclose(scene.extrinsics, expected, atol=1e-7)
    expected[1, 0, 3] = shift
    np.testing.assert_allclose(refined(scene, outputs, patch).extrinsics, expected, atol=1e-5)
    with pytest.raises(ValueError, match="with a matcher"):
        refined(scene, ModelOutputs(poses, depth, depth), patch)


def test_transparent_pixels_stay_out_of_clouds_and_depth_maps(tmp_path):
    colours = np.full((14, 14, 4), 255, np.uint8)
    colours[:7, :, 3] = 0
    Image.fromarray(colours).save(tmp_path / "a.png")
    photos = find_photos(str(tmp_path)).photos
    pictures, opaque = load_photos(photos, "crop", 14, 14)
    np.testing.assert_array_equal(opaque[0], np.arange(14)[:, None].repeat(14, axis=1) >= 7)
    poses = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1]], np.float32)
    outputs = ModelOutputs(poses, *np.ones((2, 1, 14, 14), np.float32))
    scene = scene_of(["a.png"], frame_photos([(14, 14)], "crop", 14, 14), pictures, outputs, opaque)
    assert len(scene.cloud(0)) == 7 * 14 and scene.cloud(0).pixels[:, 1].min() == 7
    records.write_depth_maps(tmp_path / "depth", scene, ["a"])
    with Image.open(tmp_path / "depth" / "a.png") as depth:
        np.testing.assert_array_equal(np.asarray(depth) > 0, opaque[0])


def test_photos_that_are_nothing_but_transparent(tmp_path, folder):
    Image.new("RGBA", (60, 50)).save(folder / "good.png")
    (folder / "good.jpg").unlink()
    assert "are transparent" in refused(tmp_path, folder)


def test_refine_needs_a_matcher(tmp_path, folder):
    assert "refine compares photos" in refused(tmp_path, folder, refine=True)
    picture(60, 50).save(folder / "other.png")
    assert "has no matcher.safetensors beside its weights" in refused(tmp_path, folder, refine=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "a.jpg"), ("L", "a.jpg"), ("CMYK", "a.jpg"), ("RGB", "a.png"), ("RGB", "a.tif"), ("RGB", "a.webp")],
)
def test_photos_are_loaded_upright(tmp_path, orientation, mode, name):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture(80, 60).convert(mode).save(tmp_path / name, exif=exif, quality=95)
    photos = find_photos(str(tmp_path)).photos
    assert (photos[0].width, photos[0].height) == ((80, 60) if orientation < 5 else (60, 80))
    (found,), _ = load_photos(photos, "pad", 70, 14)
    with Image.open(tmp_path / name) as image:
        image.load()  # Pillow turns a TIFF file here
        ImageOps.exif_transpose(image).convert("RGB").save(tmp_path / "upright.png")
    np.testing.assert_array_equal(found, load_images([tmp_path / "upright.png"], "pad", 70, 14)[0])
