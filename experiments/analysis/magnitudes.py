"""How large is what an attribute's adapters share? The largest singular value of every shared subspace (Fig. 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.analysis.matrices import Matrix, by_group, matrices_of, over_matrices
from experiments.mining.folder import Inputs


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """What :func:`measure_magnitudes` finds."""

    names: list[str]
    matrices: list[Matrix]
    sigma: np.ndarray
    """(attributes, matrices): largest singular value of C for the final weights, which is that of the subspace's A Bᵀ."""


def measure_magnitudes(inputs: Inputs) -> Magnitudes:
    """σ_max of all attributes in all matrices."""
    sigma = [
        over_matrices({path: mined.statistics[path]["singular_values"][..., 0] for path in mined.factors}, 0)
        for mined in inputs.attributes.values()
    ]
    return Magnitudes(inputs.names, matrices_of(inputs.first.factors), np.stack(sigma))


def magnitude_rows(magnitudes: Magnitudes) -> Iterator[dict[str, Any]]:
    """One row for each attribute and matrix."""
    for a, name in enumerate(magnitudes.names):
        for i, matrix in enumerate(magnitudes.matrices):
            yield {
                "attribute": name,
                "path": matrix.path,
                "layer": matrix.layer,
                "sigma max": float(magnitudes.sigma[a, i]),
            }


def summary_of_kinds(magnitudes: Magnitudes) -> list[dict[str, Any]]:
    """One row for each kind of matrix: the median over its layers for every attribute, by attribute."""
    return [
        {
            "matrices": kind,
            "count": len(members),
            **{name: float(np.median(magnitudes.sigma[a, members])) for a, name in enumerate(magnitudes.names)},
        }
        for kind, members in by_group(magnitudes.matrices).items()
    ]


def depth_of_peaks(magnitudes: Magnitudes) -> list[dict[str, Any]]:
    """One row for each attribute and kind of stacked matrix: the first and last layer's σ_max, the largest and its layer."""
    rows = []
    for a, name in enumerate(magnitudes.names):
        for kind, members in by_group(magnitudes.matrices).items():
            if magnitudes.matrices[members[0]].layer is None:
                continue
            own = magnitudes.sigma[a, members]
            rows.append(
                {
                    "attribute": name,
                    "matrices": kind,
                    "layers": len(members),
                    "first layer": float(own[0]),
                    "last layer": float(own[-1]),
                    "largest": float(own.max()),
                    "in layer": magnitudes.matrices[members[int(own.argmax())]].layer,
                }
            )
    return rows


def spread_of_attributes(magnitudes: Magnitudes) -> float:
    """Median over matrices: how many times the smallest attribute's σ_max the largest's is; NaN if all are zero."""
    return _median_ratio([column for column in magnitudes.sigma.T])


def spread_of_layers(magnitudes: Magnitudes) -> float:
    """Median over attributes and stacks: how many times the smallest layer's σ_max the largest's is; NaN without stacks."""
    groups = by_group(magnitudes.matrices).values()
    stacks = [members for members in groups if magnitudes.matrices[members[0]].layer is not None]
    return _median_ratio([own[members] for own in magnitudes.sigma for members in stacks])


def _median_ratio(curves: list[np.ndarray]) -> float:
    ratios = [curve.max() / curve.min() for curve in curves if curve.min() > 0]
    return float(np.median(ratios)) if ratios else np.nan
