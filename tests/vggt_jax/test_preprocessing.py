"""The image loader against the official one's outputs, pixel for pixel, and on files that cannot be used."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggt_jax.preprocessing import load_images

FIXTURES = Path(__file__).parents[1] / "fixtures" / "preprocess"
CASES = json.loads((FIXTURES / "cases.json").read_text())["cases"]


@pytest.fixture(scope="module")
def official():
    with np.load(FIXTURES / "outputs.npz") as arrays:
        return dict(arrays)


def assert_pixels_equal(images, case, official):
    """Every pixel by its hash, and first the stored samples, which say where a difference is."""
    assert images.dtype == np.float32
    pixels = np.rint(images * 255).astype(np.uint8)
    np.testing.assert_array_equal(images, pixels.astype(np.float32) / np.float32(255))
    pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    assert list(pixels.shape) == case["output_shape"]
    views = {
        "full": lambda: pixels,
        "stride5": lambda: pixels[:, :, ::5, ::5],
        "rows": lambda: pixels[:, :, case["row_indices"]],
        "cols": lambda: pixels[:, :, :, case["col_indices"]],
    }
    compared = 0
    for view, select in views.items():
        stored = official.get(f"{case['name']}__uint8_{view}")
        if stored is not None:
            np.testing.assert_array_equal(select(), stored)
            compared += 1
    assert compared
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["sha256_of_uint8_output"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_crop_and_pad_equal_the_official_loader(case, official):
    images = load_images([FIXTURES / name for name in case["files"]], mode=case["mode"], size=case["target_size"])
    assert_pixels_equal(images, case, official)


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_other_sizes_keep_the_patch_grid(mode):
    images = load_images([FIXTURES / "land_rgb.png"], mode=mode, size=64, patch_size=8)
    assert images.shape == ((1, 40, 64, 3) if mode == "crop" else (1, 64, 64, 3))


def test_paths_may_be_any_iterable_of_strings():
    images = load_images((str(FIXTURES / name) for name in ("same_a.png", "same_b.png")), size=28)
    assert images.shape == (2, 28, 28, 3)  # 64x48 pixels: 1.5 patches high, rounded to even


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot load image .*absent\.png"):
        load_images([FIXTURES / "same_a.png", tmp_path / "absent.png"])


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "truncated"])
def test_unreadable_file_is_named(content, tmp_path):
    path = tmp_path / "damaged.png"
    path.write_bytes((FIXTURES / "land_rgb.png").read_bytes()[:3000] if content is None else content)
    with pytest.raises(ValueError, match=r"cannot load image .*damaged\.png"):
        load_images([path])


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot load image"):
        load_images([tmp_path])


def test_image_narrower_than_half_a_patch_is_named(tmp_path):
    path = tmp_path / "line.png"
    Image.new("RGB", (400, 2)).save(path)
    with pytest.raises(ValueError, match=r"line\.png: 400x2 pixels"):
        load_images([path])


def test_sixteen_bit_image_is_scaled_rather_than_clipped(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((20, 20), 3000, np.uint16)).save(path)
    np.testing.assert_array_equal(load_images([path], size=28), np.full((1, 28, 28, 3), np.float32(11 / 255)))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "paths is empty"),
        ({"paths": "picture.png"}, "single path"),
        ({"paths": [], "mode": "stretch"}, "mode must be"),
        ({"paths": [], "size": 500}, "multiple of patch_size"),
        ({"paths": [], "size": 0}, "multiple of patch_size"),
        ({"paths": [], "patch_size": 0}, "multiple of patch_size"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_images(**arguments)
