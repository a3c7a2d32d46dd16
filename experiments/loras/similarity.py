"""Which LoRAs of a collection are alike: inner products of dW, and the angles between their sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from experiments.loras.collection import Collection
from experiments.process.reporting import SILENT, Reporter
from subspace import LowRank
from subspace.svd import svd

DUPLICATE = 1 - 1e-6
"""From this cosine of dW on two LoRAs are one."""
NEAR_DUPLICATE = 0.9
"""From this cosine on they are likely check points of one run."""
CLUSTER = 0.25
"""LoRAs whose mean cosine is above form a cluster; those of different tasks are near 0."""
OUTLIER = 3.5
"""Robust standard deviations below the others' mean cosine."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """Every pair of k LoRAs; matrices (k, k)."""

    names: tuple[str, ...]
    cosine: Float[np.ndarray, "k k"]
    """⟨dW_i, dW_j⟩ / (‖dW_i‖ ‖dW_j‖) over all matrices that both have; 0 if there is none, or one is zero there."""
    output_overlap: Float[np.ndarray, "k k"]
    """Mean squared cosine of the principal angles between the column spaces, mean over the matrices."""
    input_overlap: Float[np.ndarray, "k k"]
    """The same of the row spaces."""
    output_chance: float
    """What the overlap of random column spaces of these ranks would be."""
    input_chance: float
    """The same of row spaces."""

    @property
    def mean_cosine(self) -> Float[np.ndarray, " k"]:
        """With the other LoRAs."""
        return (self.cosine.sum(axis=1) - 1) / max(1, len(self.names) - 1)

    @property
    def clusters(self) -> list[list[str]]:
        """By average linkage of 1 − cosine, cut at 1 − :data:`CLUSTER`; the largest first, single ones left out."""
        distance = np.clip(1 - (self.cosine + self.cosine.T) / 2, 0, 2)
        np.fill_diagonal(distance, 0)
        found = hierarchy.fcluster(hierarchy.average(squareform(distance, checks=False)), 1 - CLUSTER, "distance")
        groups = [[self.names[i] for i in np.flatnonzero(found == label)] for label in np.unique(found)]
        return sorted((group for group in groups if len(group) > 1), key=len, reverse=True)

    @property
    def outliers(self) -> list[str]:
        """Those that are far less like the others than these are; of five or more."""
        mean = self.mean_cosine
        spread = 1.4826 * np.median(np.abs(mean - np.median(mean)))
        if len(self.names) < 5:
            return []
        return [self.names[i] for i in np.flatnonzero(mean < np.median(mean) - OUTLIER * max(spread, 0.01))]

    def pairs_above(self, cosine: float) -> list[tuple[str, str, float]]:
        """The pairs that are at least so alike, the most alike first."""
        i, j = np.nonzero(np.triu(self.cosine, 1) >= cosine)
        found = [(self.names[a], self.names[b], float(self.cosine[a, b])) for a, b in zip(i, j, strict=True)]
        return sorted(found, key=lambda pair: -pair[2])


def compare(collection: Collection, reporter: Reporter = SILENT) -> Similarity:
    """Similarity of every pair, one matrix at a time."""
    names = tuple(collection.loras)
    k, number = len(names), {name: i for i, name in enumerate(names)}
    inner, squares = np.zeros((2, k, k))
    overlaps, counts, chances = np.zeros((2, k, k)), np.zeros((k, k)), []
    with reporter.progress(len(collection.owners), "matrix", "compare") as bar:
        for path, owners in collection.owners.items():
            stack = collection.stacks[path]
            here = np.ix_(*([number[name] for name in owners],) * 2)
            products = _inner_products(stack)
            inner[here] += products
            squares[here] += np.diag(products)[:, None]  # of the first of a pair, in the matrices that both have
            ranks = [collection.loras[name].modules[path].rank for name in owners]
            for side, factor in enumerate(map(np.asarray, (stack.A, stack.B))):
                overlaps[side][here] += _overlaps(factor)
            counts[here] += 1
            chances.append([np.mean(ranks) / size for size in collection.modules[path].size])
            bar.update(1)
    output, inputs = overlaps / np.maximum(counts, 1)
    output_chance, input_chance = np.minimum(np.mean(chances, axis=0), 1)
    lengths = np.sqrt(np.maximum(squares * squares.T, 0))
    cosine = np.clip(np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0), -1, 1)
    np.fill_diagonal(cosine, 1)
    return Similarity(names, cosine, output, inputs, float(output_chance), float(input_chance))


def _inner_products(stack: LowRank) -> np.ndarray:
    """(k, k): tr(W_iᵀ W_j) through Gram matrices of all columns."""
    k, r = len(stack.A), stack.rank
    grams = [(flat := np.moveaxis(np.asarray(side), 0, 1).reshape(-1, k * r)).T @ flat for side in (stack.A, stack.B)]
    product = grams[0].astype(np.float64) * grams[1]
    return product.reshape(k, r, k, r).sum(axis=(1, 3))


def _overlaps(factor: Float[np.ndarray, "k n r"]) -> np.ndarray:
    """(k, k): ‖Q_iᵀQ_j‖² / the smaller number of columns, of orthonormal bases of the columns."""
    k, n = factor.shape[:2]
    U, sigma, _ = svd(factor)
    present = sigma > 1e-5 * sigma[:, :1]
    basis = np.moveaxis(U * present[:, None], 0, 1).reshape(n, -1)
    squares = (basis.T @ basis).astype(np.float64) ** 2
    together = squares.reshape(k, U.shape[-1], k, U.shape[-1]).sum(axis=(1, 3))
    count = present.sum(axis=1)
    return together / np.maximum(np.minimum.outer(count, count), 1)
