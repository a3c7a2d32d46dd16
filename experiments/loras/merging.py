"""One LoRA of many, by the published rules. Each is a function of the updates of one matrix."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from experiments.loras.collection import Collection
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.arguments import convert_fields
from experiments.storage.files import listed
from subspace import LowRank, shared_subspaces
from subspace.errors import InputError
from subspace.low_rank import orthonormal_factors
from subspace.svd import svd

Method = Literal["mean", "robust", "sum", "ties", "dare", "knots", "tsv", "iso"]
"""The mean of dW; Eq. 1 with exponent 1; the sum; TIES-Merging (2306.01708) and DARE (2311.03099) on dW; KnOTS-TIES
(2410.19735); Task Singular Vectors (2412.00081); isotropic merging (2502.04959)."""
METHODS: tuple[Method, ...] = get_args(Method)
OF_DENSITY: tuple[Method, ...] = ("ties", "dare", "knots")
"""Rules that keep a share of the entries."""


@dataclass(frozen=True, kw_only=True)
class Merge:
    """How LoRAs are merged. Raises InputError for numbers out of range."""

    method: Method = "mean"
    """The rule."""
    rank: int | None = None
    """Rank of the result; by default the largest among the LoRAs."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """LoRA → its weight, 1 where none is given; of the mean they are divided by their sum."""
    density: float = 0.2
    """Share of entries that TIES, KnOTS and DARE keep."""
    seed: int = 0
    """Of DARE's choice."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.rank is not None and self.rank < 1:
            raise InputError(f"rank must be at least 1, got {self.rank}", argument="rank")
        if not 0 < self.density <= 1:
            raise InputError(f"density must lie in (0, 1], got {self.density:g}", argument="density")
        if unusable := [name for name, weight in self.weights.items() if not isfinite(weight)]:
            raise InputError(f"the weight of {unusable[0]} must be a finite number", argument="weights")
        if self.method == "robust" and self.weights:
            raise InputError("the robust mean finds its weights by itself", argument="weights")


@dataclass(frozen=True, eq=False)
class Merged:
    """What :func:`merge` made."""

    updates: dict[str, LowRank]
    """Matrix → the merged update, canonical factors."""
    kept: float
    """Share, 0 to 1, of the energy that the rule gives which the rank leaves."""


def merge(collection: Collection, how: Merge, reporter: Reporter = SILENT) -> Merged:
    """Merge all LoRAs, one matrix at a time.

    Raises InputError for a weight of a LoRA that is not there.
    """
    if unknown := sorted(set(how.weights) - set(collection.loras)):
        names = listed(list(collection.loras), 20)
        raise InputError(f"weights name {unknown[0]}, which is none of the LoRAs: {names}", argument="weights")
    updates, left, whole = {}, 0.0, 0.0
    if how.method == "mean" and any(
        _cancel([how.weights.get(name, 1.0) for name in names]) for names in collection.owners.values()
    ):
        raise InputError("weights add up to zero, so that there is no mean", argument="weights")
    with reporter.progress(len(collection.owners), "matrix", "merge") as bar:
        for path, names in collection.owners.items():
            parts = list(collection.read(path).values())
            weights = np.array([how.weights.get(name, 1.0) for name in names])
            rank = min(how.rank or max(part.rank for part in parts), *parts[0].shape)
            if how.method == "robust":
                found = shared_subspaces({path: collection.stacks[path]}, rank)[path]
                updates[path], kept, _ = reduced(found.factors.to_numpy(np.float64), rank)
                energy = float(np.sum(np.asarray(found.singular_values, np.float64) ** 2))  # all, not only the rank's
            else:
                updates[path], kept, energy = reduced(merge_matrix(parts, weights, how, path), rank)
            left, whole = left + kept, whole + energy
            bar.update(1)
    return Merged(updates, left / whole if whole > 0 else 1.0)


def _cancel(weights: Sequence[float]) -> bool:
    """Whether they add up to zero, but for rounding."""
    return abs(math.fsum(weights)) <= 1e-12 * math.fsum(map(abs, weights))


