"""What is kept of k adapters so that further ones can be added without them, and how far the result may be off.

Of each matrix a sketch has p leading directions of the mean C on either side, every adapter's coordinates in them, its whole
energy, and two numbers on what lies outside, E_i = W_i − Ū Ūᵀ W_i V̄ V̄ᵀ. Further adapters are kept whole. Eq. 1–3 run on these:
residuals of the first adapters are exact as long as the solution stays between Ū and V̄, so only what a further adapter brings
from outside of them is uncertain.

:func:`bound` proves how far. Let C̃ = Σ w̃_i W̃_i with the truncation S̃ be what was found, with the k' adapters W̃_i as the sketch
has them, and C = Σ w_i W_i with S that of a solution w of Eq. 1–3 with the adapters themselves; ‖w − w̃‖ ≤ ρ.

- C − C̃ = Σ w̃_i E_i + Σ (w_i − w̃_i)(W_i − S̃), as both weights add up to 1. With c times the weights of the sketch and the rest
  z, Σ w̃_i E_i = c·T + Σ z_i E_i, where T is the tail of the SVD of the first C. T is zero on Ū and V̄, so on Ũ and Ṽ it counts
  by their parts outside of them. ``spread`` bounds ‖Σ z_i E_i‖ by ‖z‖, ``near`` does so for what of it Ū or V̄ see; h and g are
  the same of all W_i − S̃, g of what Ũ or Ṽ see: η = ‖(C − C̃)Ṽ‖ ≤ c ‖T‖₂ ‖(1 − V̄V̄ᵀ)Ṽ‖ + near ‖z‖ + g ρ, and so on the other
  side.
- Wedin's theorem: sin Θ ≤ √(η² + η'²) / δ for both sides together, with δ the distance from σ_d(C̃) to what σ_{d+1}(C) can be.
- ‖S − S̃‖ ≤ ζ follows from both. Changes of squared residuals are t = −2⟨E_i, S̃⟩ − 2⟨W_i − S̃, S − S̃⟩ + ‖S − S̃‖², where S − S̃ is
  of second order outside of what Ũ or Ṽ see.
- Weights are a softmax of −(1 − α/2) log(ε² + residual²), whose derivative is at most the largest weight: ‖t‖ bounds ‖w − w̃‖.

If this leads from ρ back to at most ρ, the map from weights to weights has a fixed point in that ball (Brouwer): Eq. 1–3 with
all adapters have a solution whose subspaces are within arcsin(sin Θ). With α = 2 that is the only one. If no ρ does, nothing
is proven, and the bound is 90°.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import asin, expm1, hypot, inf, log1p, pi, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from subspace.crowd import Crowd, Solution
from subspace.errors import InputError
from subspace.low_rank import LowRank, at_least_float32
from subspace.shared import EPSILON, MAX_ITERATIONS, TOLERANCE, of_crowd
from subspace.stability import Examined, examine_crowd
from subspace.svd import svd
from subspace.threads import one_thread_where

PRECISE = 2048
"""Up to so many columns of all adapters together are computed with in float64."""
ROUNDING = 1e-6
"""Error of stored float32 numbers, relative to an adapter."""
LARGEST_LOG = 50.0
"""Changes of weights by more than exp of it say nothing."""
STEPS = 200
"""Most radii that are tried."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """Adapters of one matrix as far as they are known, as NumPy's arrays: of the first k₀ the part in a space, others whole."""

    outputs: Float[np.ndarray, "n p"]
    """Orthonormal; the first ``directions`` are Ū."""
    inputs: Float[np.ndarray, "m q"]
    """Orthonormal; the first ``directions`` are V̄."""
    A: Float[np.ndarray, "k p r"]
    """Coordinates of the adapters' outputs."""
    B: Float[np.ndarray, "k q r"]
    """Coordinates of their inputs."""
    energy: Float[np.ndarray, " k"]
    """‖W_i‖²."""
    weights: Float[np.ndarray, " k0"]
    """w_i / Σ w of the first adapters in the C whose directions are kept."""
    directions: int
    """How many directions of that C were kept."""
    tail: float
    """The largest singular value of that C that was not."""
    spread: float
    """Spectral norm of the first adapters' parts outside, each as a column: at most this times ‖z‖ is ‖Σ z_i E_i‖."""
    near: float
    """The same of ŪᵀE_i and E_iV̄ alone."""

    @property
    def whole(self) -> LowRank:
        """The further adapters, A (k − k₀, n, r), B (k − k₀, m, r)."""
        first = len(self.weights)
        return LowRank(self.outputs @ self.A[first:], self.inputs @ self.B[first:])

    def crowd(self) -> Crowd:
        """The adapters as far as they are known."""
        bases = self.outputs.astype(np.float64), self.inputs.astype(np.float64)
        return Crowd(LowRank(self.A.astype(np.float64), self.B.astype(np.float64)), bases, self.energy)

    def with_adapter(self, update: LowRank) -> Sketch:
        """The same with one more adapter, A (n, r), B (m, r), which is kept whole.

        Raises:
          InputError: another size of the matrix, NaN or infinity.
        """
        size = len(self.outputs), len(self.inputs)
        if update.shape != size:
            raise InputError(f"update is {update.shape}, the sketch is of {size} matrices")
        if not (np.isfinite(update.A).all() and np.isfinite(update.B).all()):
            raise InputError("update has NaN or infinity")
        outputs, A = _extended(self.outputs, self.A, np.asarray(update.A, np.float64))
        inputs, B = _extended(self.inputs, self.B, np.asarray(update.B, np.float64))
        inner = (update.A.astype(np.float64).T @ update.A) * (update.B.astype(np.float64).T @ update.B)
        energy = np.append(self.energy, max(float(inner.sum()), 0.0))
        return replace(self, outputs=outputs, inputs=inputs, A=A, B=B, energy=energy)


