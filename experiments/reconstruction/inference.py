"""VGGT on photos: from the model's input to a scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from PIL import Image, ImageOps

from experiments.reconstruction.photos import UPRIGHT, Photo
from experiments.reconstruction.placement import Placement
from experiments.reconstruction.scene import Scene
from vggt_jax import VGGT
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.preprocessing import load_images

Forward = Callable[[nnx.State, Float[Array, "1 views height width 3"]], tuple[Array, ...]]


@dataclass(frozen=True)
class Compiled:
    """A model compiled for one number of views and one size of pictures."""

    run: Forward
    params: nnx.State

    def __call__(self, images: Float[np.ndarray, "views height width 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose encodings (views, 9), depths and confidences (both views, height, width), in float32."""
        pose, depth, confidence = self.run(self.params, jnp.asarray(images)[None])
        return np.asarray(pose[0]), np.asarray(depth[0, ..., 0]), np.asarray(confidence[0])


def load_photos(
    photos: Sequence[Photo], mode: str, size: int, patch_size: int, scratch: Path
) -> Float[np.ndarray, "photos height width 3"]:
    """The photos as the model's input; see :func:`vggt_jax.preprocessing.load_images`.

    The loader takes pixels as they are stored. Photos that their camera stored on the side are written upright into
    the folder ``scratch`` first, and removed afterwards.

    Raises:
        ValueError: a file that cannot be loaded, or a photo so narrow that nothing would be left of it.
    """
    upright = []
    for photo in photos:
        path = photo.path
        if photo.orientation != UPRIGHT:
            path = scratch / f"{len(upright)} {path.stem}.tif"
            with Image.open(photo.path) as image:
                ImageOps.exif_transpose(image).save(path)
        upright.append(path)
    try:
        return load_images(upright, mode, size, patch_size)
    finally:
        for photo, path in zip(photos, upright, strict=True):
            if path != photo.path:
                path.unlink()


def compile_forward(model: VGGT, shape: tuple[int, int, int, int]) -> Compiled:
    """Compile camera and depth head for float32 images of the given shape (views, height, width, 3)."""
    graphdef, params = nnx.split(model)

    def forward(params: nnx.State, images: Array) -> tuple[Array, ...]:
        predictions = nnx.merge(graphdef, params)(images)
        found = (predictions.pose_enc, predictions.depth, predictions.depth_conf)
        return tuple(array for array in found if array is not None)

    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Compiled(jax.jit(forward).lower(params, images).compile(), params)


def scene_of(
    names: Sequence[str],
    placements: Sequence[Placement],
    images: Float[np.ndarray, "views height width 3"],
    pose_encodings: Float[np.ndarray, "views 9"],
    depth: Float[np.ndarray, "views height width"],
    confidence: Float[np.ndarray, "views height width"],
) -> Scene:
    """The scene that the model's predictions describe.

    Raises:
        ValueError: predictions that are not finite, or a field of view that no pinhole camera has.
    """
    for name, *arrays in zip(names, pose_encodings, depth, confidence, strict=True):
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"{name}: the model's predictions are not finite; are these weights trained?")
    for name, degrees in zip(names, np.degrees(pose_encodings[:, 7:]), strict=True):
        if (degrees <= 0).any() or (degrees >= 180).any():
            raise ValueError(
                f"{name}: the model says that it sees {degrees[1]:.0f} by {degrees[0]:.0f} degrees, "
                "which no pinhole camera does; are these weights trained?"
            )
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        cameras = decode_pose(jnp.asarray(pose_encodings, jnp.float64), images.shape[1:3])
    extrinsics, intrinsics = (np.asarray(array) for array in cameras)
    pictures = np.rint(images * 255).astype(np.uint8)
    return Scene(tuple(names), tuple(placements), pictures, depth, confidence, extrinsics, intrinsics)
