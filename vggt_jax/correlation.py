"""Bilinear sampling of feature maps at points, and of the points' correlation with the maps around them.

Coordinates are (x, y) in pixels of the map that is sampled, integers at pixel centres (PyTorch's ``align_corners``
convention), and carry no gradient: upstream detaches them in its sampler. Maps are channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from subspace.errors import InputError
from vggt_jax.products import HIGHEST


def sample_features(
    features: Float[Array, "b height width c"], coords: Float[Array, "b points 2"]
) -> Float[Array, "b points c"]:
    """Features at points; points outside of the map take the value at its nearest border."""
    height, width = features.shape[1:3]
    x, y = jnp.moveaxis(jax.lax.stop_gradient(coords), -1, 0)
    columns, column_weights = _neighbours(x, width)
    rows, row_weights = _neighbours(y, height)
    corners = _gather(features, columns[..., :, None], rows[..., None, :])
    return jnp.einsum("bnxyc,bnx,bny->bnc", corners, column_weights, row_weights, precision=HIGHEST)


def interpolate_rows(table: Float[Array, "rows c"], position: Float[Array, "*b"]) -> Float[Array, "*b c"]:
    """Rows of a table at fractional positions, linear between rows and constant beyond the first and the last."""
    rows, weights = _neighbours(jax.lax.stop_gradient(position), table.shape[0])
    return jnp.einsum("...xc,...x->...c", table[rows], weights, precision=HIGHEST)


def feature_pyramid(features: Float[Array, "b s height width c"], levels: int) -> list[Float[Array, "b s _ _ c"]]:
    """The map and its successive halvings by 2×2 means; an odd last row or column is left out of the next level.

    Raises:
        ValueError: the map is too small for that many levels.
    """
    height, width = features.shape[2:4]
    if min(height, width) >> (levels - 1) < 1:
        raise InputError(
            f"feature map of {height}x{width} pixels is too small for {levels} correlation levels: "
            f"its sides must be at least {1 << (levels - 1)}"
        )
    pyramid = [features]
    for _ in range(levels - 1):
        b, s, height, width, c = pyramid[-1].shape
        even = pyramid[-1][:, :, : height // 2 * 2, : width // 2 * 2]
        pyramid.append(even.reshape(b, s, height // 2, 2, width // 2, 2, c).mean((3, 5)))
    return pyramid


def local_correlation(
    pyramid: Sequence[Float[Array, "b s _ _ c"]],
    targets: Float[Array, "b s points c"],
    coords: Float[Array, "b s points 2"],
    radius: int,
) -> Float[Array, "b s points _"]:
    """Correlation ⟨target, feature⟩ / √c of every point with a square of positions around it, on every level.

    The square has (2·radius + 1)² positions, one pixel of the level apart. Correlations outside of the map are 0.

    Upstream correlates each target with the whole map and samples the result. Sampling is linear, so this gathers
    the (2·radius + 2)² features that the samples lie between, correlates only those and interpolates afterwards: the
    same sums without a (points × height × width) array.

    Args:
        pyramid: maps as :func:`feature_pyramid` makes them.
        targets: the feature vector of every point in every frame.
        coords: positions in pixels of the first level.
        radius: positions on either side of the centre.

    Returns:
        levels · (2·radius + 1)² values per point: levels outermost, then the offset in x, then that in y (the
        official grid, which reads transposed to the usual row-major one).
    """
    # The gathered features are (2·radius + 2)² times the targets: the backward pass gathers them again.
    level_correlation = jax.checkpoint(_level_correlation, static_argnums=3)
    levels = [level_correlation(maps, targets, coords / 2**level, radius) for level, maps in enumerate(pyramid)]
    return jnp.concatenate(levels, axis=-1)


def _level_correlation(
    features: Float[Array, "b s height width c"],
    targets: Float[Array, "b s points c"],
    coords: Float[Array, "b s points 2"],
    radius: int,
) -> Float[Array, "b s points _"]:
    b, s, height, width, c = features.shape
    points = coords.shape[2]
    x, y = jnp.moveaxis(jax.lax.stop_gradient(coords).reshape(b * s, points, 2), -1, 0)
    columns, column_inside, x_fraction = _window(x, width, radius)
    rows, row_inside, y_fraction = _window(y, height, radius)

    window = _gather(features.reshape(b * s, height, width, c), columns[..., :, None], rows[..., None, :])
    correlation = jnp.einsum("bnxyc,bnc->bnxy", window, targets.reshape(b * s, points, c), precision=HIGHEST) / sqrt(c)
    correlation = jnp.where(column_inside[..., :, None] & row_inside[..., None, :], correlation, 0.0)

    along_x = _blend(correlation[:, :, :-1], correlation[:, :, 1:], x_fraction)
    sampled = _blend(along_x[..., :-1], along_x[..., 1:], y_fraction)
    return sampled.reshape(b, s, points, -1)


def _window(
    coordinate: Float[Array, "*b"], size: int, radius: int
) -> tuple[Int[Array, "*b taps"], Bool[Array, "*b taps"], Float[Array, "*b"]]:
    """The pixels along one axis that the samples around a coordinate lie between.

    Returns their indices (moved into the map), whether they are inside of it, and the fraction by which every
    sample lies beyond the lower one of its two pixels.
    """
    if size == 1:
        # Upstream normalises coordinates by (size - 1), so that every sample along such an axis hits its one pixel.
        coordinate = jnp.zeros_like(coordinate)
        taps = jnp.zeros(2 * radius + 2)
    else:
        taps = jnp.arange(-radius, radius + 2, dtype=coordinate.dtype)
    lower = jnp.floor(coordinate)
    positions = lower[..., None] + taps
    inside = (positions >= 0) & (positions <= size - 1)
    # Clipped before the conversion: a diverged track may be beyond the range of integers.
    return jnp.clip(positions, 0, size - 1).astype(jnp.int32), inside, coordinate - lower


def _neighbours(coordinate: Float[Array, "*b"], size: int) -> tuple[Int[Array, "*b 2"], Float[Array, "*b 2"]]:
    """The two pixels along one axis next to a coordinate that is clamped to the map, and their weights."""
    inside = jnp.clip(coordinate, 0, size - 1)
    lower = jnp.floor(inside)
    fraction = inside - lower
    pixels = jnp.stack([lower, jnp.minimum(lower + 1, size - 1)], axis=-1)
    return pixels.astype(jnp.int32), jnp.stack([1 - fraction, fraction], axis=-1)


def _gather(
    features: Float[Array, "b height width c"], columns: Int[Array, "b points _ _"], rows: Int[Array, "b points _ _"]
) -> Float[Array, "b points x y c"]:
    return jax.vmap(lambda image, row, column: image[row, column])(features, *jnp.broadcast_arrays(rows, columns))


def _blend(
    lower: Float[Array, "b points x y"], upper: Float[Array, "b points x y"], fraction: Float[Array, "b points"]
) -> Float[Array, "b points x y"]:
    weight = fraction[..., None, None]
    return (1 - weight) * lower + weight * upper
