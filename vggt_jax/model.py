"""The whole model: images in, cameras, depth and points out."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from subspace.errors import InputError
from subspace.pytrees import register_dataclass
from vggt_jax.adaptable import adaptable, check
from vggt_jax.aggregator import Aggregator
from vggt_jax.camera_head import CameraHead
from vggt_jax.config import DenseHeadConfig, VGGTConfig
from vggt_jax.deltas import NO_DELTAS, Deltas, below
from vggt_jax.dense_head import DenseHead
from vggt_jax.track_head import Tracker


@register_dataclass
@dataclass(frozen=True)
class Predictions:
    """What the heads say about every frame, in float32; None where the head was left out.

    Cameras map world to camera (OpenCV axes: x right, y down, z forward); the world's frame is the first camera's.
    Lengths have the unit of the training data, a scene's own scale.
    """

    pose_enc: Float[Array, "b s 9"] | None = None
    """Translation (3), quaternion x y z w (4), vertical and horizontal field of view in radians."""
    pose_enc_list: Float[Array, "iterations b s 9"] | None = None
    """The same after every iteration of the camera head; the last is ``pose_enc``."""
    depth: Float[Array, "b s h w 1"] | None = None
    """Distance along the camera's z axis, positive."""
    depth_conf: Float[Array, "b s h w"] | None = None
    """Confidence in the depth, above 1."""
    world_points: Float[Array, "b s h w 3"] | None = None
    """The pixels' points in the world's frame."""
    world_points_conf: Float[Array, "b s h w"] | None = None
    """Confidence in the points, above 1."""
    track: Float[Array, "b s n 2"] | None = None
    """Where the query points are in every frame, (x, y) in pixels."""
    track_list: Float[Array, "iterations b s n 2"] | None = None
    """The same after every iteration of the tracker."""
    vis: Float[Array, "b s n"] | None = None
    """Probability that the point is visible."""
    conf: Float[Array, "b s n"] | None = None
    """Confidence in the track, in (0, 1)."""


class TrackHead(nnx.Module):
    """The point tracker behind a dense head that extracts its features at half of the image's resolution."""

    def __init__(self, config: VGGTConfig, *, rngs: nnx.Rngs):
        self.feature_extractor = DenseHead(config, config.track.extractor, None, rngs=rngs)
        self.tracker = Tracker(config.track, dtype=config.head_dtype, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "4 b s t c2"], image_size: tuple[int, int], query_points: Float[Array, "b n 2"]
    ) -> tuple[Float[Array, "iterations b s n 2"], Float[Array, "b s n"], Float[Array, "b s n"]]:
        """Tracks after every iteration, (x, y) in pixels; visibility and confidence after the last."""
        return self.tracker(self.feature_extractor(tokens, image_size), query_points)


