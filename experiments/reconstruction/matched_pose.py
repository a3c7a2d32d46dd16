"""The pose between two views without the camera head: from matched tokens, predicted depth and predicted intrinsics.

What it reaches is what the tokens know about the pose; the camera head has to find the same through attention.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from subspace.errors import InputError

INLIER = 0.5
"""Tokens: residuals much larger than this hardly count."""
AGREEING = 0.2
"""Share of the matches' weight within an inlier's distance below which a solution is not believed. On 200 pairs of nano's rooms
it brought the mean error of the rotation from 14.6° to 8.5°; nearly all solutions below it were wrong, nearly none above."""
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
) -> tuple[Float[np.ndarray, "3 4"], float]:
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

    Returns:
        The pose, and the share of the matches' weight whose residuals are below ``inlier``.

    Raises:
        InputError: no match has a weight, or there is no start.
    """
    if not len(starts):
        raise InputError("solve_pose needs at least one start")
    if not np.any(weights > 0):
        raise InputError("solve_pose needs a match with a positive weight")
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1).astype(np.float64)
    first, second = (
        depth[:, None] * (homogeneous @ np.linalg.inv(matrix).T)
        for depth, matrix in zip(depths.astype(np.float64), intrinsics.astype(np.float64), strict=True)
    )
    scale = np.sqrt(weights.astype(np.float64))[..., None]

    def distances(pose: np.ndarray) -> np.ndarray:
        rotation, translation = Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:]
        found = np.stack(
            [
                _projected(first @ rotation.T + translation, intrinsics[1]),
                _projected((second - translation) @ rotation, intrinsics[0]),
            ]
        )
        return found - matched

    solutions = []
    for start in starts:
        pose = np.concatenate([Rotation.from_matrix(start[:, :3]).as_rotvec(), start[:, 3]])
        for loss in ("soft_l1", "cauchy"):
            solution = least_squares(
                lambda pose: (scale * distances(pose)).ravel(),
                pose,
                loss=loss,
                f_scale=inlier,
                max_nfev=50,
                x_scale="jac",
            )
            pose = solution.x
        solutions.append((solution.cost, pose))
    _, pose = min(solutions, key=lambda pair: pair[0])
    agree = np.linalg.norm(distances(pose), axis=-1) < inlier
    matrix = np.concatenate([Rotation.from_rotvec(pose[:3]).as_matrix(), pose[3:, None]], axis=1)
    return matrix, float(weights[agree].sum() / weights.sum())


def _projected(points: Float[np.ndarray, "p 3"], matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "p 2"]:
    rays = points @ matrix.T.astype(np.float64)
    return rays[:, :2] / np.maximum(rays[:, 2:], _NEAREST)


def solve_views(
    depths: Float[np.ndarray, "s h w"],
    matched: Float[np.ndarray, "n p 2"],
    weights: Float[np.ndarray, "n p"],
    intrinsics: Float[np.ndarray, "s 3 3"],
    extrinsics: Float[np.ndarray, "s 3 4"],
    patch: int,
) -> Float[np.ndarray, "s 3 4"]:
    """:func:`solve_pose` of every view against the first, from no turn and from what the camera head predicted.

    Args:
        depths: of S views, in one unit.
        matched: (column, row) of each token's match, for the N pairs of :func:`vggt_jax.matching.directed_pairs`.
        weights: of the matches; a view keeps its camera where there are none or fewer than :data:`AGREEING` agree.
        intrinsics: in pixels.
        extrinsics: predicted, world to camera; the first one is kept.
        patch: side of a token in pixels. A token's pixel is that at row and column ``patch // 2`` of its patch.

    Returns:
        World to camera, float64.
    """
    views, height, width = depths.shape
    columns, rows = np.meshgrid(np.arange(width // patch), np.arange(height // patch))
    pixels = patch * np.stack([columns, rows], axis=-1).reshape(-1, 2) + patch // 2
    at_tokens = depths[:, patch // 2 :: patch, patch // 2 :: patch].reshape(views, -1)
    found = np.broadcast_to(np.eye(4), (views, 4, 4)).copy()
    found[:, :3] = extrinsics
    world_to_first, first_to_world = found[0].copy(), np.linalg.inv(found[0])
    for view in range(1, views):
        both, pairs = [0, view], [view - 1, views - 2 + view]
        if not np.any(weights[pairs] > 0):
            continue
        solved = np.eye(4)
        solved[:3], agreeing = solve_pose(
            at_tokens[both],
            pixels,
            patch * matched[pairs] + patch // 2,
            weights[pairs],
            intrinsics[both],
            np.stack([np.eye(3, 4), (found[view] @ first_to_world)[:3]]),
            patch * INLIER,
        )
        if agreeing >= AGREEING:
            found[view] = solved @ world_to_first
    return found[:, :3]
