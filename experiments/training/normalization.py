"""Scenes without their choice of world frame and unit: what VGGT is trained to predict (VGGT, Sec. 3.4)."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from experiments.training.batch import TrainingBatch
from experiments.training.numerics import finite, length
from vggt_jax.geometry import transform_points, unproject_depth

_SMALLEST_SCALE, _LARGEST_SCALE = 1e-6, 1e6


def normalize(batch: TrainingBatch) -> TrainingBatch:
    """The batch with each sequence's first camera as the world's frame and its mean point distance as the unit.

    NaN and infinities in cameras, points and depths become 0; images lie in [0, 1]. Points that are not given are computed
    from depths and cameras in the first camera's frame, in float32: within 2e-6 of float64's.
    """
    extrinsics = relative_to_first(batch.extrinsics)
    if batch.world_points is None:
        points = unproject_depth(batch.depths, extrinsics, batch.intrinsics)
    else:
        first = batch.extrinsics[:, 0]
        points = transform_points(batch.world_points.reshape(first.shape[0], -1, 3), first)
        points = points.reshape(batch.world_points.shape)
    scale = mean_distance(points, batch.point_masks)
    translations = extrinsics[..., 3] / scale[:, None, None]
    return replace(
        batch,
        images=in_unit_interval(batch.images),
        extrinsics=finite(jnp.concatenate([extrinsics[..., :3], translations[..., None]], axis=-1)),
        world_points=finite(points / scale[:, None, None, None, None]),
        depths=finite(batch.depths / scale[:, None, None, None]),
    )


def in_unit_interval(images: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Of 8 bits → exactly x / 255 in float32, on every device; floats as they are.

    XLA would make a product with 1/255 of the division, and miss the last bit of some. 257/65536 times 8 bits is exact, and
    what is left is too small for its rounding to count.
    """
    if images.dtype != jnp.uint8:
        return images
    x, nearly = images.astype(jnp.float32), 257 / 65536
    return x * nearly + x * (1 / 255 - nearly)


def relative_to_first(extrinsics: Float[Array, "b s 3 4"]) -> Float[Array, "b s 3 4"]:
    """E_s E_0⁻¹: the cameras of each sequence, seen from its first one."""
    rotations, translations = extrinsics[..., :3], extrinsics[..., 3]
    turned = jnp.einsum("bsij,bkj->bsik", rotations, rotations[:, 0], precision="highest")
    moved = translations - jnp.einsum("bsij,bj->bsi", turned, translations[:, 0], precision="highest")
    return jnp.concatenate([turned, moved[..., None]], axis=-1)


def mean_distance(points: Float[Array, "b s h w 3"], masks: Bool[Array, "b s h w"]) -> Float[Array, " b"]:
    """Mean distance of each sequence's valid points from the origin, kept within [1e-6, 1e6]."""
    axes = (1, 2, 3)
    distances = jnp.where(masks, length(jnp.where(masks[..., None], points, 0)), 0)
    mean = jnp.sum(distances, axis=axes) / (jnp.sum(masks, axis=axes) + 1e-3)
    return jnp.clip(mean, _SMALLEST_SCALE, _LARGEST_SCALE)
