"""VGGT on photos: from the model's input to a scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from experiments.reconstruction.framing import PhotoFraming
from experiments.reconstruction.matched_pose import solve_views
from experiments.reconstruction.photos import Photo
from experiments.reconstruction.scene import ReconstructedScene
from subspace.errors import InputError
from vggt_jax import VGGT
from vggt_jax.matching import Matcher, directed_pairs
from vggt_jax.pixels import from_corner
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.preprocessing import load_images_and_masks

Forward = Callable[[nnx.State, Float[Array, "1 views height width 3"]], tuple[Array, ...]]


@dataclass(frozen=True)
class ModelOutputs:
    """What the model says, in float32."""

    pose_encodings: Float[np.ndarray, "views 9"]
    """Translation, quaternion and fields of view, see :mod:`vggt_jax.pose_encoding`."""
    depth: Float[np.ndarray, "views height width"]
    """z in the camera."""
    confidence: Float[np.ndarray, "views height width"]
    """Confidence of the depths; larger is surer."""
    matched: Float[np.ndarray, "pairs tokens 2"] | None = None
    """Where a matcher finds each token of one view in another, see :class:`vggt_jax.matching.Matcher`."""
    probability: Float[np.ndarray, "pairs tokens"] | None = None
    """Probability of each match."""


@dataclass(frozen=True)
class Compiled:
    """A model compiled for one number of views and one size of pictures."""

    run: Forward
    """The compiled program."""
    params: nnx.State
    """Parameters of the model."""

    def __call__(self, images: Float[np.ndarray, "views height width 3"]) -> ModelOutputs:
        pose, depth, confidence, *matches = (np.asarray(x[0]) for x in self.run(self.params, jnp.asarray(images)[None]))
        return ModelOutputs(pose, depth[..., 0], confidence, *matches)


def load_photos(
    photos: Sequence[Photo], mode: str, size: int, patch_size: int
) -> tuple[Float[np.ndarray, "photos height width 3"], Bool[np.ndarray, "photos height width"]]:
    """The photos as the model's input, upright, and where it shows their opaque pixels.

    See :func:`vggt_jax.preprocessing.load_images_and_masks`.

    Raises:
        InputError: a file that cannot be decoded, or a photo so narrow that nothing would be left of it.
    """
    return load_images_and_masks((photo.path for photo in photos), mode, size, patch_size, upright=True)


def compile_forward(model: VGGT, shape: tuple[int, int, int, int], matcher: Matcher | None = None) -> Compiled:
    """Compile camera and depth head, and the matcher, for float32 images of the given shape (views, height, width, 3)."""
    graphdef, params = nnx.split(model)
    size, patch_size, first_patch = shape[1:3], model.config.patch_size, model.config.patch_start
    grid = (size[0] // patch_size, size[1] // patch_size)

    def forward(params: nnx.State, images: Array) -> tuple[Array, ...]:
        model = nnx.merge(graphdef, params)
        tokens = model.aggregator(model.aggregator.encode(images), size, layers=model.config.layers)
        predictions = model.read(tokens, size)
        found = (predictions.pose_enc, predictions.depth, predictions.depth_conf)
        matches = () if matcher is None else matcher(tokens[..., first_patch:, :], grid)
        return (*(array for array in found if array is not None), *matches)

    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Compiled(jax.jit(forward).lower(params, images).compile(), params)


def scene_of(
    names: Sequence[str],
    framings: Sequence[PhotoFraming],
    images: Float[np.ndarray, "views height width 3"],
    outputs: ModelOutputs,
    opaque: Bool[np.ndarray, "views height width"] | None = None,
) -> ReconstructedScene:
    """The scene that the model's predictions describe; ``opaque`` says which pixels of the photos are not transparent.

    Raises:
        InputError: predictions that are not finite, or a field of view that no pinhole camera has.
    """
    pose_encodings, depth, confidence = outputs.pose_encodings, outputs.depth, outputs.confidence
    for name, *arrays in zip(names, pose_encodings, depth, confidence, strict=True):
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"{name}: the model's predictions are not finite; are these weights trained?")
    for name, degrees in zip(names, np.degrees(pose_encodings[:, 7:]), strict=True):
        if (degrees <= 0).any() or (degrees >= 180).any():
            raise InputError(
                f"{name}: the model says that it sees {degrees[1]:.0f} by {degrees[0]:.0f} degrees, "
                "which no pinhole camera does; are these weights trained?"
            )
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        cameras = decode_pose(jnp.asarray(pose_encodings, jnp.float64), images.shape[1:3])
    extrinsics, intrinsics = (np.asarray(array) for array in cameras)
    intrinsics = from_corner(intrinsics)
    pictures = np.rint(images * 255).astype(np.uint8)
    return ReconstructedScene(
        tuple(names), tuple(framings), pictures, depth, confidence, extrinsics, intrinsics, opaque
    )


def refined(scene: ReconstructedScene, outputs: ModelOutputs, patch_size: int) -> ReconstructedScene:
    """The scene with the cameras that explain the token matches best, :func:`solve_views`; the first one stays.

    Raises InputError if ``outputs`` come without matches.
    """
    if outputs.matched is None or outputs.probability is None:
        raise InputError("refined needs the outputs of a model with a matcher")
    is_photo = scene.is_photo[:, patch_size // 2 :: patch_size, patch_size // 2 :: patch_size]
    sources, _ = directed_pairs(len(scene.names))
    weights = outputs.probability * is_photo.reshape(len(is_photo), -1)[list(sources)]
    extrinsics = solve_views(scene.depth, outputs.matched, weights, scene.intrinsics, scene.extrinsics, patch_size)
    return replace(scene, extrinsics=extrinsics)
