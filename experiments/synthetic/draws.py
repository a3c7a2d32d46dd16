"""Drawing from ranges: the few distributions that all parts of a scene use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Range = tuple[float, float]
Count = tuple[int, int]
Item = TypeVar("Item")


def uniform(rng: np.random.Generator, between: Range) -> float:
    return float(rng.uniform(*between))


def log_uniform(rng: np.random.Generator, between: Range) -> float:
    """As likely between 1 and 2 as between 2 and 4."""
    return float(np.exp(rng.uniform(np.log(between[0]), np.log(between[1]))))


def count(rng: np.random.Generator, between: Count) -> int:
    """Both ends included."""
    return int(rng.integers(between[0], between[1] + 1))


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, items: Sequence[Item], weights: Sequence[float] | None = None) -> Item:
    if weights is None:
        return items[int(rng.integers(len(items)))]
    return items[int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))]


def direction(rng: np.random.Generator) -> np.ndarray:
    """A unit vector, uniform on the sphere."""
    z, angle = rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
    return np.array([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z])


def inner_range(rng: np.random.Generator, outer: Range, share: Range) -> Range:
    """A range within ``outer`` that covers a random share of it."""
    width = (outer[1] - outer[0]) * uniform(rng, share)
    low = uniform(rng, (outer[0], outer[1] - width))
    return low, low + width
