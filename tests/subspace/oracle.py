"""Independent dense NumPy float64 versions of the paper's formulas, and the adapters that they are compared on."""

import dataclasses

import numpy as np

from subspace import LowRank


@dataclasses.dataclass
class Solution:
    S: np.ndarray
    weights: np.ndarray
    singular_values: np.ndarray
    initial_singular_values: np.ndarray
    residuals: np.ndarray
    objective: list


def dense(x: LowRank) -> np.ndarray:
    return np.asarray(x.A, np.float64) @ np.swapaxes(np.asarray(x.B, np.float64), -1, -2)


def shared_subspace(W: np.ndarray, dim: int, alpha: float, epsilon: float, iterations: int) -> Solution:
    """Eq. 1-3 as printed, on dense updates W (k, n, m)."""
    norms = np.sort([np.linalg.norm(w) for w in W])
    typical = norms[(len(W) - 1) // 2] or norms[-1] or 1.0
    eps = epsilon * typical

    def step(w):
        used = w / w.sum()
        U, sigma, Vt = np.linalg.svd(np.einsum("k,knm->nm", used, W), full_matrices=False)
        S = (U[:, :dim] * sigma[:dim]) @ Vt[:dim]
        residuals = np.array([np.linalg.norm(S - Wi) for Wi in W])
        return used, S, sigma, residuals

    used, S, sigma, residuals = step(np.ones(len(W)))
    first, objective = sigma, [np.sum((eps**2 + residuals**2) ** (alpha / 2))]
    for _ in range(iterations - 1):
        used, S, sigma, residuals = step(1 / (eps**2 + residuals**2) ** ((2 - alpha) / 2))
        objective.append(np.sum((eps**2 + residuals**2) ** (alpha / 2)))
    return Solution(S, used, sigma, first, residuals, objective)


def random_adapters(seed, k, n, m, r, layers=()):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((k, *layers, n, r)), rng.standard_normal((k, *layers, m, r))


def planted_adapters(seed, k, n, m, r, *, noise=0.1, outliers=0, outlier_scale=10.0):
    """k adapters = one shared rank-r part (its last singular value well above the noise) + private parts of rank r."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((size, r)))[0] for size in (n, m))
    strength = np.linspace(3, 1.5, r)
    A, B = [], []
    for i in range(k):
        size = outlier_scale if i < outliers else noise
        shared = 0.0 if i < outliers else 1.0
        A.append(np.concatenate([shared * U * strength, size * rng.standard_normal((n, r)) / np.sqrt(n)], axis=1))
        B.append(np.concatenate([V, rng.standard_normal((m, r)) / np.sqrt(m) * 2], axis=1))
    return np.stack(A), np.stack(B), U, V


SHAPE = (5, 40, 30, 4)
"""k, n, m, r of all cases that are told apart by their values: each further shape costs a compilation."""


def _rank_deficient():
    A, B = random_adapters(2, *SHAPE)
    A[:, :, 2:] = A[:, :, :2]
    B[2, :, 1] = B[2, :, 0]
    return A, B


def _duplicated():
    A, B = random_adapters(3, *SHAPE)
    A[1:4], B[1:4] = A[0], B[0]
    return A, B


def _one_zero():
    A, B = random_adapters(4, *SHAPE)
    B[2] = 0
    return A, B


def _scaled_apart():
    A, B = random_adapters(5, *SHAPE)
    A *= np.array([1e-6, 1e-3, 1, 1e3, 1e6])[:, None, None]
    return A, B


def _columns_scaled_apart():
    A, B = random_adapters(6, *SHAPE)
    scale = np.array([1e-6, 1e6, 1e3, 1e-3])
    return A * scale, B / scale


CASES = {
    "random": (*random_adapters(0, *SHAPE), 4),
    "wide": (*random_adapters(1, 5, 30, 90, 4), 4),
    "tall": (*random_adapters(1, 5, 90, 30, 4), 4),
    "tall_with_more_columns_than_inputs": (*random_adapters(8, 5, 90, 15, 4), 4),
    "more_columns_than_both": (*random_adapters(9, 5, 18, 15, 4), 4),
    "one_adapter": (*random_adapters(7, 1, 40, 30, 4), 3),
    "rank_deficient": (*_rank_deficient(), 4),
    "duplicated": (*_duplicated(), 4),
    "one_zero": (*_one_zero(), 4),
    "all_zero": (np.zeros((5, 40, 4)), np.zeros((5, 30, 4)), 4),
    "scaled_apart": (*_scaled_apart(), 4),
    "columns_scaled_apart": (*_columns_scaled_apart(), 4),
    "all_tiny": (*(1e-6 * x for x in random_adapters(10, *SHAPE)), 4),
    "all_huge": (*(1e6 * x for x in random_adapters(10, *SHAPE)), 4),
    "planted": (*planted_adapters(11, 5, 40, 30, 2)[:2], 4),
}
"""name -> A (k, n, r), B (k, m, r), dim"""


def angles_to(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Principal angles in degrees between two column spaces, largest first."""
    import scipy.linalg

    return np.degrees(scipy.linalg.subspace_angles(np.asarray(x, np.float64), truth))
