"""The map between photos and the model's pictures, against what the loader really does to pixels."""

import itertools

import numpy as np
import pytest
from PIL import Image

from experiments.reconstruction.framing import fitting_mode, frame_photos
from vggt_jax import VGGTConfig
from vggt_jax.preprocessing import load_images

SIZES = [(120, 90), (90, 120), (100, 100), (203, 61), (61, 203), (41, 28), (517, 389)]
SLOPE = 2.0


def write(path, width, height):
    """Red rises by 2 with every column and green with every row, from 8; blue is 0 on the photo."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([8 + SLOPE * column, 8 + SLOPE * row, 0 * row], axis=-1)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("size", [56, 70])
@pytest.mark.parametrize("together", [1, 2, len(SIZES)])
def test_shape_and_frame_are_the_loaders(tmp_path, mode, size, together):
    for sizes in itertools.islice(itertools.combinations(SIZES, together), 8):
        paths = [write(tmp_path / f"{i}.png", *wh) for i, wh in enumerate(sizes)]
        images = load_images(paths, mode, size, 14)
        framings = frame_photos(sizes, mode, size, 14)
        assert {(p.height, p.width) for p in framings} == {images.shape[1:3]}
        covered = np.stack([p.covered for p in framings])
        np.testing.assert_array_equal(covered, images[..., 2] < 0.5)  # the frame is white


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_pixels_come_from_where_the_map_says(tmp_path, mode):
    # bicubic interpolation reproduces a ramp: a pixel's colour tells its place in the photo to a quarter of a pixel
    sizes = [(120, 90), (90, 120), (61, 103), (124, 124)]
    images = load_images([write(tmp_path / f"{i}.png", *wh) for i, wh in enumerate(sizes)], mode, 70, 14)
    for image, framing, (width, height) in zip(images, frame_photos(sizes, mode, 70, 14), sizes, strict=True):
        row, column = np.nonzero(framing.covered)
        x, y, _ = framing.to_photo @ np.stack([column, row, np.ones_like(row)])
        inside = (x > 4) & (x < width - 5) & (y > 4) & (y < height - 5)  # the filter is cut off at the edges
        assert inside.sum() > 500
        found = (255 * image[row, column][inside][:, :2] - 8) / SLOPE
        assert np.abs(found - np.stack([x, y], axis=-1)[inside]).max() <= 0.26


NANO, OFFICIAL = VGGTConfig.nano(), VGGTConfig.vggt_1b()


@pytest.mark.parametrize(
    ("config", "sizes", "mode"),
    [
        (NANO, [(400, 300)], "pad"),  # 96 × 72: it has seen squares only
        (NANO, [(400, 399)], "crop"),
        (NANO, [(300, 400)], "crop"),  # a square is cut out
        (NANO, [(1600, 900)] * 3, "pad"),
        (OFFICIAL, [(400, 300)], "crop"),
        (OFFICIAL, [(1600, 900), (400, 300)], "crop"),
        (OFFICIAL, [(3000, 1000)], "crop"),  # 168 high, the lowest that it has seen
        (OFFICIAL, [(3400, 1000)], "pad"),
        (OFFICIAL, [(300, 400)], "crop"),
    ],
)
def test_the_mode_gives_pictures_of_a_shape_that_the_model_knows(config, sizes, mode):
    assert fitting_mode(sizes, config, config.image_size) == mode
    framing = frame_photos(sizes, mode, config.image_size, config.patch_size)[0]
    assert config.knows(framing.height, framing.width)


def test_identity_and_corners():
    (same,) = frame_photos([(70, 70)], "crop", 70, 14)
    np.testing.assert_array_equal(same.to_photo, np.eye(3))
    (wide,) = frame_photos([(400, 200)], "pad", 100, 10)  # 100 × 50, 25 rows of frame above
    np.testing.assert_allclose(wide.to_photo @ [-0.5, 24.5, 1], [-0.5, -0.5, 1], atol=1e-12)
    np.testing.assert_allclose(wide.to_photo @ [99.5, 74.5, 1], [399.5, 199.5, 1], atol=1e-12)
    (tall,) = frame_photos([(200, 400)], "crop", 100, 10)  # 100 × 200, 50 rows cut off above and below
    np.testing.assert_allclose(tall.to_photo @ [-0.5, -0.5, 1], [-0.5, 99.5, 1], atol=1e-12)
