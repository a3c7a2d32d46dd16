"""A box on a floor with known cameras, rendered by exact ray casting at any pixel."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.reconstruction.framing import frame_photos
from experiments.reconstruction.scene import ReconstructedScene
from vggt_jax.preprocessing import load_images

HALF = np.array([0.8, 0.5, 0.6])
"""Half sides of the box, centred at the origin; y points down, the floor is at its foot."""
SKY_DEPTH = 20.0


class Camera(NamedTuple):
    """OpenCV camera of a photo; the centres of pixels are integers."""

    extrinsics: np.ndarray
    intrinsics: np.ndarray
    width: int
    height: int


def ring(sizes, radius=3.5):
    """One camera for each (width, height), in an arc around the box, from slightly above, with oblong pixels."""
    cameras = []
    for i, (width, height) in enumerate(sizes):
        angle = np.radians(-50 + 100 * i / max(len(sizes) - 1, 1))
        centre = radius * np.array([np.sin(angle), -0.45 - 0.1 * i, -np.cos(angle)])
        forward = -centre / np.linalg.norm(centre)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        extrinsics = np.concatenate([rotation, -rotation @ centre[:, None]], axis=1)
        focal = 1.1 * max(width, height)
        intrinsics = np.array([[focal, 0, 0.48 * width], [0, 1.07 * focal, 0.53 * height], [0, 0, 1]])
        cameras.append(Camera(extrinsics, intrinsics, width, height))
    return cameras


def render(extrinsics, intrinsics, width, height):
    """Colours (uint8), depth and confidence of every pixel."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(float)
    rotation, translation = extrinsics[:, :3], extrinsics[:, 3]
    direction = pixels @ np.linalg.inv(intrinsics).T @ rotation  # z = 1 in the camera: distances are depths
    origin = -rotation.T @ translation
    with np.errstate(divide="ignore"):
        slabs = np.sort(np.stack([(-HALF - origin) / direction, (HALF - origin) / direction]), axis=0)
        floor = (HALF[1] - origin[1]) / direction[..., 1]
    enter, leave = slabs[0].max(axis=-1), slabs[1].min(axis=-1)
    box = np.where((enter < leave) & (enter > 0), enter, np.inf)
    floor = np.where(floor > 0, floor, np.inf)
    depth = np.minimum(box, floor)
    depth = np.where(depth < SKY_DEPTH, depth, SKY_DEPTH)
    point = origin + depth[..., None] * direction
    wave = 0.5 + 0.4 * np.sin(7 * point + [0.0, 1.0, 2.0]) * np.cos(5 * point[..., [1, 2, 0]])
    face = np.argmax(slabs[0], axis=-1)
    tint = np.array([[0.9, 0.35, 0.2], [0.95, 0.85, 0.4], [0.2, 0.5, 0.9]])[face]
    colour = np.where((box <= floor)[..., None], tint * (0.4 + 0.6 * wave), 0.35 + 0.3 * wave[..., :1])
    colour = np.where((depth < SKY_DEPTH)[..., None], colour, [0.75, 0.85, 0.95])
    confidence = np.where(depth < SKY_DEPTH, 1 + 10 / depth, 1.0)
    return np.rint(255 * colour).astype(np.uint8), depth, confidence


def write_photos(folder: Path, cameras) -> list[Path]:
    paths = [folder / f"view {i}.png" for i in range(len(cameras))]
    for path, camera in zip(paths, cameras, strict=True):
        Image.fromarray(render(*camera)[0]).save(path)
    return paths


def make_scene(folder: Path, cameras, mode: str, size: int, patch: int) -> ReconstructedScene:
    """What a perfect model would make of the photos."""
    paths = write_photos(folder, cameras)
    framings = frame_photos([(camera.width, camera.height) for camera in cameras], mode, size, patch)
    pictures = np.rint(load_images(paths, mode, size, patch) * 255).astype(np.uint8)
    intrinsics = [
        np.linalg.inv(framing.to_photo) @ camera.intrinsics for framing, camera in zip(framings, cameras, strict=True)
    ]
    views = [
        render(camera.extrinsics, K, framing.width, framing.height)
        for camera, K, framing in zip(cameras, intrinsics, framings, strict=True)
    ]
    return ReconstructedScene(
        tuple(path.name for path in paths),
        tuple(framings),
        pictures,
        np.stack([depth for _, depth, _ in views]).astype(np.float32),
        np.stack([confidence for _, _, confidence in views]).astype(np.float32),
        np.stack([camera.extrinsics for camera in cameras]),
        np.stack(intrinsics),
    )
