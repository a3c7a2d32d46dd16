"""The pose between two views without the camera head: from matched tokens, predicted depth and predicted intrinsics.

What it reaches is what the tokens know about the pose; the camera head has to find the same through attention.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

INLIER = 0.5
"""Tokens: residuals much larger than this hardly count."""
_NEAREST = 1e-3
"""Depth in units of the scene's; what is nearer or behind the camera is put there."""


def solve_pose(
    depths: Float[np.ndarray, "2 p"],
    pixels: Float[np.ndarray, "p 2"],
    matched: Float[np.ndarray, "2 p 2"],
    weights: Float[np.ndarray, "2 p"],
    intrinsics: Float[np.ndarray, "2 3 3"],
    starts: Float[np.ndarray, "n 3 4"],
    inlier: float,
) -> Float[np.ndarray, "3 4"]:
    """The second camera seen from the first (OpenCV, in the unit of ``depths``) that explains the matches best.

    Every token's point, from its own view's depth, is projected into the other view and compared with the token's match
    there; the sum of weighted robust distances is minimised from each start, first with the soft L1 loss, which finds
    its way from afar, then with Cauchy's, which forgets outliers; the lowest Cauchy cost wins.

    Args:
        depths: of the tokens of each view, z in the camera.
        pixels: (x, y) of the tokens, the same in both views.
        matched: (x, y) in the other view of each token of the first view, then of the second.
        weights: of the matches, not negative.
        intrinsics: of both views.
        starts: rotations and translations to begin with, at least one.
        inlier: residual in pixels beyond which a match counts less and less.

    Raises:
        ValueError: no match has a weight, or there is no start.
    """
    if not len(starts):
        raise ValueError("solve_pose needs at least one start")
    if not np.any(weights > 0):
        raise ValueError("solve_pose needs a match with a positive weight")
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1).astype(np.float64)
    first, second = (
        depth[:, None] * (homogeneous @ np.linalg.inv(matrix).T)
        for depth, matrix in zip(depths.astype(np.float64), intrinsics.astype(np.float64), strict=True)
    )
    scale = np.sqrt(weights.astype(np.float64))[..., None]

    def residuals(pose: np.ndarray) -> np.ndarray:
        rotation, translation = Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:]
        found = np.stack(
            [
                _projected(first @ rotation.T + translation, intrinsics[1]),
                _projected((second - translation) @ rotation, intrinsics[0]),
            ]
        )
        return (scale * (found - matched)).ravel()

    solutions = []
    for start in starts:
        pose = np.concatenate([Rotation.from_matrix(start[:, :3]).as_rotvec(), start[:, 3]])
        for loss in ("soft_l1", "cauchy"):
            solution = least_squares(residuals, pose, loss=loss, f_scale=inlier, max_nfev=50, x_scale="jac")
            pose = solution.x
        solutions.append((solution.cost, pose))
    _, pose = min(solutions, key=lambda pair: pair[0])
    return np.concatenate([Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:, None]], axis=1)


def _projected(points: Float[np.ndarray, "p 3"], matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "p 2"]:
    rays = points @ matrix.T.astype(np.float64)
    return rays[:, :2] / np.maximum(rays[:, 2:], _NEAREST)


def solve_pairs(
    depths: Float[np.ndarray, "n 2 h w"],
    matched: Float[np.ndarray, "n 2 p 2"],
    weights: Float[np.ndarray, "n 2 p"],
    intrinsics: Float[np.ndarray, "n 2 3 3"],
    extrinsics: Float[np.ndarray, "n 2 3 4"],
    patch: int,
) -> Float[np.ndarray, "n 2 3 4"]:
    """:func:`solve_pose` for N pairs of views, from no turn and from the pose that a camera head predicted.

    Args:
        depths: predicted.
        matched: (column, row) in tokens of the other view where each token of the first view and of the second lies.
        weights: of the matches.
        intrinsics: predicted.
        extrinsics: predicted; the first camera is the world.
        patch: side of a token in pixels.

    Returns:
        Extrinsics whose first camera is the world.
    """
    height, width = depths.shape[-2:]
    columns, rows = np.meshgrid(np.arange(width // patch), np.arange(height // patch))
    pixels = patch * np.stack([columns, rows], axis=-1).reshape(-1, 2) + patch // 2
    at_tokens = depths[..., patch // 2 :: patch, patch // 2 :: patch].reshape(*depths.shape[:2], -1)
    still = np.eye(3, 4)
    found = np.broadcast_to(still, extrinsics.shape).copy()
    for i, guess in enumerate(extrinsics[:, 1]):
        found[i, 1] = solve_pose(
            at_tokens[i],
            pixels,
            patch * matched[i] + patch // 2,
            weights[i],
            intrinsics[i],
            np.stack([still, guess]),
            patch * INLIER,
        )
    return found
