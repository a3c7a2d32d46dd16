"""AbsRel and δ < 1.25 of a depth map under joint alignment in scale and 3-D translation.

Unprojected points p of a view are aligned with the true points g by scale s and translation t, which minimise the
weighted L1 distance Σᵢ wᵢ |s pᵢ + t − gᵢ|₁, wᵢ = 1/‖gᵢ‖. MoGe (Wang et al., CVPR 2025) searches among the solutions that
are exact in one point: every point a is tried as anchor, t = gₐ − s pₐ, and s follows by a weighted median. It is
not the minimum, which :func:`fit_scale_shift` finds as well.

Both rest on :class:`_Residuals`: for one s, sorting g − s p along each axis gives the loss of every anchor, and its
derivative by s, at once. Losses are convex in s, so tangents bound them from below, and all but a few anchors are ruled
out without their weighted median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import golden

from subspace.errors import InputError

ANCHORS = 64 * 64
"""Pixels of a view that the alignment is computed from, as in MoGe's evaluation; errors are taken on all."""
DELTA = 1.25
_EXACT = 32
"""Once no more anchors than this can win, each is solved."""
_ROUNDS = 200
"""After which all that can still win are solved, however many."""
_ROUNDING = 1e-12
"""Differences of losses, relative to the loss of the point 0 as prediction, that mean nothing."""


