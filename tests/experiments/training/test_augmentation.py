"""Against Pillow's and colorsys's own definitions, and the probabilities."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from experiments.training.augmentation import (
    ColorAugmentation,
    blurred,
    brightened,
    contrasted,
    hue_turned,
    saturated,
)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, size=(12, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(brightened, ImageEnhance.Brightness), (contrasted, ImageEnhance.Contrast), (saturated, ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.4])
def test_pillows_enhancers(pixels, ours, theirs, factor):
    expected = np.asarray(theirs(Image.fromarray(pixels)).enhance(factor), np.float32) / 255
    found = np.clip(ours(factor, pixels.astype(np.float32) / 255), 0, 1)
    assert np.abs(found - expected).max() < 3 / 255  # Pillow rounds in between


@pytest.mark.parametrize("turn", [-0.1, 0.05])
def test_hue(pixels, turn):
    found = hue_turned(turn, pixels.astype(np.float32) / 255)
    for rgb, new in zip(pixels.reshape(-1, 3) / 255, found.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        np.testing.assert_allclose(new, colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-5)


def test_blur_of_a_point_is_the_gaussian():
    point = np.zeros((9, 9, 3), np.float32)
    point[4, 4] = 1
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    weights /= weights.sum()
    np.testing.assert_allclose(blurred(0.8, point)[2:7, 2:7, 1], np.outer(weights, weights), atol=1e-6)


def test_probabilities_and_range():
    images = np.random.default_rng(1).uniform(size=(400, 4, 4, 3)).astype(np.float32)
    augment = ColorAugmentation(shared=0, jitter=0.6, gray=0.3)
    changed = augment(images, np.random.default_rng(2))
    assert changed.min() >= 0 and changed.max() <= 1 and changed.dtype == np.float32
    grey = np.ptp(changed, axis=-1).max(axis=(1, 2)) < 1e-5
    same = (changed == images).all(axis=(1, 2, 3))
    assert 0.23 < grey.mean() < 0.37
    assert 0.22 < same.mean() < 0.34  # 0.4 · 0.7


def test_shared_draws_change_equal_views_equally():
    view = np.random.default_rng(3).uniform(size=(1, 5, 5, 3)).astype(np.float32)
    views = np.repeat(view, 4, axis=0)
    together = ColorAugmentation(shared=1)(views, np.random.default_rng(4))
    assert (together == together[:1]).all() and not np.array_equal(together, views)
    apart = ColorAugmentation(shared=0)(views, np.random.default_rng(4))
    assert not np.array_equal(apart[0], apart[1])


def test_nothing_to_change():
    views = np.random.default_rng(5).uniform(size=(2, 5, 5, 3)).astype(np.float32)
    still = ColorAugmentation(jitter=0, gray=0, blur=0)
    np.testing.assert_array_equal(still(views, np.random.default_rng(0)), views)


@pytest.mark.parametrize("wrong", [{"gray": 1.5}, {"hue": 0.6}, {"brightness": -0.1}])
def test_probabilities_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ColorAugmentation(**wrong)
