"""A reconstruction as a COLMAP model: what its files hold, and in :mod:`.colmap_files` how they are written.

COLMAP counts pixels from a photo's corner, see :mod:`vggt_jax.pixels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from experiments.reconstruction.scene import PointCloud, ReconstructedScene
from experiments.reconstruction.settings import CameraType
from subspace.errors import InputError
from vggt_jax.pixels import CORNER, to_corner


@dataclass(frozen=True)
class ColmapModel:
    """Cameras, images and points, numbered from 1 in the files and from 0 here."""

    type: CameraType
    """COLMAP's type of all cameras."""
    sizes: Int[np.ndarray, "cameras 2"]
    """Width and height of the cameras' photos in pixels."""
    parameters: Float[np.ndarray, "cameras parameters"]
    """In the order that COLMAP gives them for this type."""
    names: tuple[str, ...]
    """File name of each image."""
    cameras: Int[np.ndarray, " images"]
    """The camera of each image."""
    quaternions: Float[np.ndarray, "images 4"]
    """World to camera, w first."""
    translations: Float[np.ndarray, "images 3"]
    """World to camera."""
    positions: Float[np.ndarray, "points 3"]
    """In the world's frame, ordered by the image of their only observation."""
    colours: UInt8[np.ndarray, "points 3"]
    """RGB."""
    observed: Float[np.ndarray, "points 2"]
    """(x, y) where its image shows a point."""
    images: Int[np.ndarray, " points"]
    """The image that shows a point."""

    @property
    def first_points(self) -> Int[np.ndarray, " images+1"]:
        """The first point of each image, and the number of points."""
        return np.searchsorted(self.images, np.arange(len(self.names) + 1))


def colmap_model(
    scene: ReconstructedScene,
    cloud: PointCloud,
    names: Sequence[str],
    camera: CameraType = "PINHOLE",
    *,
    shared: bool = False,
) -> ColmapModel:
    """The scene's cameras in pixels of the upright photos, and the points of ``cloud``.

    Every point is observed once, on the pixel that it comes from. Where cameras get other focal lengths than the scene's,
    points are moved so that they stay on their pixels.

    Args:
        scene: the cameras.
        cloud: the points.
        names: file name of each photo.
        camera: of which type the cameras are. Types with one focal length get the geometric mean of both; the distortion
            of SIMPLE_RADIAL is 0.
        shared: one camera for all photos, with the median of their parameters.

    Raises InputError for a shared camera of photos that differ in size.
    """
    sizes = np.array([(framing.photo_width, framing.photo_height) for framing in scene.framings])
    intrinsics = scene.photo_intrinsics
    if camera != "PINHOLE":
        focal = np.sqrt(intrinsics[:, 0, 0] * intrinsics[:, 1, 1])
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    if shared:
        check_one_size(sizes.tolist(), scene.names)
        intrinsics[:] = np.median(intrinsics, axis=0)
    if shared or camera != "PINHOLE":
        to_model = np.linalg.inv(np.stack([framing.to_photo for framing in scene.framings]))
        same_pixels = replace(scene, intrinsics=to_model @ intrinsics)
        cloud = replace(cloud, positions=same_pixels.points[tuple(cloud.pixels.T)])
    K = to_corner(intrinsics)
    focal, middle = K[:, [0, 1], [0, 1]], K[:, :2, 2]
    zero = np.zeros((len(K), 1))
    parameters = {
        "PINHOLE": [focal, middle],
        "SIMPLE_PINHOLE": [focal[:, :1], middle],
        "SIMPLE_RADIAL": [focal[:, :1], middle, zero],
    }[camera]
    each = np.zeros(len(names), int) if shared else np.arange(len(names))
    kept = slice(0, 1) if shared else slice(None)
    return ColmapModel(
        type=camera,
        sizes=sizes[kept],
        parameters=np.concatenate(parameters, axis=1)[kept],
        names=tuple(names),
        cameras=each,
        quaternions=Rotation.from_matrix(scene.extrinsics[:, :, :3]).as_quat(canonical=True, scalar_first=True),
        translations=scene.extrinsics[:, :, 3],
        positions=cloud.positions,
        colours=cloud.colours,
        observed=_photo_pixels(scene, cloud),
        images=cloud.pixels[:, 0],
    )


def _photo_pixels(scene: ReconstructedScene, cloud: PointCloud) -> Float[np.ndarray, "points 2"]:
    """(x, y) of the points' pixels in the photos, counted from the corner."""
    view, row, column = cloud.pixels.T
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(np.float64)
    to_photo = np.stack([framing.to_photo for framing in scene.framings])
    return np.einsum("pij,pj->pi", to_photo[view, :2], pixels) + CORNER


def check_one_size(sizes: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """InputError unless all upright photos have the same (width, height), as one camera for all of them needs it."""
    for size, name in zip(sizes, names, strict=True):
        if tuple(size) != tuple(sizes[0]):
            raise InputError(
                f"shared_camera needs photos of one size: {names[0]} has {sizes[0][0]}×{sizes[0][1]} pixels when held "
                f"upright, {name} {size[0]}×{size[1]}",
                argument="shared_camera",
            )