class Extended(NamedTuple):
    """Result of :func:`shared_of_sketch`."""

    examined: Examined
    """What the adapters share as far as they are known, and what held-out ones say: fields of the first ones are estimates."""
    bound: float
    """Radians: no angle between this subspace, on either side, and that of a mining of all adapters is proven to be larger."""


def sketch_of(adapters: LowRank, weights: Float[np.ndarray, " k"], directions: int) -> Sketch:
    """The sketch of k adapters, A (k, n, r), B (k, m, r), for the C of their final weights.

    Args:
      adapters: of one matrix, as NumPy's arrays.
      weights: ``SharedSubspace.weights``.
      directions: of C to be kept; at most as many as there are.
    """
    adapters = at_least_float32(adapters)
    small = len(adapters.A) * adapters.rank <= PRECISE
    with one_thread_where(small):
        return _sketch_of(adapters, weights, directions, small)


def _sketch_of(adapters: LowRank, weights: Float[np.ndarray, " k"], directions: int, small: bool) -> Sketch:
    k, columns = len(adapters.A), len(adapters.A) * adapters.rank
    crowd = Crowd(adapters.to_numpy(np.float64 if small else None))
    weights = np.asarray(weights, np.float64) / np.sum(weights, dtype=np.float64)
    U, sigma, V = crowd.leading(weights, min(directions + 1, columns, *adapters.shape[-2:]))
    kept = min(directions, len(sigma))
    tail = float(sigma[kept]) if kept < len(sigma) else 0.0
    outputs, inputs = crowd.bases(U[:, :kept], V[:, :kept])
    A, B = (np.swapaxes(Q, -1, -2) @ x for Q, x in ((outputs, adapters.A), (inputs, adapters.B)))
    rounding = np.finfo(crowd.dtype).eps * float(crowd.energy.max()) * sqrt(k)
    spread, near = (
        sqrt(max(float(np.linalg.eigvalsh(gram)[-1]), 0.0) + rounding) * crowd.unit
        for gram in crowd.grams_outside(U[:, :kept], V[:, :kept])
    )
    return Sketch(outputs, inputs, A, B, crowd.energy * crowd.unit**2, weights, kept, tail, spread, near)


