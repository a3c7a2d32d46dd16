"""The correlation sampler against the definition: correlate with the whole map, then sample at normalised positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vggt_jax.correlation import feature_pyramid, interpolate_rows, local_correlation, sample_features


def sample(image, x, y, border):
    """One bilinear sample the official way: the position is normalised to [-1, 1] by size - 1 and back."""
    height, width = image.shape[:2]
    x = (x * 2 / max(width - 1, 1) - 1 + 1) / 2 * (width - 1)
    y = (y * 2 / max(height - 1, 1) - 1 + 1) / 2 * (height - 1)
    if border:
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    total = np.zeros(image.shape[2:])
    for column in (int(np.floor(x)), int(np.floor(x)) + 1):
        for row in (int(np.floor(y)), int(np.floor(y)) + 1):
            if 0 <= column < width and 0 <= row < height:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * image[row, column]
    return total


def dense_correlation(features, target, point, radius):
    x, y = point
    volume = features @ target / np.sqrt(len(target))
    offsets = range(-radius, radius + 1)
    return [sample(volume, x + first, y + second, border=False) for first in offsets for second in offsets]


def positions(height, width):
    """Inside, on pixels, on the border, across it and far outside."""
    generator = np.random.default_rng(5)
    scattered = generator.uniform((-3, -3), (width + 3, height + 3), (12, 2))
    return np.array([(0, 0), (width - 1, height - 1), (1, 0.5), (-0.25, height - 0.5), (1e4, -1e12), *scattered])


@pytest.mark.parametrize(("height", "width"), [(9, 6), (5, 1), (1, 4), (1, 1)])
def test_correlation_equals_sampling_of_the_whole_correlation_map(height, width):
    generator = np.random.default_rng(0)
    coords = positions(height, width)
    features = generator.normal(size=(2, 1, height, width, 8))
    targets = generator.normal(size=(2, 1, len(coords), 8))
    expected = [
        [
            dense_correlation(features[b, 0], target, point, 2)
            for point, target in zip(coords, targets[b, 0], strict=True)
        ]
        for b in range(2)
    ]
    batched = jnp.broadcast_to(jnp.asarray(coords, jnp.float32), (2, 1, *coords.shape))
    actual = local_correlation([jnp.asarray(features, jnp.float32)], jnp.asarray(targets, jnp.float32), batched, 2)
    np.testing.assert_allclose(actual[:, 0], expected, atol=1e-5)


def test_levels_follow_each_other_with_halved_coordinates():
    generator = np.random.default_rng(1)
    features = jnp.asarray(generator.normal(size=(1, 2, 8, 8, 4)), jnp.float32)
    targets = jnp.asarray(generator.normal(size=(1, 2, 3, 4)), jnp.float32)
    coords = jnp.asarray(generator.uniform(0, 8, (1, 2, 3, 2)), jnp.float32)
    pyramid = feature_pyramid(features, 2)
    both = local_correlation(pyramid, targets, coords, 1)
    np.testing.assert_allclose(both[..., :9], local_correlation(pyramid[:1], targets, coords, 1), atol=1e-6)
    np.testing.assert_allclose(both[..., 9:], local_correlation(pyramid[1:], targets, coords / 2, 1), atol=1e-6)


def test_features_are_sampled_with_border_values_outside():
    features = np.random.default_rng(2).normal(size=(1, 5, 7, 3))
    coords = positions(5, 7)
    expected = [sample(features[0], x, y, border=True) for x, y in coords]
    actual = sample_features(jnp.asarray(features, jnp.float32), jnp.asarray(coords[None], jnp.float32))
    np.testing.assert_allclose(actual[0], expected, atol=1e-5)


def test_rows_are_interpolated_and_constant_beyond_the_ends():
    table = jnp.asarray([[0.0, 1.0], [2.0, 5.0]])
    actual = interpolate_rows(table, jnp.asarray([-1.0, 0.25, 1.0, 9.0]))
    np.testing.assert_allclose(actual, [[0, 1], [0.5, 2], [2, 5], [2, 5]])


def test_pyramid_averages_and_drops_odd_rows_and_columns():
    features = jnp.arange(15.0).reshape(1, 1, 5, 3, 1)
    _, half = feature_pyramid(features, 2)
    np.testing.assert_array_equal(half[0, 0, :, :, 0], [[2.0], [8.0]])


def test_too_many_levels_are_refused():
    with pytest.raises(ValueError, match=r"5x3 pixels is too small for 3 correlation levels.*at least 4"):
        feature_pyramid(jnp.zeros((1, 1, 5, 3, 2)), 3)


def test_positions_have_no_gradient_and_features_a_finite_one_everywhere():
    coords = jnp.asarray(positions(5, 7)[None, None], jnp.float32)
    features = jnp.asarray(np.random.default_rng(3).normal(size=(1, 1, 5, 7, 4)), jnp.float32)
    targets = jnp.ones((1, 1, coords.shape[2], 4))

    def total(features, targets, coords):
        return local_correlation([features], targets, coords, 1).sum() + sample_features(features[0], coords[0]).sum()

    by_features, by_targets, by_coords = jax.grad(total, argnums=(0, 1, 2))(features, targets, coords)
    assert np.isfinite(by_features).all() and np.abs(by_features).max() > 0
    assert np.isfinite(by_targets).all() and np.abs(by_targets).max() > 0
    np.testing.assert_array_equal(by_coords, 0)
