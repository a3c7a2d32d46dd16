"""One scene's metrics, from depth maps and cameras."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from threadpoolctl import threadpool_limits

from experiments.data.geometry import unproject
from experiments.evaluation.affine_depth import ScaleShift, depth_metrics, fit_scale_shift, spread
from experiments.evaluation.cloud import NEIGHBOURS, Cloud
from experiments.evaluation.point_metrics import PointMetrics, align, choose, compare
from experiments.evaluation.poses import PoseMetrics, pose_metrics
from experiments.evaluation.similarity import Similarity
from subspace.errors import InputError

EXACT = 50_000
"""Number of pixels up to which all points of a scene are looked up."""
QUERIES = 20_000
"""Number of points of each cloud that are drawn and looked up in a scene of more than :data:`EXACT` pixels."""
FEWEST = 3
"""Pixels that a view needs for metrics of its depth."""


class TooFewPixels(InputError):
    """There is too little to measure in a scene."""


@dataclass(frozen=True)
class Reconstruction:
    """Depth maps and cameras (OpenCV; the centre of the upper left pixel is (0, 0)) of S views."""

    depths: Float[np.ndarray, "s h w"]
    """z in the camera."""
    extrinsics: Float[np.ndarray, "s 3 4"]
    """World to camera, whatever the world and its unit."""
    intrinsics: Float[np.ndarray, "s 3 3"]
    """In pixels of the depth maps."""
    known: Bool[np.ndarray, "s h w"] | None = None
    """Pixels that have a depth; None for all. Others have the depth 0."""

    @property
    def points(self) -> Float[np.ndarray, "s h w 3"]:
        """Every pixel's point in the world, float64."""
        return unproject(self.depths, self.extrinsics, self.intrinsics)

    def camera_points(self, view: int, pixels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
        """Points of some pixels, numbered row by row, in their camera's frame, float64."""
        row, column = np.divmod(pixels, self.depths.shape[2])
        rays = np.stack([column, row, np.ones_like(row)], axis=1) @ np.linalg.inv(self.intrinsics[view].astype(float)).T
        return rays * self.depths[view].ravel()[pixels, None]


@dataclass(frozen=True)
class SceneMetrics:
    """A scene's figures; lengths in the truth's unit. Depth errors are means over views.

    What needs the true cameras' poses is NaN where they are not known.
    """

    points: PointMetrics
    """Distances and normals between the two clouds."""
    abs_rel: float
    """AbsRel after MoGe's alignment of each view."""
    delta: float
    """Share of depths within a factor of 1.25 after MoGe's alignment of each view."""
    abs_rel_optimal: float
    """AbsRel after the best alignment that there is by the same loss."""
    delta_optimal: float
    """Share of depths within a factor of 1.25 after the best alignment that there is by the same loss."""
    pixels: int
    """Number of pixels in the mask with a prediction, over all views."""
    queries: int
    """Number of points of each cloud that were looked up: all of the pixels, or a sample."""
    scale: float
    """Scale of the alignment: the prediction's unit in the truth's."""
    icp_fitness: float
    """Share of points within ICP's threshold of the truth."""
    icp_iterations: int
    """Iterations that ICP took."""
    icp_converged: bool
    """Whether ICP stopped by itself."""
    missing: int
    """Number of pixels in the mask that were left out, over all views, as there is no prediction of them."""
    relief: float
    """Standard deviation of the predicted depth over the pixels in units of its mean: 0 where it is the same everywhere."""
    poses: PoseMetrics
    """How well the cameras were found."""

    def row(self) -> dict[str, float | int | bool]:
        """All figures by name, in their order."""
        everything = asdict(self)
        points, poses = everything.pop("points"), everything.pop("poses")
        return {**points, **everything, **poses}


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A scene's metrics with what there is to see."""

    metrics: SceneMetrics
    """Figures of the scene."""
    predicted: Reconstruction
    """Depth maps and cameras as they were predicted."""
    truth: Reconstruction
    """True depth maps and cameras."""
    mask: Bool[np.ndarray, "s h w"]
    """Pixels that count and have a prediction."""
    alignment: Similarity | None
    """Similarity from the prediction onto the truth; None where only depth was measured."""

    @property
    def aligned(self) -> Float[np.ndarray, "s h w 3"]:
        """Every pixel's predicted point in the truth's world, as it lies if there is no alignment."""
        return self.predicted.points if self.alignment is None else self.alignment(self.predicted.points)


def evaluate_scene(
    predicted: Reconstruction,
    truth: Reconstruction,
    mask: Bool[np.ndarray, "s h w"],
    exact: bool = False,
    seed: int = 0,
    views: Sequence[int] | None = None,
) -> Evaluated:
    """Align and measure the pixels of ``mask`` that have a prediction, nothing else.

    Args:
        predicted: in any world and unit.
        truth: of the same views.
        mask: pixels with a true depth.
        exact: look up all points, however many. Otherwise scenes of more than :data:`EXACT` pixels are sampled: ICP and
            the point metrics ask for the neighbours of :data:`QUERIES` points of each cloud (all points are there to be
            found), which gives mean distances a standard error of below 1 %; the same pixels are drawn for all models.
        seed: of that draw.
        views: what errors call the views; their places by default.

    Raises:
        TooFewPixels: fewer than 30 to measure.
        InputError: shapes that differ, a depth in the mask that is no positive number, or points that determine no alignment.
    """
    mask, pixels, missing = _count(predicted, truth, mask, views)
    rng = np.random.default_rng(seed)
    most = None if exact or pixels <= EXACT else QUERIES
    from_predicted, from_truth = (choose(pixels, most, rng) for _ in range(2))
    # BLAS's own threads gain nothing on three columns, and wait busily on the cores that ours need.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor() as threads:
        cloud, true_cloud = threads.map(lambda of: Cloud(of.points[mask]), (predicted, truth))
        similarity, registration = align(cloud, true_cloud, from_predicted)
        point_metrics = compare(cloud.place(similarity), true_cloud, from_predicted, from_truth)
        depth_errors = _depth_errors(predicted, truth, mask)
    return Evaluated(
        SceneMetrics(
            points=point_metrics,
            abs_rel=depth_errors[0],
            delta=depth_errors[1],
            abs_rel_optimal=depth_errors[2],
            delta_optimal=depth_errors[3],
            pixels=pixels,
            queries=len(from_predicted),
            scale=similarity.scale,
            icp_fitness=registration.fitness,
            icp_iterations=registration.iterations,
            icp_converged=registration.converged,
            missing=missing,
            relief=_relief(predicted, mask),
            poses=pose_metrics(predicted.extrinsics, truth.extrinsics),
        ),
        predicted,
        truth,
        mask,
        similarity,
    )


def evaluate_depth(
    predicted: Reconstruction,
    truth: Reconstruction,
    mask: Bool[np.ndarray, "s h w"],
    views: Sequence[int] | None = None,
) -> Evaluated:
    """Measure the depth of each view alone, for scenes of which it is not known where the cameras stood.

    Args:
        predicted: in any unit; the poses of its cameras do not count.
        truth: of the same views, likewise.
        mask: pixels with a true depth.
        views: what errors call the views; their places by default.

    Raises:
        InputError: as :func:`evaluate_scene`.
    """
    mask, pixels, missing = _count(predicted, truth, mask, views)
    abs_rel, delta, abs_rel_optimal, delta_optimal = _depth_errors(predicted, truth, mask)
    unknown = float("nan")
    metrics = SceneMetrics(
        points=PointMetrics(unknown, unknown, unknown, unknown, unknown, unknown),
        abs_rel=abs_rel,
        delta=delta,
        abs_rel_optimal=abs_rel_optimal,
        delta_optimal=delta_optimal,
        pixels=pixels,
        queries=0,
        scale=unknown,
        icp_fitness=unknown,
        icp_iterations=0,
        icp_converged=True,
        missing=missing,
        relief=_relief(predicted, mask),
        poses=PoseMetrics.unknown(),
    )
    return Evaluated(metrics, predicted, truth, mask, None)


def _relief(predicted: Reconstruction, mask: Bool[np.ndarray, "s h w"]) -> float:
    depths = predicted.depths[mask].astype(float)
    return float(depths.std() / depths.mean())


def align_depth(
    predicted: Reconstruction, truth: Reconstruction, mask: Bool[np.ndarray, "s h w"], view: int
) -> tuple[ScaleShift, ScaleShift]:
    """Of one view's points onto the true ones, in the camera's frame: MoGe's alignment, and the best there is.

    Raises:
        InputError: as :func:`experiments.evaluation.affine_depth.fit_scale_shift`.
    """
    some = spread(np.flatnonzero(mask[view]))
    return fit_scale_shift(predicted.camera_points(view, some), truth.camera_points(view, some))


def _count(
    predicted: Reconstruction,
    truth: Reconstruction,
    mask: Bool[np.ndarray, "s h w"],
    views: Sequence[int] | None,
) -> tuple[Bool[np.ndarray, "s h w"], int, int]:
    """The pixels that are measured, their number, and that of those without a prediction; InputError if they cannot be."""
    shapes = {predicted.depths.shape, truth.depths.shape, mask.shape}
    if len(shapes) != 1:
        raise InputError(f"prediction, truth and mask must be of the same views, got {sorted(shapes)}")
    asked = int(mask.sum())
    if predicted.known is not None:
        mask = mask & predicted.known
    pixels = int(mask.sum())
    if pixels < NEIGHBOURS:
        without = f" ({asked - pixels} have no prediction)" if pixels < asked else ""
        raise TooFewPixels(f"only {pixels} pixels to evaluate{without}, {NEIGHBOURS} are needed")
    for name, of in (("predicted", predicted), ("true", truth)):
        wrong = mask & ~((of.depths > 0) & np.isfinite(of.depths))
        if wrong.any():
            view = int(wrong.any(axis=(1, 2)).argmax())
            raise InputError(
                f"view {view if views is None else views[view]}: {np.count_nonzero(wrong[view])} {name} depth(s) in the mask "
                f"are no positive numbers, such as {of.depths[view][wrong[view]][0]}"
            )
    return mask, pixels, asked - pixels


def _depth_errors(predicted: Reconstruction, truth: Reconstruction, mask: Bool[np.ndarray, "s h w"]) -> list[float]:
    """AbsRel and δ after MoGe's alignment, and after the best one; means over the views that show something."""

    def errors(view: int) -> list[float]:
        pixels = np.flatnonzero(mask[view])
        found = []
        for fit in align_depth(predicted, truth, mask, view):
            aligned, true = fit.scale * predicted.depths[view].ravel() + fit.shift[2], truth.depths[view].ravel()
            metrics = depth_metrics(aligned[pixels], true[pixels])
            found += [metrics.abs_rel, metrics.delta]
        return found

    shown = [view for view in range(len(mask)) if np.count_nonzero(mask[view]) >= FEWEST]
    if not shown:
        raise InputError(f"no view shows {FEWEST} pixels to evaluate")
    with (
        ThreadPoolExecutor() as threads
    ):  # sorting, which takes most of the time, runs outside of the interpreter's lock
        return np.mean(list(threads.map(errors, shown)), axis=0).tolist()