def shared_of_sketch(
    sketch: Sketch,
    dim: int,
    *,
    alpha: float = 1.0,
    epsilon: float = EPSILON,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Extended:
    """:func:`subspace.examine_subspaces` of what a sketch knows, with the proven distance from that of the adapters themselves.

    Args:
      sketch: of one matrix.
      dim: d' of the subspace, at most ``sketch.directions``.
      alpha, epsilon, max_iterations, tolerance: as in :func:`subspace.shared_subspace`.
    """
    if not 1 <= dim <= sketch.directions:
        raise InputError(f"dim must be 1 to {sketch.directions}, as many as were kept, got {dim}")
    options = alpha, epsilon, tolerance, max_iterations
    with one_thread_where(sketch.A.shape[0] * sketch.A.shape[2] <= PRECISE):
        crowd = sketch.crowd()
        _, solution = of_crowd(crowd, dim, *options)
        return Extended(examine_crowd(crowd, dim, *options), bound(sketch, crowd, solution, alpha, epsilon))


def bound(sketch: Sketch, crowd: Crowd, solution: Solution, alpha: float, epsilon: float) -> float:
    """The largest angle, in radians, that the solution of all adapters may be away; π/2 where nothing is proven.

    Args:
      sketch, crowd: what is known.
      solution: the subspace in the crowd's coordinates.
      alpha, epsilon: as in :func:`subspace.shared_subspace`.
    """
    first, p, dim = len(sketch.weights), sketch.directions, len(solution.sigma)
    U, V, k = solution.U, solution.V, crowd.k
    weights = np.asarray(solution.weights, np.float64)
    beta = 1 - alpha / 2

    S = (U * solution.sigma) @ V.T
    beyond = [_norm(x[p:]) for x in (U, V)]
    spread, tail = sketch.spread / crowd.unit, sketch.tail / crowd.unit
    near = sketch.near / crowd.unit
    seen = near + spread * hypot(*beyond)  # of the E_i by Ũ or Ṽ
    left = 2 * (near * hypot(_norm(S[:p, p:]), _norm(S[p:, :p])) + spread * _norm(S[p:, p:]))  # of 2⟨E_i, S̃⟩
    parts = crowd.cores() - S
    by_outputs = U.T @ parts
    by_inputs = parts @ V - U @ (by_outputs @ V)
    h = _spectral_norm(parts) + spread
    g = hypot(_spectral_norm(by_outputs), _spectral_norm(by_inputs)) + seen

    size = crowd.typical(np.ones(k))
    squares = (epsilon * size) ** 2 + (np.asarray(solution.residuals, np.float64) / crowd.unit) ** 2
    smallest = float(squares.min())
    following = (squares / smallest) ** -beta
    following /= following.sum()
    moved = _norm(following - weights)
    heaviest = float(following.max())

    c = float(weights[:first] @ sketch.weights / (sketch.weights @ sketch.weights))
    z = _norm(weights[:first] - c * sketch.weights)
    sides = [c * tail * x + seen * z + ROUNDING * size for x in beyond]
    sigma = np.append(np.linalg.svd(crowd.mean(weights), compute_uv=False), 0.0)
    first_sigma, last, after = (float(sigma[i]) for i in (0, dim - 1, dim))

    def from_weights(rho: float) -> tuple[float, float]:
        """Largest sine, and the bound on ‖w − w̃‖ that follows; infinite where nothing does."""
        change = c * tail + spread * z + ROUNDING * size + h * rho  # of C
        if last - change <= after + change:
            return 1.0, inf
        eta, other = (side + g * rho for side in sides)
        sine = hypot(eta, other) / (last - after - change)
        zeta = hypot(eta, other * (1 + sine)) + (after + change) * sine
        changes = left + 2 * g * zeta + h * (first_sigma + change) * sine**2 + sqrt(k) * zeta**2
        share = changes / smallest
        if share >= 1:
            return sine, moved if beta == 0 else inf
        logs = -beta * log1p(-share)  # bounds the length of their changes
        if 2 * logs > LARGEST_LOG:
            return sine, inf
        grown = expm1(2 * logs) / (2 * logs) if logs > 0 else 1.0  # mean of the largest weight on the way
        return sine, min(0.5, heaviest * grown) * logs + moved

    rho = 0.0
    for _ in range(STEPS):
        sine, following_rho = from_weights(rho)
        if following_rho <= rho:
            return asin(min(1.0, sine))
        if not following_rho < 2:
            break
        rho = 1.01 * following_rho + 1e-12
    return pi / 2


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def _spectral_norm(parts: Float[np.ndarray, "k p q"]) -> float:
    """Of the parts side by side, each as a column."""
    flat = parts.reshape(len(parts), -1)
    return sqrt(max(float(np.linalg.eigvalsh(flat @ flat.T)[-1]), 0.0))


def _extended(
    basis: Float[np.ndarray, "n p"], coordinates: Float[np.ndarray, "k p r"], columns: Float[np.ndarray, "n s"]
) -> tuple[np.ndarray, np.ndarray]:
    """The basis with what the columns have outside of it, and all coordinates, the columns' last."""
    Q = basis.astype(np.float64)
    rest = columns - Q @ (Q.T @ columns)
    rest -= Q @ (Q.T @ rest)  # twice is enough
    new, sigma, _ = svd(rest)
    used = sigma > ROUNDING * max(_norm(columns), np.finfo(np.float64).tiny)
    extended = np.concatenate([Q, new[:, used]], axis=1)
    own = extended.T @ columns
    (k, p, r), rank = coordinates.shape, max(coordinates.shape[2], columns.shape[1])
    found = np.zeros((k + 1, extended.shape[1], rank))
    found[:k, :p, :r], found[k, :, : own.shape[1]] = coordinates, own
    return extended, found
