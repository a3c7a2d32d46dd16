"""VGGT on photos: from the model's input to a scene."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from experiments.accelerators.double_precision import double_precision
from experiments.process.memory import in_gib, is_out_of_memory
from experiments.reconstruction.framing import PhotoFraming
from experiments.reconstruction.matched_pose import solve_views
from experiments.reconstruction.photos import Photo
from experiments.reconstruction.scene import ReconstructedScene
from experiments.training.sharding import Placement
from subspace.errors import InputError
from vggt_jax import VGGT, VGGTConfig
from vggt_jax.matching import Matcher, directed_pairs
from vggt_jax.parameters import abstract_model
from vggt_jax.pixels import from_corner
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.preprocessing import load_images_and_masks

_BYTES_A_VALUE = 7
"""Of a picture while it is made: float32, and three times 8 bits."""
_FIRST_WITH_BFLOAT16 = 8.0
"""Compute capability of NVIDIA's GPUs (Ampere)."""

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
    """Camera and depth head, and the matcher, compiled for one number of views and one size of pictures."""

    run: Forward
    """The compiled program."""
    shape: tuple[int, int, int, int]
    """Views, height, width and channels."""
    needed: int
    """Bytes that the program takes, the model's parameters included."""
    loaded: int = 0
    """Bytes of the model's parameters."""
    placement: Placement | None = None
    """Devices that share the work; None for one."""

    def __call__(self, model: VGGT, images: Float[np.ndarray, "views height width 3"]) -> ModelOutputs:
        """Run the program.

        Raises InputError if there is too little memory.
        """
        parameters, batch = nnx.state(model), images[None]
        try:
            if self.placement is None:
                found = self.run(parameters, jnp.asarray(batch))
            else:
                found = self.run(self.placement.frozen(parameters), self.placement.views(batch))
            pose, depth, confidence, *matches = (np.asarray(x[0]) for x in found)
        except Exception as error:
            if is_out_of_memory(error):
                raise _too_large(self.shape, self.needed, "which were not there when it ran") from error
            raise
        return ModelOutputs(pose, depth[..., 0], confidence, *matches)

    def check_fits(self, free: int | None) -> None:
        """Raises InputError if the program needs more than the model, which is loaded, and ``free`` bytes hold."""
        if free is not None and self.needed > self.loaded + free:
            raise _too_large(self.shape, self.needed, f"and {in_gib(self.loaded + free)} are there for them")


def check_photos_fit(framings: Sequence[PhotoFraming], free: int | None) -> None:
    """Raises InputError if the pictures that :func:`load_photos` makes need more than ``free`` bytes."""
    shape = (len(framings), framings[0].height, framings[0].width, 3)
    needed = prod(shape) * _BYTES_A_VALUE
    if free is not None and needed > free:
        raise _too_large(shape, needed, f"and {in_gib(free)} are free for the pictures alone")


def _too_large(shape: tuple[int, int, int, int], needed: int, why: str) -> InputError:
    views, height, width, _ = shape
    return InputError(
        f"out of memory: {views} view(s) of {width}×{height} pixels need {in_gib(needed)}, {why}; fewer photos or a smaller "
        "resolution need less, and so does the dtype bfloat16",
        argument="resolution",
    )


def load_photos(
    photos: Sequence[Photo], mode: str, size: int, patch_size: int
) -> tuple[Float[np.ndarray, "photos height width 3"], Bool[np.ndarray, "photos height width"]]:
    """The photos as the model's input, upright, and where it shows their opaque pixels.

    See :func:`vggt_jax.preprocessing.load_images_and_masks`.

    Raises:
        InputError: a file that cannot be decoded, or a photo so narrow that nothing would be left of it.
    """
    return load_images_and_masks((photo.path for photo in photos), mode, size, patch_size, upright=True)


def compile_forward(
    config: VGGTConfig,
    shape: tuple[int, int, int, int],
    matcher: Matcher | None = None,
    placement: Placement | None = None,
) -> Compiled:
    """Compile a model for float32 images of the given shape (views, height, width, 3); it needs no weights for that.

    With a ``placement`` its devices along ``data`` share the views, except where all views see each other, and those along
    ``model`` the large matrices.
    """
    graphdef, params = nnx.split(abstract_model(config))
    size, patch_size, first_patch = shape[1:3], config.patch_size, config.patch_start
    grid = (size[0] // patch_size, size[1] // patch_size)

    def forward(params: nnx.State, images: Array) -> tuple[Array, ...]:
        model = nnx.merge(graphdef, params)
        tokens = model.aggregator(model.aggregator.encode(images), size, layers=config.layers)
        predictions = model.read(tokens, size)
        found = (predictions.pose_enc, predictions.depth, predictions.depth_conf)
        matches = () if matcher is None else matcher(tokens[..., first_patch:, :], grid)
        return (*(array for array in found if array is not None), *matches)

    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    if placement is not None:
        with jax.set_mesh(placement.mesh):
            shapes = placement.shapes_of_frozen(params), placement.shape_of_views(images)
            everywhere = NamedSharding(placement.mesh, PartitionSpec())
            compiled = jax.jit(forward, out_shardings=everywhere).lower(*shapes).compile()
        return Compiled(compiled, shape, _needed(compiled), placement=placement)
    compiled = jax.jit(forward).lower(params, images).compile()
    loaded = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    return Compiled(compiled, shape, _needed(compiled), loaded)


def _needed(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program takes, its arguments included; 0 where the backend does not plan it."""
    plan = compiled.memory_analysis()
    if plan is None:
        return 0
    return plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes


def check_bfloat16(device: Any) -> None:
    """Raises InputError if ``device`` cannot compute in bfloat16, or only in float32 under that name."""
    number = re.match(r"\d+\.\d+$", str(getattr(device, "compute_capability", "")))  # AMD's are called gfx90a
    if device.platform == "cpu" or (number is not None and float(number[0]) < _FIRST_WITH_BFLOAT16):
        raise InputError(
            f"{device.device_kind} has no arithmetic in bfloat16; leave the dtype to the model", argument="dtype"
        )


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
    with double_precision():
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
