"""A box on a floor, seen by known cameras, as other people's programs store what they record."""

import json

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from experiments.data.geometry import unproject
from tests.experiments.analytic_scene import HALF, SKY_DEPTH, render, ring

WIDTH, HEIGHT = 64, 48
GLASS, OPAQUE = 5, 70
"""Labels of ClearPose."""


def cameras(count):
    return ring([(WIDTH, HEIGHT)] * count)


def centred(camera):
    """Intrinsics of the square in the middle, whose first column is the picture's eighth."""
    return camera.intrinsics - np.array([[0, 0, (WIDTH - HEIGHT) // 2], [0, 0, 0], [0, 0, 0]])


def measure(extrinsics, intrinsics, width, height):
    """Colours and depth; the sky has none."""
    colour, depth, _ = render(extrinsics, intrinsics, width, height)
    return colour, np.where(depth < SKY_DEPTH, depth, 0)


def distance_to_surface(points):
    """Of points in the world (n, 3)."""
    box = np.abs((np.abs(points) - HALF).max(axis=-1))
    return np.minimum(box, np.abs(points[:, 1] - HALF[1]))


def camera_to_world(camera):
    rotation, translation = np.split(camera.extrinsics, [3], axis=1)
    return np.concatenate([rotation.T, -rotation.T @ translation], axis=1)


def labels(camera):
    """The box is of glass, half of the floor an opaque object."""
    depth = measure(*camera)[1]
    point = unproject(depth, camera.extrinsics, camera.intrinsics)
    box = (depth > 0) & (np.abs(point) < HALF + 1e-6).all(-1)
    return np.where(box, GLASS, np.where((point[..., 0] > 1) & (depth > 0), OPAQUE, 0))


def write_depth(path, depth):
    Image.fromarray(np.rint(1000 * depth).astype(np.uint16)).save(path)


def write_clearpose(folder, count, factor=1000):
    folder.mkdir(parents=True)
    metadata = {}
    for number, camera in enumerate(cameras(count)):
        colour, depth = measure(*camera)
        Image.fromarray(colour).save(folder / f"{number:06d}-color.png")
        Image.fromarray(np.rint(factor * depth).astype(np.uint16)).save(folder / f"{number:06d}-depth_true.png")
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(folder / f"{number:06d}-depth.png")
        Image.fromarray(labels(camera).astype(np.uint8)).save(folder / f"{number:06d}-label.png")
        metadata[f"{number:06d}"] = {
            "cls_indexes": np.array([[GLASS]], np.uint8),
            "center": np.zeros((1, 2)),
            "factor_depth": np.array([[factor]], np.uint16),
            "intrinsic_matrix": camera.intrinsics,
            "poses": np.zeros((3, 4, 1)),
            "rotation_translation_matrix": camera_to_world(camera),
        }
    savemat(folder / "metadata.mat", metadata)


def write_capture(folder, count, poses=True, suffix=".png"):
    """The plain layout."""
    for name in ("rgb", "depth", *(["poses"] if poses else [])):
        (folder / name).mkdir(parents=True)
    views = cameras(count)
    for number, camera in enumerate(views):
        colour, depth = measure(*camera)
        name = f"frame_{number:03d}"
        Image.fromarray(colour).save(folder / "rgb" / f"{name}.png")
        if suffix == ".png":
            write_depth(folder / "depth" / f"{name}.png", depth)
        elif suffix == ".npz":
            np.savez(folder / "depth" / f"{name}.npz", depth=depth.astype(np.float32))
        else:
            np.save(folder / "depth" / f"{name}.npy", depth)
        if poses:
            np.savetxt(folder / "poses" / f"{name}.txt", np.vstack([camera_to_world(camera), [0, 0, 0, 1]]))
    fx, fy, cx, cy = views[0].intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
    (folder / "intrinsics.json").write_text(json.dumps({"fx": fx, "fy": fy, "cx": cx, "cy": cy}))


def write_stray(folder, count):
    """Stray Scanner's, with its video unpacked; its depth maps have a quarter of the width."""
    for name in ("rgb", "depth", "confidence"):
        (folder / name).mkdir(parents=True)
    views, rows = cameras(count), ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for number, camera in enumerate(views):
        colour, depth = measure(*camera)
        Image.fromarray(colour).save(folder / "rgb" / f"{number:06d}.png")
        write_depth(folder / "depth" / f"{number:06d}.png", depth[2::4, 2::4])
        confidence = np.full((HEIGHT // 4, WIDTH // 4), 2, np.uint8)
        confidence[:, 8] = 0
        Image.fromarray(confidence).save(folder / "confidence" / f"{number:06d}.png")
        pose = camera_to_world(camera)
        values = [0.1 * number, *pose[:, 3], *Rotation.from_matrix(pose[:, :3]).as_quat()]
        rows.append(", ".join([repr(float(values[0])), f"{number:06d}", *(repr(float(value)) for value in values[1:])]))
    (folder / "odometry.csv").write_text("\n".join(rows) + "\n")
    np.savetxt(folder / "camera_matrix.csv", views[0].intrinsics, delimiter=",")
