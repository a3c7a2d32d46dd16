"""Losses between neighbouring pixels: differences of the error, and surface normals (VGGT, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from experiments.training.numerics import LARGEST_ERROR, length, magnitude, masked_mean

CONFIDENCE_PENALTY = 0.2
"""Weight of −log(confidence) in these losses, whatever the regression loss uses."""

_FEWEST_NORMALS = 10
_COSINE_MARGIN = 1e-8
_SHORTEST_NORMAL = 1e-8

Maps = Float[Array, "b s h w c"]
Masks = Bool[Array, "b s h w"]
Confidence = Float[Array, "b s h w"]


def over_scales(
    loss: Callable[[Maps, Maps, Masks, Confidence | None], Array],
    scales: int,
    predicted: Maps,
    truth: Maps,
    masks: Masks,
    confidence: Confidence | None,
) -> Float[Array, ""]:
    """Mean of ``loss`` over images of which every 1st, 2nd, 4th, ... row and column is kept."""

    def at(stride: int) -> Array:
        rows_and_columns = (slice(None), slice(None), slice(None, None, stride), slice(None, None, stride))
        kept = None if confidence is None else confidence[rows_and_columns]
        return loss(predicted[rows_and_columns], truth[rows_and_columns], masks[rows_and_columns], kept)

    return sum((at(2**scale) for scale in range(scales)), start=jnp.zeros((), predicted.dtype)) / scales


def gradient_loss(predicted: Maps, truth: Maps, masks: Masks, confidence: Confidence | None = None) -> Float[Array, ""]:
    """How much the error changes from pixel to pixel, along rows and columns, at one scale.

    The sum of |change| over pairs of valid pixels, divided by channels times valid pixels; 0 without a valid pixel. With
    ``confidence`` every pair of pixels, valid or not, is weighted by it and pays −log of it, at its right or lower pixel.
    """
    weights = masks[..., None].astype(predicted.dtype)
    error = weights * (predicted - truth)

    def along(axis: int) -> Array:
        def upper(x: Array) -> Array:
            return jnp.moveaxis(jnp.moveaxis(x, axis, 0)[1:], 0, axis)

        def lower(x: Array) -> Array:
            return jnp.moveaxis(jnp.moveaxis(x, axis, 0)[:-1], 0, axis)

        change = magnitude(upper(error) - lower(error)) * upper(weights) * lower(weights)
        change = jnp.minimum(change, LARGEST_ERROR)
        if confidence is not None:
            c = upper(confidence[..., None])
            change = change * c - CONFIDENCE_PENALTY * jnp.log(c)
        return jnp.sum(change)

    count = predicted.shape[-1] * jnp.sum(masks)
    return jnp.where(count > 0, (along(2) + along(3)) / jnp.maximum(count, 1), 0)


def normal_loss(predicted: Maps, truth: Maps, masks: Masks, confidence: Confidence | None = None) -> Float[Array, ""]:
    """1 − cosine between the normals of two point maps (three channels), at one scale.

    Every pixel has four normals, from its pairs of adjacent neighbours; those of three valid pixels count. 0 with fewer
    than ten. ``confidence`` weights the angle and pays −log of itself, at the centre pixel.
    """
    found, valid = normals(predicted, masks)
    expected, _ = normals(truth, masks)
    cosine = jnp.clip(jnp.sum(found * expected, axis=-1), -1 + _COSINE_MARGIN, 1 - _COSINE_MARGIN)
    loss = 1 - cosine
    if confidence is not None:
        loss = loss * confidence - CONFIDENCE_PENALTY * jnp.log(confidence)
    return jnp.where(jnp.sum(valid) >= _FEWEST_NORMALS, masked_mean(loss, valid), 0)


def normals(points: Maps, masks: Masks) -> tuple[Float[Array, "4 b s h w 3"], Bool[Array, "4 b s h w"]]:
    """Unit normals of a point map from each pixel's four pairs of adjacent neighbours, and which of them are valid."""

    def neighbours(x: Array) -> tuple[Array, ...]:
        padded = jnp.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)] + [(0, 0)] * (x.ndim - 4))
        up, left = padded[:, :, :-2, 1:-1], padded[:, :, 1:-1, :-2]
        down, right = padded[:, :, 2:, 1:-1], padded[:, :, 1:-1, 2:]
        return up, left, down, right

    edges = [neighbour - points for neighbour in neighbours(points)]
    present = neighbours(masks)
    crossed = jnp.stack([jnp.cross(edges[i], edges[(i + 1) % 4]) for i in range(4)])
    valid = jnp.stack([present[i] & present[(i + 1) % 4] & masks for i in range(4)])
    return crossed / jnp.maximum(length(crossed), _SHORTEST_NORMAL)[..., None], valid
