"""Depth maps and cameras to evaluate: of a model with or without an adapter, or stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, UInt8

from experiments.accelerators.double_precision import double_precision
from experiments.data.geometry import is_rotation
from experiments.evaluation.results import SceneKey
from experiments.evaluation.scene import Reconstruction
from experiments.models import read_base
from experiments.process.mesh_sizes import MeshSizes
from experiments.storage.files import reading
from experiments.training.sharding import Placement, make_mesh
from subspace.errors import InputError
from vggt_jax.adapters import load_adapter
from vggt_jax.deltas import Deltas
from vggt_jax.pose_encoding import decode_pose
from vggt_jax.reading.arrays import ArrayFile, read_arrays
from weights_convert import read_peft_deltas
from weights_convert.peft_base import check_base

_MOST_VIEWS = 100_000
"""Of a stored prediction."""
_NO_ROTATION = 1e-2
"""Largest error of a product of rows of a predicted rotation."""

Predictor = Callable[[SceneKey, Sequence[int], UInt8[np.ndarray, "s h w 3"]], Reconstruction]
"""A scene, the numbers of its views and their pictures → what is predicted of them."""


class Model:
    """A base model, with an adapter or without.

    Args:
        weights: what :func:`weights_convert.load_vggt` takes.
        adapter: a file of :func:`vggt_jax.adapters.save_adapter` or a PEFT folder; none by default.
        mesh: devices of all processes along ``data``, which shares scenes, and ``model``; by default ``data`` takes all.

    Raises:
        InputError: unusable weights, an adapter of another model, or a mesh that the devices do not allow.
        OSError: a file that cannot be read.
    """

    def __init__(self, weights: str, adapter: Path | None = None, mesh: MeshSizes | None = None) -> None:
        base = read_base(weights)
        graphdef, self.identity = base.graphdef, base.identity
        self._placement = Placement(_mesh_of_this_process(mesh))
        self.at_once: int = self._placement.mesh.shape["data"]
        """Scenes that are predicted at a time, each by its own devices."""
        self._parameters = self._placement.frozen(base.parameters)
        self.digest = base.weights
        """Twelve digits that tell the base's parameters from any others, those of its heads included."""
        self._deltas: Deltas = {}
        if adapter is not None and adapter.is_dir():
            self._deltas = read_peft_deltas(adapter, base.config)
            check_base(adapter, self.identity)
        elif adapter is not None:
            self._deltas = load_adapter(adapter, self.identity).deltas

        self._deltas = self._placement.frozen(self._deltas)

        def forward(
            parameters: nnx.State, deltas: Deltas, images: Float[Array, "b s h w 3"]
        ) -> tuple[Array | None, Array | None]:
            predictions = nnx.merge(graphdef, parameters)(images, deltas=deltas or None)
            return predictions.pose_enc, predictions.depth

        everywhere, by_scene = PartitionSpec(), PartitionSpec("data")
        self._forward = jax.jit(
            self._placement.on_each(forward, (everywhere, everywhere, by_scene), (by_scene, by_scene))
        )

    def check(self, resolution: int) -> None:
        """InputError if pictures of this width and height do not consist of whole patches."""
        patch = self.identity.config.patch_size
        if resolution % patch:
            raise InputError(
                f"pictures of {resolution} pixels do not consist of {self.identity.name}'s patches of {patch} pixels"
            )

    def __call__(self, images: UInt8[np.ndarray, "s h w 3"]) -> Reconstruction:
        """What the model makes of all views together; depths and cameras may not be finite."""
        return self.of_each([images])[0]

    def of_each(self, scenes: Sequence[UInt8[np.ndarray, "s h w 3"]]) -> list[Reconstruction]:
        """The same of up to :attr:`at_once` scenes, of equally many views of one size."""
        filled = np.stack([*scenes, *[scenes[-1]] * (self.at_once - len(scenes))])
        images = self._placement.sequences(filled.astype(np.float32) / 255) if self.at_once > 1 else _as_floats(filled)
        poses, depths = self._forward(self._parameters, self._deltas, images)
        assert poses is not None and depths is not None
        found = []
        for pose, depth, own in zip(np.asarray(poses), np.asarray(depths), scenes, strict=False):
            with double_precision():
                extrinsics, intrinsics = decode_pose(jnp.asarray(pose, jnp.float64), own.shape[1:3])
            found.append(Reconstruction(depth[..., 0], np.asarray(extrinsics), np.asarray(intrinsics)))
        return found


def _as_floats(images: UInt8[np.ndarray, "b s h w 3"]) -> Float[Array, "b s h w 3"]:
    return jnp.asarray(images, jnp.float32) / 255


