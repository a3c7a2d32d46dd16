"""Which pixels show the part of a flat object that counts when a scene's task is evaluated."""

from __future__ import annotations

import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from experiments.data.passes import Passes
from experiments.scenes import schema
from experiments.scenes.support import rotation_of
from subspace.errors import InputError
from vggt_jax.pictures import MOST_BYTES, check_pixels
from vggt_jax.reading.regular import read_bytes


def mask_of(scene: schema.Scene) -> Callable[[int, Passes], Bool[np.ndarray, "h w"]] | None:
    """The mask of each view, given its passes, or None for a scene of which everything counts.

    Raises:
        InputError: the region's picture is not what the scene was made with, or no picture.
        OSError: it cannot be read.
    """
    region = scene.region
    if region is msgspec.UNSET:
        return None
    content = read_bytes(Path(region.picture), MOST_BYTES)
    if sha256(content).hexdigest() != region.sha256:
        raise InputError(f"{region.picture} is not the picture that the scene was made with")
    with Image.open(io.BytesIO(content)) as picture:
        check_pixels(*picture.size, len(content))
        counts = np.asarray(picture.convert("L")) > 127
    item = scene.objects[region.object]

    def mask(view: int, passes: Passes) -> Bool[np.ndarray, "h w"]:
        u, v = np.moveaxis(coordinates(scene.cameras, view, item), -1, 0)
        height, width = counts.shape
        within = (passes.object_id == region.object + 1) & (u >= 0) & (u < 1) & (v > 0) & (v <= 1)
        row = np.where(within, (1 - v) * height, 0).astype(int)
        column = np.where(within, u * width, 0).astype(int)
        return within & counts[row, column]

    return mask


def coordinates(cameras: schema.Cameras, view: int, item: schema.Object) -> Float[np.ndarray, "h w 2"]:
    """Where the rays through the pixels' centres meet a Rectangle's plane, as its UV coordinates; NaN where they do not."""
    seen = cameras.views[view]
    pose = np.reshape(seen.world_to_camera, (3, 4))
    column, row = np.meshgrid(np.arange(cameras.width) + 0.5, np.arange(cameras.height) + 0.5)
    rays = np.stack([(column - seen.cx) / seen.fx, (row - seen.cy) / seen.fy, np.ones_like(row)], axis=-1)
    turn = rotation_of(item).as_matrix()
    origin = (-pose[:, :3].T @ pose[:, 3] - np.asarray(item.location)) @ turn  # in the object's frame, as all below
    direction = rays @ pose[:, :3] @ turn
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = -origin[2] / direction[..., 2]
        place = (origin + np.where(depth > 0, depth, np.nan)[..., None] * direction)[..., :2]
    return place / np.asarray(item.size[:2]) + 0.5