def merge_matrix(
    parts: Sequence[LowRank], weights: Float[np.ndarray, " k"], how: Merge, path: str = ""
) -> LowRank | Float[np.ndarray, "n m"]:
    """The rule on one matrix, before the reduction of the rank; dense where the rule is."""
    parts = [part.to_numpy(np.float64) for part in parts]
    match how.method:
        case "sum":
            return _sum(parts, weights)
        case "ties":
            return ties([np.asarray(part.to_dense()) for part in parts], weights, how.density)
        case "dare":
            return _dare(parts, weights, how.density, np.random.default_rng([how.seed, zlib.crc32(path.encode())]))
        case "knots":
            return _knots(parts, weights, how.density)
        case "tsv":
            return _task_singular_vectors(parts, weights)
        case "iso":
            U, sigma, V = orthonormal_factors(_sum(parts, weights))
            used = sigma > 1e-10 * sigma[:1]
            count = max(1, min(int(used.sum()), how.rank or len(sigma)))
            return LowRank(U[:, :count] * sigma[:count].mean(), V[:, :count])
    return _sum(parts, weights / weights.sum())


def reduced(update: LowRank | np.ndarray, rank: int) -> tuple[LowRank, float, float]:
    """The closest update of this rank, its energy, and the energy before."""
    if isinstance(update, np.ndarray):
        U, sigma, Vt = svd(update)
        V = Vt.T
    else:
        U, sigma, V = orthonormal_factors(update)
    root = np.sqrt(sigma[:rank])
    factors = LowRank((U[:, :rank] * root).astype(np.float32), (V[:, :rank] * root).astype(np.float32))
    return factors, float(np.sum(sigma[:rank] ** 2)), float(np.sum(sigma**2))


def _sum(parts: Sequence[LowRank], weights: np.ndarray) -> LowRank:
    A = np.concatenate([weight * part.A for weight, part in zip(weights, parts, strict=True)], axis=1)
    return LowRank(A, np.concatenate([part.B for part in parts], axis=1))


def ties(dense: Sequence[np.ndarray], weights: np.ndarray, density: float) -> np.ndarray:
    """Trim each to its largest entries, elect a sign for each entry by the sum, and average what agrees with it."""
    trimmed = [_largest(each, density) for each in dense]
    sign = np.where(np.sum(trimmed, axis=0) >= 0, 1, -1)
    total, count = np.zeros_like(trimmed[0]), np.zeros(trimmed[0].shape, int)
    for weight, each in zip(weights, trimmed, strict=True):
        agrees = np.sign(each) == sign
        total += np.where(agrees, weight * each, 0)
        count += agrees
    return total / np.maximum(count, 1)


def _largest(x: np.ndarray, density: float) -> np.ndarray:
    count = max(1, int(density * x.size))
    if count >= x.size:
        return x
    return np.where(np.abs(x) >= np.partition(np.abs(x), -count, axis=None)[-count], x, 0)


def _dare(parts: Sequence[LowRank], weights: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros(parts[0].shape)
    for part, weight in zip(parts, weights, strict=True):
        total += weight * part.to_dense() * (rng.random(part.shape) < density) / density
    return total


def _knots(parts: Sequence[LowRank], weights: np.ndarray, density: float) -> LowRank:
    """All updates side by side have one U and Σ; what differs, the V of each, is merged by TIES."""
    Q, R = np.linalg.qr(np.concatenate([part.A for part in parts], axis=1))
    inputs = [np.linalg.qr(part.B) for part in parts]
    cuts = np.cumsum([part.rank for part in parts])[:-1]
    core = np.concatenate(
        [left @ right.T for left, (_, right) in zip(np.split(R, cuts, axis=1), inputs, strict=True)], axis=1
    )
    u, sigma, vt = svd(core)
    used = sigma > 1e-10 * sigma[:1]
    widths = np.cumsum([right.shape[0] for _, right in inputs])[:-1]
    own = [basis @ part.T for (basis, _), part in zip(inputs, np.split(vt[used], widths, axis=1), strict=True)]
    return LowRank(Q @ (u[:, used] * sigma[used]), ties(own, weights, density))


def _task_singular_vectors(parts: Sequence[LowRank], weights: np.ndarray) -> LowRank:
    """The leading singular vectors of each, as many as there is room for, made orthogonal together."""
    share = max(1, min(parts[0].shape) // len(parts))
    outputs, values, inputs = [], [], []
    for part, weight in zip(parts, weights, strict=True):
        U, sigma, V = orthonormal_factors(part)
        outputs.append(U[:, :share])
        values.append(weight * sigma[:share])
        inputs.append(V[:, :share])
    return LowRank(_nearest_orthonormal(outputs) * np.concatenate(values), _nearest_orthonormal(inputs))


def _nearest_orthonormal(columns: Sequence[np.ndarray]) -> np.ndarray:
    P, _, Qt = svd(np.concatenate(columns, axis=1))
    return P @ Qt
