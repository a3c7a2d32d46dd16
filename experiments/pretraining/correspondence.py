"""Which token of one view shows what a token of another view shows: truth from depth and cameras, and a loss for features.

A token's place is one pixel of its patch, that at row and column ``patch // 2``; coordinates count tokens, so the token in
column i and row j has the coordinates (i, j). A scratch-trained VGGT matches tokens long before it knows poses.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from experiments.training.batch import TrainingBatch
from experiments.training.numerics import masked_mean
from vggt_jax.geometry import project_points

DEPTH_TOLERANCE = 0.03
"""A point is seen in another view if its depth there differs from the depth map by less than this share of it."""
NEAR = 0.5
"""Tokens; a match this near the truth counts as found."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Matches:
    """Where the tokens of one view are in another; for N directed pairs of views of each of B sequences."""

    position: Float[Array, "b n p 2"]
    """(column, row) in tokens; finite also where not visible."""
    visible: Bool[Array, "b n p"]
    """Whether the token has a known point that both views see."""


def directed_pairs(views: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sources and targets: the first view to each other one and back."""
    others = tuple(range(1, views))
    return (0,) * len(others) + others, others + (0,) * len(others)


def true_matches(batch: TrainingBatch, patch: int) -> Matches:
    """The truth for :func:`directed_pairs`; lengths may have any unit, the world any frame."""
    sources, targets = (jnp.asarray(side) for side in directed_pairs(batch.images.shape[1]))
    height, width = batch.image_size
    place = slice(patch // 2, None, patch)
    points = batch.world_points[:, sources, place, place]
    b, n = points.shape[:2]
    known = batch.point_masks[:, sources, place, place].reshape(b, n, -1)
    points = jnp.where(known[..., None], points.reshape(b, n, -1, 3), 0)
    pixels, depth = project_points(points, batch.extrinsics[:, targets], batch.intrinsics[:, targets])
    nearest = jnp.round(pixels).astype(jnp.int32)
    inside = jnp.all((nearest >= 0) & (nearest < jnp.asarray([width, height])), axis=-1) & (depth > 0)
    index = jnp.where(inside, nearest[..., 1] * width + nearest[..., 0], 0)

    def at(maps: Array) -> Array:
        return jnp.take_along_axis(maps[:, targets].reshape(b, n, -1), index, axis=-1)

    agrees = jnp.abs(at(jnp.nan_to_num(batch.depths)) - depth) < DEPTH_TOLERANCE * depth
    visible = known & inside & at(batch.point_masks) & agrees
    position = (pixels - patch // 2) / patch
    return Matches(jnp.where(visible[..., None], position, 0), visible)


def token_grid(height: int, width: int) -> Float[Array, "p 2"]:
    """(column, row) of every token, row by row."""
    columns, rows = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    return jnp.stack([columns, rows], axis=-1).reshape(-1, 2).astype(jnp.float32)


def matching_loss(
    features: Float[Array, "b s p c"],
    truth: Matches,
    grid: tuple[int, int],
    temperature: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """InfoNCE over the target view's tokens, and the share of visible tokens that the soft-argmax finds.

    The label of a token is spread over the four tokens around its true position as bilinear interpolation does.

    Args:
        features: of each view's patch tokens; their direction counts, not their length.
        truth: for :func:`directed_pairs` of the views.
        grid: rows and columns of tokens.
        temperature: divisor of the cosines, positive.
    """
    sources, targets = (jnp.asarray(side) for side in directed_pairs(features.shape[1]))
    features = features * jax.lax.rsqrt(jnp.sum(features * features, axis=-1, keepdims=True) + 1e-6)
    cosines = jnp.einsum("bnpc,bnqc->bnpq", features[:, sources], features[:, targets], precision="highest")
    log_probability = jax.nn.log_softmax(cosines / temperature, axis=-1)
    places = token_grid(*grid)
    apart = jnp.abs(truth.position[..., None, :] - places)
    label = jnp.prod(jnp.maximum(1 - apart, 0), axis=-1)
    label = label / jnp.maximum(jnp.sum(label, axis=-1, keepdims=True), 1e-6)
    loss = masked_mean(-jnp.sum(label * log_probability, axis=-1), truth.visible)
    expected = jnp.einsum("bnpq,qc->bnpc", jnp.exp(log_probability), places, precision="highest")
    return loss, share_found(expected, truth)


def share_found(position: Float[Array, "b n p 2"], truth: Matches) -> Float[Array, ""]:
    """Share of the visible tokens whose ``position`` is within :data:`NEAR` of the truth."""
    distance = jnp.linalg.norm(position - truth.position, axis=-1)
    return masked_mean((distance < NEAR).astype(jnp.float32), truth.visible)


def share_in_place(truth: Matches, grid: tuple[int, int]) -> Float[Array, ""]:
    """What :func:`share_found` is for a guess that nothing moves: the baseline."""
    return share_found(jnp.broadcast_to(token_grid(*grid), truth.position.shape), truth)
