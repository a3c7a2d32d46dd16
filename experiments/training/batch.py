"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Bool, Float, UInt8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainingBatch:
    """B sequences of S views of one scene each; k adapters at once add a leading axis k to every array.

    Cameras are OpenCV's, world to camera. Lengths are in the data set's unit (metres) until
    :func:`experiments.training.normalization.normalize` makes the first camera the world's frame and the scene's mean
    distance the unit. Depths and points outside of ``point_masks`` may be anything, NaN included.
    """

    images: UInt8[Array, "b s h w 3"] | Float[Array, "b s h w 3"]
    """RGB, of 255 as it is stored, or in [0, 1]; in [0, 1] once the batch is normalised."""
    depths: Float[Array, "b s h w"]
    """z in the camera of each pixel."""
    point_masks: Bool[Array, "b s h w"]
    """Where depth and points are known."""
    extrinsics: Float[Array, "b s 3 4"]
    """World to camera."""
    intrinsics: Float[Array, "b s 3 3"]
    """In pixels of the images."""
    world_points: Float[Array, "b s h w 3"] | None = None
    """The point of each pixel in the world's frame; None for what follows from depths and cameras."""
    patch_tokens: Float[Array, "b s p c"] | None = None
    """The frozen encoder's tokens of ``images``; the model then does not encode them again."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.images.shape[-3], self.images.shape[-2]