@dataclass(frozen=True)
class ScaleShift:
    """p ↦ scale · p + shift."""

    scale: float
    """Factor of the points."""
    shift: Float[np.ndarray, "3"]
    """Translation of the points."""
    loss: float
    """Σᵢ wᵢ |s pᵢ + t − gᵢ|₁."""

    def __call__(self, points: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points 3"]:
        return self.scale * points + self.shift


@dataclass(frozen=True)
class DepthMetrics:
    """Errors of one depth map."""

    abs_rel: float
    """Mean of |d − d'| / d' over pixels, d' the true depth."""
    delta: float
    """Share of pixels where max(d / d', d' / d) < 1.25; one with aligned depth ≤ 0 never is."""


def depth_metrics(predicted: Float[np.ndarray, " pixels"], truth: Float[np.ndarray, " pixels"]) -> DepthMetrics:
    """Errors of depths that are aligned.

    Raises:
        InputError: no pixels, or a true depth that is not positive.
    """
    if not truth.size or not (truth > 0).all():
        raise InputError("true depths must be positive, and one at least")
    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    inside = (predicted < DELTA * truth) & (truth < DELTA * predicted)
    return DepthMetrics(float(np.mean(np.abs(predicted - truth) / truth)), float(np.mean(inside)))


def spread(pixels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """At most :data:`ANCHORS` of some pixels, evenly spread over their list."""
    return pixels[np.linspace(0, len(pixels) - 1, min(ANCHORS, len(pixels))).astype(int)]


def fit_scale_shift(
    predicted: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"]
) -> tuple[ScaleShift, ScaleShift]:
    """MoGe's alignment, the best of those that are exact in one point, and the true minimum (scale to nine digits).

    Args:
        predicted: points in the camera's frame.
        truth: the true points, in the camera's frame; none at the origin.

    Raises:
        InputError: shapes differ, a value is not finite, a true point lies at the origin, or all predicted points coincide.
    """
    residuals = _Residuals(predicted, truth)
    anchored = _best_anchor(residuals)
    near = 0.1 * abs(anchored.scale) or 0.1
    # For one scale the best translation of each axis is a weighted median, hence one of the anchors' on that axis.
    bracket = (anchored.scale - near, anchored.scale + near)
    scale = np.asarray(golden(lambda scale: residuals.at(scale)[0].min(axis=1).sum(), brack=bracket, tol=1e-9)).item()
    losses, _ = residuals.at(scale)
    shift = (residuals.truth - scale * residuals.predicted)[range(3), losses.argmin(axis=1)]
    optimal = ScaleShift(scale, shift, float(losses.min(axis=1).sum()))
    return anchored, min(anchored, optimal, key=lambda fit: fit.loss)


def _best_anchor(residuals: _Residuals) -> ScaleShift:
    """The anchor with the smallest loss, by branch and bound over all of them."""
    scale = residuals.first_scale
    tangents = _Tangents(residuals)
    tangents.add(scale)
    for direction in (-1, 1):
        reach = 0.5 * scale
        # Convex in the scale, the minimum over all translations stays above what it is at the end of this range.
        while tangents.add(scale + direction * reach) <= tangents.best:
            reach *= 2
    alive = tangents.promising()
    for _ in range(_ROUNDS):
        if len(alive) <= _EXACT:
            break
        tangents.add(float(np.median(tangents.lowest()[0][alive])))
        alive = tangents.promising()
    return min(map(residuals.solve, {tangents.leader, *alive.tolist()}), key=lambda fit: fit.loss)


class _Residuals:
    """Weighted L1 distances, as functions of the scale, for translations that are exact in one of the points."""

    def __init__(self, predicted: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"]) -> None:
        if predicted.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != 3 or not len(truth):
            raise InputError(f"points must both have shape (n, 3), n > 0, got {predicted.shape} and {truth.shape}")
        self.predicted, self.truth = (np.array(x.T, np.float64, order="C") for x in (predicted, truth))
        distance = np.linalg.norm(self.truth, axis=0)
        if not (np.isfinite(self.predicted).all() and np.isfinite(distance).all()):
            raise InputError("points must be finite")
        if (distance == 0).any():
            raise InputError("a true point lies at the camera's centre")
        self.weights = 1 / distance
        spreads = [
            self.weights @ np.abs(x - np.median(x, axis=1, keepdims=True)).sum(axis=0)
            for x in (self.truth, self.predicted)
        ]
        if spreads[1] == 0:
            raise InputError("all predicted points coincide: no scale can be told from them")
        self.first_scale = float(spreads[0] / spreads[1]) or 1.0
        """Where to start looking; positive."""
        self.rounding = _ROUNDING * float(self.weights @ np.abs(self.truth).sum(axis=0))

    def at(self, scale: float) -> tuple[Float[np.ndarray, "3 n"], Float[np.ndarray, "3 n"]]:
        """Each axis's part of every anchor's loss at one scale, and a subgradient by the scale."""
        residual = self.truth - scale * self.predicted
        order = np.argsort(residual, axis=1)
        r, p = (np.take_along_axis(x, order, axis=1) for x in (residual, self.predicted))
        w = self.weights[order]
        # Σᵢ wᵢ sign(rₐ − rᵢ) xᵢ: what lies below the anchor counts positive, what lies above negative
        balance, balance_r, balance_p = (
            2 * np.cumsum(x, axis=1) - x.sum(axis=1, keepdims=True) for x in (w, w * r, w * p)
        )
        losses, slopes = np.empty_like(r), np.empty_like(r)
        np.put_along_axis(losses, order, r * balance - balance_r, axis=1)
        np.put_along_axis(slopes, order, balance_p - p * balance, axis=1)
        return losses, slopes

    def solve(self, anchor: int) -> ScaleShift:
        """The best scale of one anchor: the weighted median of the ratios of coordinates, seen from it."""
        x, y = ((points - points[:, [anchor]]).ravel() for points in (self.predicted, self.truth))
        weights = np.tile(self.weights, 3)
        told = x != 0
        ratio, share = y[told] / x[told], (weights * np.abs(x))[told]
        order = np.argsort(ratio)
        share = np.cumsum(share[order])
        scale = float(ratio[order][np.searchsorted(share, share[-1] / 2)])
        shift = self.truth[:, anchor] - scale * self.predicted[:, anchor]
        return ScaleShift(scale, shift, float(weights @ np.abs(scale * x - y)))


class _Tangent(NamedTuple):
    """A tangent to the loss of each anchor."""

    scale: Float[np.ndarray, " n"]
    """Where it touches; infinite where there is none yet."""
    loss: Float[np.ndarray, " n"]
    """The anchor's loss there."""
    slope: Float[np.ndarray, " n"]
    """The loss's derivative by the scale there."""

    @classmethod
    def none(cls, count: int, scale: float) -> _Tangent:
        return cls(np.full(count, scale), np.zeros(count), np.zeros(count))

    def replaced(self, where: Bool[np.ndarray, " n"], new: _Tangent) -> _Tangent:
        """With the tangents of ``new`` for some anchors."""
        return _Tangent(*(np.where(where, theirs, mine) for mine, theirs in zip(self, new, strict=True)))


class _Tangents:
    """What is known of every anchor's loss as a convex function of the scale: a tangent on each side of its minimum.

    ::

        loss  \\                 /
               \\ left          / right
                o             o
                 .           .
                  .         .        the loss lies above both tangents, and so no lower than where they
                   .       .         meet: an anchor for which that is above the best loss seen is out
                    .     .
                     .   .
                       x  lowest
              ──┼──────┼──────┼──────  scale
                a             b
    """

    def __init__(self, residuals: _Residuals) -> None:
        self._residuals = residuals
        count = residuals.truth.shape[1]
        self._left, self._right = _Tangent.none(count, -np.inf), _Tangent.none(count, np.inf)
        self.best, self.leader = np.inf, 0
        """The smallest loss seen, and whose it is."""

    def add(self, scale: float) -> float:
        """Evaluate all anchors at a scale; returns the smallest loss there over all translations."""
        each, slopes = self._residuals.at(scale)
        here = _Tangent(np.full(each.shape[1], scale), each.sum(axis=0), slopes.sum(axis=0))
        if here.loss.min() < self.best:
            self.best, self.leader = here.loss.min(), int(here.loss.argmin())
        self._left = self._left.replaced((here.slope <= 0) & (scale > self._left.scale), here)
        self._right = self._right.replaced((here.slope >= 0) & (scale < self._right.scale), here)
        return float(each.min(axis=1).sum())

    def lowest(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Where the tangents of each anchor meet, and the loss there: its minimum is no smaller.

        Infinite where the minimum lies outside of all scales evaluated, and so cannot be the best.
        """
        left, right = self._left, self._right
        inside, width = np.isfinite(left.scale) & np.isfinite(right.scale), right.scale - left.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.clip((left.loss - right.loss + right.slope * width) / (right.slope - left.slope), 0, width)
            step = np.where(right.slope > left.slope, step, 0)
            scale, loss = left.scale + step, left.loss + left.slope * step
        return np.where(inside, scale, np.nan), np.where(inside, loss, np.inf)

    def promising(self) -> Int[np.ndarray, " k"]:
        """Anchors that may be better than the leader by more than rounding."""
        return np.flatnonzero(self.lowest()[1] < self.best - self._residuals.rounding)
