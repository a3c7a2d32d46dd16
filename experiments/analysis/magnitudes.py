"""How large is what an attribute's adapters share? The largest singular value of every shared subspace (Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of, over_matrices
from experiments.analysis.panels import curves_of_attributes
from experiments.analysis.section import OF_MATRIX, Columns, Section, sheet, table
from experiments.mining.folder import Inputs
from experiments.mining.summary import by_group


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """What :func:`measure_magnitudes` finds."""

    names: list[str]
    """The attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    sigma: np.ndarray
    """(attributes, matrices): largest singular value of C for the final weights, which is that of the subspace's A Bᵀ."""

    @property
    def attribute_spread(self) -> float:
        """Median over matrices: how many times the smallest attribute's σ_max the largest's is; NaN if all are zero."""
        return _median_ratio(list(self.sigma.T))

    @property
    def layer_spread(self) -> float:
        """Median over attributes and stacks: largest over smallest σ_max of the layers; NaN without stacks."""
        return _median_ratio([own[members] for own in self.sigma for members in self.stacks.values()])

    @property
    def stacks(self) -> dict[str, np.ndarray]:
        """Kind → indices of its matrices, of the kinds that are stacked over layers."""
        groups = by_group(self.matrices).items()
        return {kind: members for kind, members in groups if self.matrices[members[0]].layer is not None}


def measure_magnitudes(inputs: Inputs) -> Magnitudes:
    """σ_max of all attributes in all matrices."""
    sigma = [
        over_matrices({path: mined.statistics[path]["singular_values"][..., 0] for path in mined.factors}, 0)
        for mined in inputs.attributes.values()
    ]
    return Magnitudes(inputs.names, matrices_of(inputs.first.factors), np.stack(sigma))


def _median_ratio(curves: Sequence[np.ndarray]) -> float:
    ratios = [curve.max() / curve.min() for curve in curves if curve.min() > 0]
    return float(np.median(ratios)) if ratios else np.nan


@dataclass(frozen=True, kw_only=True)
class MagnitudeRow(MatrixRow):
    """One attribute in one matrix."""

    attribute: str
    """Whose subspace."""
    sigma_max: float
    """Its largest singular value."""


def magnitude_rows(magnitudes: Magnitudes) -> list[MagnitudeRow]:
    """One row for each attribute and matrix."""
    return [
        MagnitudeRow(path=matrix.path, layer=matrix.layer, attribute=name, sigma_max=float(magnitudes.sigma[a, i]))
        for a, name in enumerate(magnitudes.names)
        for i, matrix in enumerate(magnitudes.matrices)
    ]


@dataclass(frozen=True)
class KindSummary:
    """One kind of matrix."""

    kind: str
    """As in the figures: "frame qkv"."""
    count: int
    """Number of matrices of the kind."""
    medians: list[float]
    """Of σ_max over these matrices, for every attribute."""


def summary_of_kinds(magnitudes: Magnitudes) -> list[KindSummary]:
    """One row for each kind of matrix."""
    return [
        KindSummary(kind, len(members), [float(np.median(own[members])) for own in magnitudes.sigma])
        for kind, members in by_group(magnitudes.matrices).items()
    ]


@dataclass(frozen=True)
class DepthSummary:
    """σ_max of one attribute over the layers of one kind of matrix."""

    attribute: str
    """Whose subspaces."""
    kind: str
    """A kind of matrix that is stacked over layers."""
    layers: int
    """Number of layers."""
    first: float
    """In the first layer."""
    last: float
    """In the last layer."""
    largest: float
    """In the layer where it is largest."""
    largest_layer: int | None
    """That layer."""


def depth_of_peaks(magnitudes: Magnitudes) -> list[DepthSummary]:
    """One row for each attribute and kind of stacked matrix."""
    rows = []
    for name, sigma in zip(magnitudes.names, magnitudes.sigma, strict=True):
        for kind, members in magnitudes.stacks.items():
            own = sigma[members]
            peak = magnitudes.matrices[members[int(own.argmax())]].layer
            rows.append(DepthSummary(name, kind, len(members), float(own[0]), float(own[-1]), float(own.max()), peak))
    return rows


_ROWS: Columns[MagnitudeRow] = (
    ("attribute", lambda row: row.attribute),
    *OF_MATRIX,
    ("sigma max", lambda row: row.sigma_max),
)
_DEPTH: Columns[DepthSummary] = (
    ("attribute", lambda row: row.attribute),
    ("matrices", lambda row: row.kind),
    ("layers", lambda row: row.layers),
    ("first layer", lambda row: row.first),
    ("last layer", lambda row: row.last),
    ("largest", lambda row: row.largest),
    ("in layer", lambda row: row.largest_layer),
)


def magnitudes_section(magnitudes: Magnitudes) -> Section:
    """The largest singular value of each shared subspace over the layers (Fig. 5)."""
    columns: Columns[KindSummary] = (
        ("matrices", lambda row: row.kind),
        ("count", lambda row: row.count),
        *((name, lambda row, a=a: row.medians[a]) for a, name in enumerate(magnitudes.names)),
    )
    kinds = summary_of_kinds(magnitudes)
    figure, _ = curves_of_attributes(magnitudes.matrices, magnitudes.names, magnitudes.sigma, "largest singular value")
    return Section(
        title="Magnitudes",
        text=[
            "The largest singular value of a shared subspace says how strongly an attribute's adapters change a matrix "
            f"together. {magnitudes_in_words(magnitudes)}",
            table(kinds, columns, "Largest singular value of the shared subspace, median over the matrices of a kind."),
        ],
        figures={
            "magnitudes": (
                figure,
                "Largest singular value of each shared subspace (of C for the final weights of IRLS, Eq. 2–3) over the layers, "
                "one curve for each attribute, on a log scale that all panels share.",
            )
        },
        sheets={"magnitudes": sheet(magnitude_rows(magnitudes), _ROWS)},
        numbers={
            "kinds": sheet(kinds, columns).records(),
            "layers": sheet(depth_of_peaks(magnitudes), _DEPTH).records(),
        },
    )


def magnitudes_in_words(magnitudes: Magnitudes) -> str:
    """The largest of all, and whether attributes or layers differ more."""
    a, i = np.unravel_index(int(magnitudes.sigma.argmax()), magnitudes.sigma.shape)
    matrix = magnitudes.matrices[i]
    where = matrix.path if matrix.layer is None else f"layer {matrix.layer} of {matrix.group}"
    words = f"The largest of all is {magnitudes.names[a]}'s in {where} ({magnitudes.sigma[a, i]:.3g})."
    attributes, layers = magnitudes.attribute_spread, magnitudes.layer_spread
    if np.isnan(attributes):
        return words
    words += (
        f" In the same matrix, the attribute with the largest value has {attributes:.2g} times that of the smallest "
        "(median)"
    )
    if np.isnan(layers):
        return f"{words}."
    return f"{words}; over the layers of a kind, the largest is {layers:.2g} times the smallest."
