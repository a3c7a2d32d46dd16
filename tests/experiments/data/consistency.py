"""Do the views of a scene agree? Depth, cameras and their conventions are right only if they do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float

from experiments.data.dataset import Views
from experiments.data.geometry import project, unproject

_SAME_SURFACE_COSINE = np.cos(np.radians(20))


@dataclass(frozen=True)
class Agreement:
    """Over all ordered pairs of views."""

    co_visible: int
    """Pixels of a view whose surface the other view sees too."""
    agreeing: int
    """Of these, pixels whose unprojected point has the other view's depth."""

    @property
    def share(self) -> float:
        """Of co-visible pixels; NaN where there are none."""
        return self.agreeing / self.co_visible if self.co_visible else float("nan")


def cross_view_agreement(views: Views, tolerance: float = 0.01) -> Agreement:
    """Unproject the depth of each view into all others and compare.

    A pixel is co-visible if its point falls between four pixels of the other view that show the same object with a normal
    less than 20° off: a criterion that does not look at depth. The other view's depth is interpolated as that of a plane,
    in 1/z, so that steep surfaces count too.

    Args:
        views: of one scene.
        tolerance: largest relative difference of depths.
    """
    points = unproject(views.depths, views.extrinsics, views.intrinsics)
    normals = np.einsum("sji,shwj->shwi", views.extrinsics[..., :3], views.normals.astype(np.float32))
    co_visible = agreeing = 0
    for source, target in permutations(range(len(views.images)), 2):
        pixels, depth = project(points[source], views.extrinsics[target], views.intrinsics[target])
        seen = views.valid[source] & np.isfinite(pixels).all(-1)
        seen[seen] = _inside(pixels[seen], views.depths.shape[1:])
        corner, weights = _neighbours(pixels[seen])
        rows, columns = corner[..., 1], corner[..., 0]
        same = (views.object_ids[target][rows, columns] == views.object_ids[source][seen][:, None]).all(-1)
        cosine = np.einsum("pki,pi->pk", normals[target][rows, columns], normals[source][seen])
        same &= (cosine > _SAME_SURFACE_COSINE).all(-1)
        inverse = (weights[same] / views.depths[target][rows, columns][same]).sum(-1)
        difference = np.abs(depth[seen][same] * inverse - 1)
        co_visible += difference.size
        agreeing += int((difference <= tolerance).sum())
    return Agreement(co_visible, agreeing)


def _inside(pixels: Float[np.ndarray, "p 2"], size: tuple[int, ...]) -> Bool[np.ndarray, " p"]:
    return np.all((pixels >= 0) & (pixels < np.array(size[::-1]) - 1), axis=-1)


def _neighbours(pixels: Float[np.ndarray, "p 2"]) -> tuple[np.ndarray, np.ndarray]:
    """The four pixels around each position (p, 4, 2), column first, and their bilinear weights (p, 4)."""
    low = np.floor(pixels).astype(int)
    offsets = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    fraction = (pixels - low)[:, None]
    weights = np.where(offsets == 1, fraction, 1 - fraction).prod(-1)
    return low[:, None] + offsets, weights
