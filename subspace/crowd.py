"""Eq. 1–3 where the k cores of :mod:`subspace.compression` are too many numbers: hundreds of adapters of one large matrix.

Nothing of size k·p·q is formed. C itself is (p × q, one matrix); the adapters are seen through the ``dim`` directions of each
side only, where a residual splits into ‖Σ − UᵀW_iV‖², which is a difference of small matrices, and the adapter's energy
outside, ‖W_i‖² − ‖UᵀW_iV‖²: that cancels, so both terms are in float64, of U and V in float64. The leading singular vectors
are those of the Gram matrix in float64, which keeps float32's digits. NumPy, one matrix after the other: what is large here
are products, and BLAS has all cores for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from subspace.low_rank import LowRank, at_least_float32

CROWDED = 2**22
"""Numbers of the k cores of one matrix (16 MB in float32) from which on they are not formed."""
BLOCK = 2**10
"""Columns of adapters whose inner products with all others, or whose copies in float64, are in memory at once."""


class Solution(NamedTuple):
    """Fields of :class:`subspace.SharedSubspace` that need no whole spectrum, in the coordinates and the unit of the crowd."""

    U: Float[np.ndarray, "n dim"]
    V: Float[np.ndarray, "m dim"]
    sigma: Float[np.ndarray, " dim"]
    weights: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    """In the unit of the adapters, as the objective is."""
    objective: Float[np.ndarray, " max_iterations"]
    iterations: int
    converged: bool


class Crowd:
    """k adapters of one matrix, A (k, n, r) and B (k, m, r), as NumPy's arrays.

    With orthonormal ``bases`` the adapters are coordinates in them, of ``energy`` that may lie outside of them as well.
    """

    def __init__(
        self,
        adapters: LowRank,
        bases: tuple[np.ndarray, np.ndarray] | None = None,
        energy: Float[np.ndarray, " k"] | None = None,
    ):
        adapters = at_least_float32(adapters.to_numpy())
        self.k, self.r = adapters.A.shape[0], adapters.rank
        scales = [float(np.abs(x).max()) or 1.0 for x in (adapters.A, adapters.B)]
        self.unit = scales[0] * scales[1]
        """What values are divided by inside, so that squares neither overflow nor underflow."""
        a, b = (x / x.dtype.type(s) for x, s in zip((adapters.A, adapters.B), scales, strict=True))
        sides = (_compressed(a), _compressed(b)) if bases is None else zip(bases, (_flat(a), _flat(b)), strict=True)
        (self._Q_A, self._A), (self._Q_B, self._B) = sides  # (p, k·r), (q, k·r)
        own = np.concatenate([_energy(A, B) for A, B in self._blocks()])
        self.energy = own if energy is None else np.asarray(energy, np.float64) / self.unit**2

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of the matrix."""
        sides = (self._Q_A, self._A), (self._Q_B, self._B)
        n, m = (len(x) if Q is None else len(Q) for Q, x in sides)
        return n, m

    @property
    def dtype(self) -> np.dtype:
        """What is computed in."""
        return self._A.dtype

    def _by_adapter(self, side: np.ndarray) -> np.ndarray:
        return np.moveaxis(side.reshape(len(side), self.k, self.r), 1, 0)

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """A (p, k', r) and B (q, k', r) of a few adapters after the others, in float64."""
        step = max(1, BLOCK // self.r)
        for start in range(0, self.k, step):
            part = slice(start * self.r, min(self.k, start + step) * self.r)
            A, B = (side[:, part].astype(np.float64).reshape(len(side), -1, self.r) for side in (self._A, self._B))
            yield A, B

    def mean(self, weights: Float[np.ndarray, " k"]) -> np.ndarray:
        """C, in the coordinates of the span."""
        return (self._A * np.repeat(weights, self.r).astype(self._A.dtype)) @ self._B.T

    def spectrum(self, weights: Float[np.ndarray, " k"]) -> np.ndarray:
        """All singular values of C."""
        return np.linalg.svd(self.mean(weights), compute_uv=False) * self._A.dtype.type(self.unit)

    def _inside(self, U: np.ndarray, V: np.ndarray) -> Iterator[np.ndarray]:
        """UᵀW_iV, (k', d, d), of a few adapters after the others, in float64."""
        for A, B in self._blocks():
            a, b = (np.tensordot(x.astype(np.float64), y, (0, 0)) for x, y in ((U, A), (V, B)))
            yield np.moveaxis(a, 1, 0) @ np.moveaxis(b, 0, 2)

    def energy_inside(self, U: np.ndarray, V: np.ndarray) -> Float[np.ndarray, " k"]:
        """‖UᵀW_iV‖² of every adapter, for U and V in the coordinates of the span."""
        return np.concatenate([np.sum(part**2, axis=(1, 2)) for part in self._inside(U, V)])

    def cores(self) -> np.ndarray:
        """Every adapter in the coordinates of the span, (k, p, q)."""
        return self._by_adapter(self._A) @ np.swapaxes(self._by_adapter(self._B), 1, 2)

    def grams_outside(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """⟨E_i, E_j⟩ of E = W − UUᵀWVVᵀ, all pairs; and of their parts UᵀE and EV alone. A few rows are done at a time."""
        sides = self._A, self._B, U.T @ self._A, V.T @ self._B
        whole, near = np.empty((self.k, self.k)), np.empty((self.k, self.k))
        step = max(1, BLOCK // self.r)
        for start in range(0, self.k, step):
            rows = slice(start, min(self.k, start + step))
            part = slice(rows.start * self.r, rows.stop * self.r)
            A, B, a, b = (side[:, part].T @ side for side in sides)
            for found, product in ((whole, A * B - a * b), (near, a * (B - b) + (A - a) * b)):
                found[rows] = product.reshape(-1, self.r, self.k, self.r).sum((1, 3), dtype=np.float64)
        return whole, near

    def leading(self, weights: Float[np.ndarray, " k"], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U, Σ in the adapters' unit, and V of the ``count`` largest singular values of C, in the coordinates of the span."""
        U, sigma, V = (x.astype(self.dtype) for x in _leading(self.mean(weights), count))
        return U, sigma * self.dtype.type(self.unit), V

    def bases(self, U: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns in the coordinates of the span, in those of the matrix."""
        return U if self._Q_A is None else self._Q_A @ U, V if self._Q_B is None else self._Q_B @ V

    def expand(self, solution: Solution) -> LowRank:
        """The canonical factors of the shared update."""
        root = np.sqrt(solution.sigma * self.unit).astype(self._A.dtype)
        A, B = self.bases(solution.U, solution.V)
        return LowRank(A * root, B * root)

    def typical(self, counts: Float[np.ndarray, " k"]) -> float:
        """:func:`subspace.shared.typical_norm`."""
        used = np.sort(np.sqrt(self.energy[counts > 0]))
        median = used[(len(used) - 1) // 2]
        return float(median or used[-1] or 1.0)

    def solve(
        self,
        counts: Float[np.ndarray, " k"],
        dim: int,
        alpha: float,
        epsilon: float,
        tolerance: float,
        max_iterations: int,
    ) -> Solution:
        """:func:`subspace.shared.irls`; adapter i counts ``counts[i]`` times."""
        epsilon = epsilon * self.typical(counts)
        objective = np.full(max_iterations, np.nan, self._A.dtype)
        following, found = counts / counts.sum(), None
        while found is None or (found.iterations < max_iterations and not found.converged):
            weights = following
            U, sigma, V = _leading(self.mean(weights), dim)
            parts = [
                (np.sum((np.diag(sigma) - part) ** 2, axis=(1, 2)), np.sum(part**2, axis=(1, 2)))
                for part in self._inside(U, V)
            ]
            within, inside = map(np.concatenate, zip(*parts, strict=True))
            outside = np.maximum(self.energy - inside, 0)
            squares = np.maximum(epsilon**2 + within + outside, np.finfo(np.float64).tiny)
            following = counts * (squares / squares[counts > 0].min()) ** (-(2 - alpha) / 2)
            following /= following.sum()
            done = 0 if found is None else found.iterations
            objective[done] = np.sum(counts * squares ** (alpha / 2)) * self.unit**alpha
            converged = bool(np.abs(following - weights).max() <= tolerance * following.max())
            residuals = np.sqrt(within + outside) * self.unit
            U, sigma, V = (x.astype(self.dtype) for x in (U, sigma, V))
            found = Solution(U, V, sigma, weights, residuals, objective, done + 1, converged)
        return found


def _energy(A: Float[np.ndarray, "p k r"], B: Float[np.ndarray, "q k r"]) -> Float[np.ndarray, " k"]:
    """‖A_i B_iᵀ‖², from the inner products of columns."""
    grams = [np.moveaxis(x, 0, 1).mT @ np.moveaxis(x, 0, 1) for x in (A, B)]
    return np.maximum(np.sum(grams[0] * grams[1], axis=(1, 2)), 0)


def _flat(columns: Float[np.ndarray, "k n r"]) -> np.ndarray:
    """The columns of all adapters side by side."""
    k, n, r = columns.shape
    return np.moveaxis(columns, 0, 1).reshape(n, k * r)


def _compressed(columns: Float[np.ndarray, "k n r"]) -> tuple[np.ndarray | None, np.ndarray]:
    """An orthonormal basis of all columns (None: they span everything) and the columns in it, side by side."""
    flat = _flat(columns)
    return np.linalg.qr(flat) if flat.shape[1] < len(flat) else (None, flat)


def _leading(C: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ``dim`` largest singular values, decreasing, with their vectors, in float64; also where C has fewer directions."""
    p, q = C.shape
    short = C if p <= q else C.T
    wide = short.astype(np.float64)
    size = len(short)
    _, vectors = scipy.linalg.eigh(wide @ wide.T, subset_by_index=(size - dim, size - 1), check_finite=False)
    vectors = vectors[:, ::-1]
    others = wide.T @ vectors
    sigma = np.linalg.norm(others, axis=0)
    # Columns of rounding noise, which would overlap, become any other directions.
    others, triangle = np.linalg.qr(others)
    others *= np.where(np.diag(triangle) < 0, -1, 1)
    return (vectors, sigma, others) if p <= q else (others, sigma, vectors)
