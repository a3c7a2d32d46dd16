"""Which token of one view shows what a token of another view shows: truth from depth and cameras, and a loss for features.

A token's place is one pixel of its patch, that at row and column ``patch // 2``; coordinates count tokens, so the token in
column i and row j has the coordinates (i, j). A pixel without a known depth shows the sky, which is infinitely far: its match
follows from the rotation alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from experiments.training.batch import TrainingBatch
from experiments.training.numerics import masked_mean
from vggt_jax.geometry import project_points, unproject_depth
from vggt_jax.matching import directed_pairs, expected_position, log_match_probability, token_grid

DEPTH_TOLERANCE = 0.03
"""A point is seen in another view if its depth there differs from the depth map by less than this share of it."""
_SKY = 1e4
"""Depth of the sky in units of the normalised scene; a translation by one unit moves it by a hundredth of a pixel."""
_RIDGE = 1e-3
"""Added to the normal equations of an affine map, whose entries are at most 1."""
_FEWEST = 8
"""Tokens that both views see; fewer do not say how a view moved."""
NEAR = 0.5
"""Tokens; a match this near the truth counts as found."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Matches:
    """Where the tokens of one view are in another; for N directed pairs of views of each of B sequences."""

    position: Float[Array, "b n p 2"]
    """(column, row) in tokens; finite also where nothing is visible."""
    surface: Bool[Array, "b n p"]
    """Whether both views see the token's point, which lies on a surface."""
    sky: Bool[Array, "b n p"]
    """Whether the token shows the sky in both views."""


def true_matches(batch: TrainingBatch, patch: int) -> Matches:
    """The truth for :func:`directed_pairs` of a normalised batch."""
    sources, targets = (jnp.asarray(side) for side in directed_pairs(batch.images.shape[1]))
    height, width = batch.image_size
    b, n = batch.images.shape[0], len(sources)
    depths = jnp.where(batch.point_masks, batch.depths, _SKY)
    points = unproject_depth(depths, batch.extrinsics, batch.intrinsics)
    place = slice(patch // 2, None, patch)
    known = batch.point_masks[:, sources, place, place].reshape(b, n, -1)
    pixels, depth = project_points(
        points[:, sources, place, place].reshape(b, n, -1, 3),
        batch.extrinsics[:, targets],
        batch.intrinsics[:, targets],
    )
    nearest = jnp.round(pixels).astype(jnp.int32)
    inside = jnp.all((nearest >= 0) & (nearest < jnp.asarray([width, height])), axis=-1) & (depth > 0)
    index = jnp.where(inside, nearest[..., 1] * width + nearest[..., 0], 0)

    def there(maps: Array) -> Array:
        return jnp.take_along_axis(maps[:, targets].reshape(b, n, -1), index, axis=-1)

    known_there = there(batch.point_masks)
    agrees = jnp.abs(there(depths) - depth) < DEPTH_TOLERANCE * depth
    return Matches(
        position=jnp.where(inside[..., None], (pixels - patch // 2) / patch, 0),
        surface=inside & known & known_there & agrees,
        sky=inside & ~known & ~known_there,
    )


def towards_first(truth: Matches) -> Matches:
    """The pairs from each other view back to the first one, of those of :func:`directed_pairs`."""
    half = truth.position.shape[1] // 2
    return Matches(truth.position[:, half:], truth.surface[:, half:], truth.sky[:, half:])


def affine_motion(truth: Matches, grid: tuple[int, int]) -> tuple[Float[Array, "b n 6"], Bool[Array, "b n"]]:
    """The affine map from a token's place to how far its match is away, by least squares over the surfaces that both see.

    Places and distances are in halves of the picture, places from its middle; the six numbers are the constant, the slope
    along columns and along rows of the horizontal part, then of the vertical one. Second: whether enough tokens are seen.
    """
    places, half = token_grid(*grid), jnp.asarray([grid[1], grid[0]]) / 2
    terms = jnp.concatenate([jnp.ones((len(places), 1)), (places - (half - 0.5)) / half], axis=-1)
    moved = (truth.position - places) / half
    weights = truth.surface.astype(jnp.float32)
    seen = jnp.sum(weights, axis=-1)
    share = weights / jnp.maximum(seen, 1)[..., None]
    normal = jnp.einsum("bnp,pi,pj->bnij", share, terms, terms, precision="highest") + _RIDGE * jnp.eye(3)
    right = jnp.einsum("bnp,pi,bnpc->bnic", share, terms, moved, precision="highest")
    solved = jnp.linalg.solve(normal, right)
    return jnp.swapaxes(solved, -1, -2).reshape(*seen.shape, 6), seen >= _FEWEST


def matching_loss(
    features: Float[Array, "b s p c"],
    truth: Matches,
    grid: tuple[int, int],
    temperature: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """InfoNCE over the target view's tokens, and the share of tokens on surfaces that the soft-argmax finds.

    The label of a token is spread over the four tokens around its true position as bilinear interpolation does.

    Args:
        features: of each view's patch tokens; their direction counts, not their length.
        truth: for :func:`directed_pairs` of the views.
        grid: rows and columns of tokens.
        temperature: divisor of the cosines, positive.
    """
    log_probability = log_match_probability(features, temperature)
    places = token_grid(*grid)
    apart = jnp.abs(truth.position[..., None, :] - places)
    label = jnp.prod(jnp.maximum(1 - apart, 0), axis=-1)
    label = label / jnp.maximum(jnp.sum(label, axis=-1, keepdims=True), 1e-6)
    loss = masked_mean(-jnp.sum(label * log_probability, axis=-1), truth.surface | truth.sky)
    return loss, share_found(expected_position(log_probability, grid), truth)


def share_found(position: Float[Array, "b n p 2"], truth: Matches) -> Float[Array, ""]:
    """Share of the tokens on surfaces that both views see, whose ``position`` is within :data:`NEAR` of the truth."""
    distance = jnp.linalg.norm(position - truth.position, axis=-1)
    return masked_mean((distance < NEAR).astype(jnp.float32), truth.surface)


def share_in_place(truth: Matches, grid: tuple[int, int]) -> Float[Array, ""]:
    """What :func:`share_found` is for a guess that nothing moves: the baseline."""
    return share_found(jnp.broadcast_to(token_grid(*grid), truth.position.shape), truth)
