"""Similarity transforms, and the one that fits two lists of corresponding points best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from subspace.errors import InputError

_FLAT = 1e-14
"""Second singular value of a covariance, relative to the points' distances from the origin, that is rounding only."""


@dataclass(frozen=True)
class Similarity:
    """x ↦ scale · rotation @ x + translation."""

    scale: float
    """Factor of all lengths."""
    rotation: Float[np.ndarray, "3 3"]
    """Orthogonal, determinant 1."""
    translation: Float[np.ndarray, "3"]
    """Added after rotation and scale."""

    @classmethod
    def identity(cls) -> Similarity:
        return cls(1.0, np.eye(3), np.zeros(3))

    def __call__(self, points: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points 3"]:
        """Every point's image, float64."""
        return points @ (self.scale * self.rotation).T + self.translation

    def after(self, first: Similarity) -> Similarity:
        """``self.after(first)(x)`` is ``self(first(x))``."""
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, self(first.translation))

    def inverse(self) -> Similarity:
        """``self.inverse()(self(x))`` is x."""
        return Similarity(1 / self.scale, self.rotation.T, self.translation @ self.rotation / -self.scale)


def fit_similarity(
    source: Float[np.ndarray, "points 3"],
    target: Float[np.ndarray, "points 3"],
    weights: Float[np.ndarray, " points"] | None = None,
    with_scale: bool = True,
) -> Similarity:
    """The similarity T that minimises Σ wᵢ |T(sourceᵢ) − targetᵢ|², in closed form.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. Never a
    reflection, whatever the points.

    Args:
        source: points.
        target: as many, in the same order, in any unit.
        weights: not negative; all equal by default.
        with_scale: False fits a rigid motion.

    Raises:
        InputError: the shapes differ, a value is not finite, weights are negative, or the points that have a weight do not
            determine a rotation, because fewer than three are left or those of one side lie on a line.
    """
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 3:
        raise InputError(f"source and target must both have shape (points, 3), got {source.shape} and {target.shape}")
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    share = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if share.shape != source.shape[:1]:
        raise InputError(f"weights must have shape ({len(source)},), got {share.shape}")
    with np.errstate(invalid="ignore"):
        source_mean, target_mean = share @ source, share @ target
    if not (np.isfinite(source_mean).all() and np.isfinite(target_mean).all()):
        raise InputError("points and weights must be finite")
    if (share < 0).any():
        raise InputError("weights must not be negative")
    if np.count_nonzero(share) < 3:
        raise InputError(f"a similarity needs three points at least, got {np.count_nonzero(share)}")
    total = share.sum()
    share, source_mean, target_mean = share / total, source_mean / total, target_mean / total

    from_source, from_target = source - source_mean, target - target_mean
    spreads = [share @ np.einsum("ni,ni->n", points, points) for points in (from_source, from_target)]
    from_target *= share[:, None]
    U, sigma, Vt = np.linalg.svd(from_target.T @ from_source)
    means = source_mean, target_mean
    sizes = [np.sqrt(spread + mean @ mean) for spread, mean in zip(spreads, means, strict=True)]
    if sigma[1] <= _FLAT * sizes[0] * sizes[1]:
        raise InputError("the points of one side lie on a line or coincide: no rotation can be told from them")
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    rotation = (U * signs) @ Vt
    scale = float(sigma @ signs / spreads[0]) if with_scale else 1.0
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