def _mesh_of_this_process(wanted: MeshSizes | None) -> Mesh:
    """This process's devices, of those of all processes."""
    devices, processes = jax.local_devices(), jax.process_count()
    wanted = MeshSizes(data=len(devices) * processes) if wanted is None else wanted
    if wanted.devices != len(devices) * processes:
        raise InputError(
            f"mesh: {wanted} is for {wanted.devices} devices, and {len(devices) * processes} are there", argument="mesh"
        )
    if wanted.data % processes:
        raise InputError(
            f"mesh: the {processes} processes share the scenes: data must be a multiple of their number, got {wanted.data}",
            argument="mesh",
        )
    return make_mesh(data=wanted.data // processes, model=wanted.model, devices=devices)


class FromModel:
    """What a model makes of the pictures; :meth:`ahead` lets it have several scenes at a time."""

    def __init__(self, model: Model):
        self._model, self._known = model, {}
        self.at_once = model.at_once
        """Scenes that :meth:`ahead` takes."""

    def __call__(self, key: SceneKey, views: Sequence[int], images: UInt8[np.ndarray, "s h w 3"]) -> Reconstruction:
        return self._known.pop(key, None) or self._model(images)

    def ahead(self, scenes: Mapping[SceneKey, UInt8[np.ndarray, "s h w 3"]]) -> None:
        """Predict these scenes, which are asked for next."""
        self._known = dict(zip(scenes, self._model.of_each(list(scenes.values())), strict=True)) if scenes else {}


def from_model(model: Model) -> Predictor:
    """What the model makes of the pictures."""
    return FromModel(model)


def with_constant_depth(model: Model) -> Predictor:
    """The model's cameras, and for each pixel of a scene the median of the depth that it predicts there."""

    def predict(key: SceneKey, views: Sequence[int], images: UInt8[np.ndarray, "s h w 3"]) -> Reconstruction:
        predicted = model(images)
        return replace(predicted, depths=np.full_like(predicted.depths, np.median(predicted.depths)))

    return predict


def from_folder(folder: Path) -> Predictor:
    """What :func:`load_prediction` reads at :func:`prediction_file`."""
    return lambda key, views, images: load_prediction(prediction_file(folder, *key), views, images.shape[1:3])


def check_cameras(predicted: Reconstruction, has_poses: bool = True) -> None:
    """InputError if the cameras are none, as those of an untrained model can be; without poses, only the intrinsics count."""
    focal = predicted.intrinsics[:, [0, 1], [0, 1]]
    if not (np.isfinite(predicted.extrinsics).all() and np.isfinite(predicted.intrinsics).all() and (focal > 0).all()):
        raise InputError("the predicted cameras are no pinhole cameras; are these weights trained?")
    wrong = ~is_rotation(predicted.extrinsics[..., :3].astype(np.float64), _NO_ROTATION)
    if has_poses and wrong.any():
        raise InputError(f"extrinsics of predicted view {int(wrong.argmax())} (in the order of views) hold no rotation")


def prediction_file(folder: Path, dataset: str, scene: str) -> Path:
    """Where a scene's prediction is stored."""
    return folder / dataset / f"{scene}.npz"


def save_prediction(path: Path, predicted: Reconstruction, views: Sequence[int]) -> None:
    """Write ``depths`` (s, h, w), ``extrinsics`` (s, 3, 4), ``intrinsics`` (s, 3, 3) and ``views`` (s,)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        depths=predicted.depths,
        extrinsics=predicted.extrinsics,
        intrinsics=predicted.intrinsics,
        views=np.array(views),
    )


def load_prediction(path: Path, views: Sequence[int], size: tuple[int, int]) -> Reconstruction:
    """What :func:`save_prediction` wrote, by this program or another: depths that are NaN, infinite or 0 are no prediction.

    Raises:
        InputError: the file is damaged, lacks an array, is of other views or another size than ``views`` and ``size``, or has
            cameras that are not finite.
        OSError: it cannot be read.
    """
    with reading(path, "holds no prediction"), ArrayFile(path) as stored:
        shapes = {name: stored.shape(name) for name in ("views", "depths", "extrinsics", "intrinsics")}
        stored_views = stored.read("views") if prod(shapes["views"]) <= _MOST_VIEWS else np.empty(0)
    if stored_views.tolist() != list(views):
        these = ",".join(map(str, np.atleast_1d(stored_views).tolist()))
        raise InputError(
            f"{path} is of views {stored_views.tolist()}, not {list(views)}; views={these} evaluates them, where the "
            "scene has them"
        )
    expected = {"depths": (len(views), *size), "extrinsics": (len(views), 3, 4), "intrinsics": (len(views), 3, 3)}
    for name, shape in expected.items():  # before there is memory for them
        if shapes[name] != shape:
            raise InputError(f"{path}: {name} must have shape {shape}, got {shapes[name]}")
    depths, extrinsics, intrinsics = read_arrays(path, tuple(expected)).values()
    for name, array in (("depths", depths), ("extrinsics", extrinsics), ("intrinsics", intrinsics)):
        if array.dtype.kind == "b":
            raise InputError(f"{path}: {name} must be real numbers, got {array.dtype}")
    for name, array in (("extrinsics", extrinsics), ("intrinsics", intrinsics)):
        if not (finite := np.isfinite(array).all(axis=(1, 2))).all():
            raise InputError(f"{path}: {name} of view {views[int(finite.argmin())]} hold NaN or infinity")
    if not (lens := (intrinsics[:, [0, 1], [0, 1]] > 0).all(axis=1)).all():
        raise InputError(f"{path}: intrinsics of view {views[int(lens.argmin())]} have a focal length of 0 or less")
    known = np.isfinite(depths) & (depths != 0)
    return Reconstruction(np.where(known, depths, 0), extrinsics, intrinsics, known)
