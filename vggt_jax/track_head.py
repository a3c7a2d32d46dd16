"""VGGT's point tracker: given points of the first frame, where they are in every frame.

Feature maps come from a dense head at half of the image's resolution. Starting from "nothing moves", every iteration
correlates each track's feature with the maps around its position, and a transformer over time and tracks updates
positions and features. Attribute names are the official checkpoint's below ``track_head.tracker``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from subspace.errors import InputError
from vggt_jax.blocks import Mlp
from vggt_jax.config import TrackHeadConfig
from vggt_jax.correlation import feature_pyramid, interpolate_rows, local_correlation, sample_features
from vggt_jax.layers import LayerNorm, Linear, gelu
from vggt_jax.update_transformer import UpdateTransformer

Pyramid = list[Float[Array, "b s _ _ c"]]


class Tracker(nnx.Module):
    """Iterative point tracker.

    Inside, coordinates are (x, y) in pixels of the feature maps and arrays are track-major, (B, N, S, …).
    """

    def __init__(self, config: TrackHeadConfig, *, dtype: str = "float32", rngs: nnx.Rngs):
        """
        Args:
            config: sizes; the extractor's ``features`` is the channel number of the feature maps.
            dtype: of the matrix multiplications; coordinates, correlations and norms are always float32.

        Raises:
            ValueError: sizes that the embeddings or the transformer cannot divide evenly.
        """
        channels = config.extractor.features
        if channels % 4:
            raise InputError(f"the tracker's features must be a multiple of 4, got {channels}")
        self.config = config
        # Embedded flow, flow twice, correlations, feature: what one token is made of.
        token = channels + 4 + channels + channels
        correlations = config.corr_levels * (2 * config.corr_radius + 1) ** 2
        self.query_ref_token = nnx.Param(jax.random.normal(rngs.params(), (1, 2, token)))
        self.corr_mlp = Mlp(correlations, config.hidden_size, channels, dtype=dtype, rngs=rngs)
        self.updateformer = UpdateTransformer(token, 2 + channels, config, dtype=dtype, rngs=rngs)
        self.fmap_norm = LayerNorm(channels)
        self.ffeat_norm = LayerNorm(channels)
        self.ffeat_updater = nnx.List([Linear(channels, channels, dtype=dtype, rngs=rngs)])
        self.vis_predictor = nnx.List([Linear(channels, 1, dtype=dtype, rngs=rngs)])
        self.conf_predictor = nnx.List([Linear(channels, 1, dtype=dtype, rngs=rngs)])

    def __call__(
        self,
        feature_maps: Float[Array, "b s height width c"],
        query_points: Float[Array, "b n 2"],
        iterations: int | None = None,
    ) -> tuple[Float[Array, "iterations b s n 2"], Float[Array, "b s n"], Float[Array, "b s n"]]:
        """
        Args:
            feature_maps: one map per frame, height = H / stride and width = W / stride for H × W images.
            query_points: (x, y) in pixels of the first frame's image.
            iterations: refinements; the configuration's number if None.

        Returns:
            Tracks after every iteration, (x, y) in pixels of the images: the first frame's are the query points.
            Visibilities and confidences in (0, 1) after the last one.

            Gradients are upstream's: coordinates are detached at the start of every iteration and wherever maps are
            sampled, so that an iteration's tracks depend on earlier iterations through the features only.

        Raises:
            ValueError: fewer than one iteration, shapes that contradict each other or the configuration, or maps
                too small for the correlation levels.
        """
        config = self.config
        iterations = config.iterations if iterations is None else iterations
        self._check(feature_maps, query_points, iterations)
        s = feature_maps.shape[1]
        maps = self.fmap_norm(feature_maps)
        pyramid = feature_pyramid(maps, config.corr_levels)
        queries = query_points.astype(jnp.float32) / config.stride
        start = jnp.broadcast_to(queries[:, :, None], (*queries.shape[:2], s, 2))
        features = sample_features(maps[:, 0], queries)
        features = jnp.broadcast_to(features[:, :, None], (*start.shape[:3], features.shape[-1]))
        # Frame 0 stays at the query, so this part of the tokens is the same in every iteration.
        context = self.query_context(queries, s, maps.shape[2:4])

        def refine(state, _):
            coords, features = state
            coords = jax.lax.stop_gradient(coords)
            update = self.updateformer(self.tokens(pyramid, coords, features) + context).astype(jnp.float32)
            coords = (coords + update[..., :2]).at[:, :, 0].set(queries)
            features = features + gelu(self.ffeat_updater[0](self.ffeat_norm(update[..., 2:])))
            return (coords, features), coords.swapaxes(1, 2) * config.stride

        (_, features), tracks = jax.lax.scan(refine, (start, features), length=iterations)
        visibility, confidence = (
            jax.nn.sigmoid(predictor[0](features)[..., 0].astype(jnp.float32)).swapaxes(1, 2)
            for predictor in (self.vis_predictor, self.conf_predictor)
        )
        return tracks, visibility, confidence

    def correlations(
        self, pyramid: Pyramid, coords: Float[Array, "b n s 2"], features: Float[Array, "b n s c"]
    ) -> Float[Array, "b n s k"]:
        """Correlations of the tracks' features with the maps around their positions."""
        by_frame = local_correlation(pyramid, features.swapaxes(1, 2), coords.swapaxes(1, 2), self.config.corr_radius)
        return by_frame.swapaxes(1, 2)

    def tokens(
        self, pyramid: Pyramid, coords: Float[Array, "b n s 2"], features: Float[Array, "b n s c"]
    ) -> Float[Array, "b n s token"]:
        """What the update transformer is told about each track in each frame, without the query's context."""
        flow = coords - coords[:, :, :1]
        scaled_flow = flow / self.config.max_scale
        correlations = self.corr_mlp(self.correlations(pyramid, coords, features))
        # The scaled flow stands there twice; the official weights expect it.
        parts = [flow_embedding(flow, features.shape[-1] // 2), scaled_flow, scaled_flow, correlations, features]
        return jnp.concatenate(parts, axis=-1)

    def query_context(
        self, queries: Float[Array, "b n 2"], s: int, grid: tuple[int, ...]
    ) -> Float[Array, "b n s token"]:
        """Embedded query position plus the learned token, which has one row for frame 0 and one for the others."""
        reference = self.query_ref_token[...]
        rows = jnp.concatenate(
            [reference[:, :1], jnp.broadcast_to(reference[:, 1:], (1, s - 1, reference.shape[-1]))], 1
        )
        return position_embedding(queries, grid, reference.shape[-1])[:, :, None] + rows[:, None]

    def _check(self, feature_maps: Array, query_points: Array, iterations: int) -> None:
        channels = self.config.extractor.features
        if feature_maps.ndim != 5 or feature_maps.shape[-1] != channels:
            raise InputError(
                f"feature_maps must have shape (B, S, height, width, {channels}), got {feature_maps.shape}"
            )
        if query_points.ndim != 3 or query_points.shape[::2] != (feature_maps.shape[0], 2):
            raise InputError(
                f"query_points must have shape (B, N, 2) with B = {feature_maps.shape[0]}, got {query_points.shape}"
            )
        if query_points.shape[1] == 0:
            raise InputError("query_points holds no point")
        if iterations < 1:
            raise InputError(f"iterations must be at least 1, got {iterations}")


def flow_embedding(flow: Float[Array, "*b 2"], channels: int) -> Float[Array, "*b _"]:
    """Sines and cosines of a flow, alternating, at frequencies that grow linearly from 0 to nearly 1000.

    Args:
        flow: (x, y) in pixels.
        channels: numbers per component of the flow, even; those of x come first.
    """
    frequencies = np.arange(0, channels, 2, dtype=np.float32) * np.float32(1000 / channels)
    angles = flow[..., None] * frequencies
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*flow.shape[:-1], 2 * channels)


def position_embedding(
    coords: Float[Array, "*b 2"], grid: tuple[int, ...], channels: int
) -> Float[Array, "*b channels"]:
    """Sinusoidal embedding of the pixels of a (height, width) map, interpolated bilinearly at positions in it.

    The first half of the channels depends on x alone, the second on y, so the interpolation is one of rows of two
    small tables. Positions outside of the map count as its border.
    """
    height, width = grid
    x = interpolate_rows(jnp.asarray(_sinusoids(width, channels // 2)), coords[..., 0])
    y = interpolate_rows(jnp.asarray(_sinusoids(height, channels // 2)), coords[..., 1])
    return jnp.concatenate([x, y], axis=-1)


def _sinusoids(length: int, channels: int) -> Float[np.ndarray, "length channels"]:
    """Sines, then cosines, of 0 … length − 1 at frequencies 10000^(−2i/channels)."""
    frequencies = 10000.0 ** (-np.arange(channels // 2) / (channels / 2))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
