"""The page "From photos to 3DGS", run as it stands, and what many and large photos cost."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from experiments.process.reporting import Reporter
from experiments.reconstruction import Settings, reconstruct
from tests.experiments.analytic_scene import Camera, render, ring
from tests.experiments.reconstruction.readers import READERS
from vggt_jax.pixels import to_corner

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "photos.md").read_text(encoding="utf-8")
ORIENTATION = 0x0112
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def pictures(sizes):
    """Photos of the box with square pixels and the principal point in the middle."""
    for camera in ring(sizes):
        focal = 1.1 * max(camera.width, camera.height)
        K = np.array([[focal, 0, (camera.width - 1) / 2], [0, focal, (camera.height - 1) / 2], [0, 0, 1]])
        yield Image.fromarray(render(*Camera(camera.extrinsics, K, camera.width, camera.height))[0])


@pytest.fixture
def photos(tmp_path):
    """Names and formats that programs stumble over; two photos lie on their side."""
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    a, b, c, d, e = pictures([(400, 300)] * 5)
    folder = tmp_path / "photos"
    folder.mkdir()
    a.save(folder / "写真 1.jpg", quality=95)
    b.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "a b.c.png")
    c.transpose(Image.Transpose.ROTATE_270).save(folder / "côté.jpg", exif=exif, quality=95)
    d.convert("L").save(folder / "серый.tif")
    e.transpose(Image.Transpose.ROTATE_270).convert("CMYK").save(folder / "IMG_5.JPG", exif=exif, quality=95)
    return folder


@pytest.mark.slow
def test_the_page_runs(tmp_path, photos):
    (tmp_path / "vggt_1b").symlink_to(
        ROOT / "vggt_jax" / "weights" / "nano"
    )  # what the page calls so cannot be shipped
    (command,) = (line for line in blocks("sh")[0].splitlines() if "experiments.reconstruct" in line)
    done = subprocess.run(command.split(), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not square" not in done.stderr
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    scene = tmp_path / "scene"
    assert f"num_points3D = {json.loads((scene / 'cameras.json').read_text())['points']}" in done.stdout
    with (scene / "photos.csv").open(encoding="utf-8", newline="") as file:
        table = {row["photo"]: row for row in csv.DictReader(file)}
    assert set(table) == {path.name for path in photos.iterdir()}
    assert {row["turned"] for name, row in table.items() if name in ("côté.jpg", "IMG_5.JPG")} == {"yes"}
    # each is the picture that its photo shows, upright
    for expected, name in zip(
        pictures([(400, 300)] * 5), ("写真 1.jpg", "a b.c.png", "côté.jpg", None, None), strict=True
    ):
        if name is not None:
            with Image.open(scene / table[name]["image"]) as image:
                difference = np.asarray(image.convert("RGB"), int) - np.asarray(expected, int)
            assert image.size == (400, 300) and np.abs(difference).mean() < 8

    undistorted = pycolmap.Reconstruction(tmp_path / "undistorted" / "sparse")
    assert undistorted.num_images() == 5
    for image in undistorted.images.values():
        with Image.open(tmp_path / "undistorted" / "images" / image.name) as picture:
            camera = undistorted.cameras[image.camera_id]
            assert picture.size == (camera.width, camera.height) and np.ptp(np.asarray(picture)) > 100
    cameras = json.loads((scene / "cameras.json").read_text(encoding="utf-8"))["cameras"]
    for reader in READERS:
        views = {view.path.relative_to(scene).as_posix(): view for view in reader(scene).views}
        assert set(views) == {camera["image"] for camera in cameras}
        for camera in cameras:
            K = np.array(camera["photo"]["intrinsics"])
            np.testing.assert_allclose(views[camera["image"]].intrinsics, to_corner(K), rtol=1e-12)


class Heard(Reporter):
    def __init__(self):
        super().__init__()
        self.warnings = []

    def warning(self, line):
        self.warnings.append(line)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(400, 300), (640, 360)])
def test_pixels_are_square_unless_the_model_is_shown_a_shape_that_it_does_not_know(tmp_path, size):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, picture in enumerate(pictures([size] * 3)):
        picture.save(folder / f"{i}.png")
    reporter = Heard()
    usual = reconstruct(Settings(str(folder), output=tmp_path / "usual"), reporter)
    np.testing.assert_allclose(usual.scene.pixel_aspects, 1, atol=0.05)
    assert not reporter.warnings
    cropped = reconstruct(Settings(str(folder), output=tmp_path / "cropped", mode="crop"), reporter)
    assert (cropped.scene.pixel_aspects > 1.25).all()
    (warning,) = reporter.warnings
    assert "fx/fy" in warning and "3 of 3" in warning


def cost(folder, output):
    """Processor time in seconds and largest memory in bytes of a reconstruction by nano in a process of its own."""
    code = (
        "import json, resource, runpy, sys\n"
        "from experiments.process.memory import most_resident\n"
        "try:\n    runpy.run_module('experiments.reconstruct', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, most_resident()]))\n"
    )
    arguments = [sys.executable, "-c", code, f"--images={folder}", f"--output={output}"]
    compiled_as_users_do = {**ENVIRONMENT, "XLA_FLAGS": ""}  # programs of quick compilation need more memory
    done = subprocess.run(arguments, cwd=ROOT, env=compiled_as_users_do, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def twelve(tmp_path):
    """Photos of 12 megapixels, with the noise that makes cameras' files large."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((4000, 3000))
    noisy = np.asarray(coarse, np.int16) + rng.integers(-9, 10, (3000, 4000, 1), dtype=np.int16)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / "0.jpg", quality=92)
    for i in range(1, 12):
        shutil.copy(folder / "0.jpg", folder / f"{i}.jpg")
    return folder


@pytest.mark.slow
def test_twelve_large_photos_need_no_more_than_two_cores_do_in_20_seconds(twelve, tmp_path):
    seconds, _ = cost(twelve, tmp_path / "scene")
    assert seconds < 2 * 20


@pytest.mark.slow
def test_150_photos_need_less_than_two_gigabytes(twelve, tmp_path):
    (small,) = pictures([(400, 300)])
    for i in range(12, 150):
        small.save(twelve / f"{i}.jpg")
    _, memory = cost(twelve, tmp_path / "scene")
    assert memory < 2e9