class VGGT(nnx.Module):
    """VGGT with the heads that ``config.heads`` names, randomly initialised; attribute names are the official ones.

    Example::

        graphdef, base = nnx.split(VGGT(VGGTConfig.nano(), rngs=nnx.Rngs(0)))    # adapters live beside the parameters
        predict = jax.jit(lambda base, images, deltas: nnx.merge(graphdef, base)(images, deltas=deltas))
        predictions = predict(base, images, {"aggregator.frame_blocks.attn.qkv": LowRank(A, B)})

    Prefer this to ``nnx.jit(model)``, which returns the parameters with every result and so holds them several times.
    """

    def __init__(self, config: VGGTConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.aggregator = Aggregator(config, rngs=rngs)
        self.camera_head = CameraHead(config, rngs=rngs) if "camera" in config.heads else None
        self.point_head = DenseHead(config, config.point, 4, rngs=rngs) if "point" in config.heads else None
        self.depth_head = DenseHead(config, config.depth, 2, rngs=rngs) if "depth" in config.heads else None
        self.track_head = TrackHead(config, rngs=rngs) if "track" in config.heads else None

    def __call__(
        self,
        images: Float[Array, "b s h w 3"],
        query_points: Float[Array, "b n 2"] | None = None,
        *,
        deltas: Deltas | None = None,
        patch_tokens: Float[Array, "b s p c"] | None = None,
    ) -> Predictions:
        """Predictions for ``b`` sequences of ``s`` frames.

        ``images`` hold RGB values in [0, 1]; their sides are multiples of the patch size. ``query_points`` are pixels
        (x, y) of the first frame to follow; without them the track head does not run. ``deltas`` maps paths of
        adaptable weights to low-rank updates. ``patch_tokens``, from ``aggregator.encode``, spare the encoder.

        Raises ValueError for images or points of another form, a model without heads, points without a track head, unknown
        paths and factors that do not fit.
        """
        check_images(images, self.config.patch_size)
        if not self.config.heads:
            raise InputError("this model has no heads that could say anything of images")
        if query_points is not None and self.track_head is None:
            raise InputError("query_points: this model has no track head")
        deltas = NO_DELTAS if deltas is None else deltas
        check(deltas, adaptable(self))
        size = (images.shape[2], images.shape[3])
        if patch_tokens is None:
            patch_tokens = self.aggregator.encode(images)
        patches = size[0] * size[1] // self.config.patch_size**2
        if patch_tokens.shape != (*images.shape[:2], patches, self.config.width):
            raise InputError(
                f"patch_tokens: needs the shape {(*images.shape[:2], patches, self.config.width)}, "
                f"got {patch_tokens.shape}"
            )
        with jax.named_scope("aggregator"):
            tokens = self.aggregator(patch_tokens, size, layers=self.config.layers, deltas=below(deltas, "aggregator"))
        return self.read(tokens, size, query_points, deltas=deltas)

    def read(
        self,
        tokens: Float[Array, "layers b s t c2"],
        size: tuple[int, int],
        query_points: Float[Array, "b n 2"] | None = None,
        *,
        deltas: Deltas = NO_DELTAS,
    ) -> Predictions:
        """What the heads make of the aggregator's outputs at ``config.layers``, for images of ``size`` (height, width)."""
        layers = self.config.layers

        def read(part: DenseHeadConfig) -> Array:
            return tokens if part.layers == layers else tokens[np.searchsorted(layers, part.layers)]

        found = {}
        if self.camera_head is not None:
            with jax.named_scope("camera_head"):
                found["pose_enc_list"] = self.camera_head(tokens[-1], below(deltas, "camera_head"))
            found["pose_enc"] = found["pose_enc_list"][-1]
        if self.depth_head is not None:
            with jax.named_scope("depth_head"):
                raw = self.depth_head(read(self.config.depth), size, below(deltas, "depth_head")).astype(jnp.float32)
            found["depth"], found["depth_conf"] = jnp.exp(raw[..., :1]), 1 + jnp.exp(raw[..., 1])
        if self.point_head is not None:
            with jax.named_scope("point_head"):
                raw = self.point_head(read(self.config.point), size).astype(jnp.float32)
            found["world_points"] = jnp.sign(raw[..., :3]) * jnp.expm1(jnp.abs(raw[..., :3]))
            found["world_points_conf"] = 1 + jnp.exp(raw[..., 3])
        if self.track_head is not None and query_points is not None:
            found["track_list"], found["vis"], found["conf"] = self.track_head(
                read(self.config.track.extractor), size, query_points
            )
            found["track"] = found["track_list"][-1]
        return Predictions(**found)


def check_images(images: Array, patch: int) -> None:
    """Raises ValueError unless ``images`` is (B, S, H, W, 3) with H and W positive multiples of ``patch``."""
    shape = images.shape
    if len(shape) != 5 or shape[-1] != 3:
        raise InputError(f"images: needs the shape (B, S, H, W, 3), got {shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images: needs floating-point values in [0, 1], got {images.dtype}")
    if 0 in shape or shape[2] % patch or shape[3] % patch:
        raise InputError(
            f"images: height and width must be multiples of the patch size {patch}, none of them 0, got {shape}"
        )
