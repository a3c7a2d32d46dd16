"""Which matrices do all adapters agree on? C's first spectrum in every matrix of every attribute (Sec. 4.2, Figs. 2, 4)."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of
from experiments.mining.folder import Inputs, MinedAttribute
from experiments.mining.origin import Init
from subspace import Pattern, spectral_pattern

SMALL = 1e-3
"""The paper finds σ_2d'/σ_max below this."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """What :func:`measure_spectra` finds; arrays (attributes, matrices) unless said otherwise."""

    names: list[str]
    """The attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    inits: list[Init | None]
    """By attribute: how the adapters' input factors were drawn; None if the folder does not say."""
    sigma: list[list[np.ndarray]]
    """By attribute and matrix: (p,), the singular values of C in the first IRLS iteration, decreasing."""
    ranks: np.ndarray
    """r of the adapters."""
    codes: np.ndarray
    """A :class:`subspace.Pattern`."""
    positions: np.ndarray
    """(attributes, matrices, 2): singular values before the drop at r and before the one beyond; 0 where there is none."""
    sizes: np.ndarray
    """(attributes, matrices, 2): decades by which the singular values fall there; 0 where there is none."""
    ratios: np.ndarray
    """σ_2d'/σ_max; NaN where C has fewer than 2d' singular values, or is zero."""

    def pattern(self, attribute: int, matrix: int) -> Pattern:
        """Of one spectrum."""
        return Pattern(int(self.codes[attribute, matrix]))

    def drops(self, attribute: int, matrix: int) -> tuple[int, int]:
        """Singular values of one spectrum before the drop at r and before the one beyond; 0 where there is none."""
        at, beyond = self.positions[attribute, matrix].tolist()
        return at, beyond


def measure_spectra(inputs: Inputs) -> Spectra:
    """Patterns, drops and σ_2d'/σ_max of all attributes in all matrices."""
    matrices = matrices_of(inputs.first.factors)
    sigma = [_spectra_of(mined) for mined in inputs.attributes.values()]
    ranks = np.array([[mined.ranks[matrix.path] for matrix in matrices] for mined in inputs.attributes.values()])
    codes, positions, sizes = _patterns(sigma, ranks)
    return Spectra(
        names=inputs.names,
        matrices=matrices,
        inits=[mined.origin.init for mined in inputs.attributes.values()],
        sigma=sigma,
        ranks=ranks,
        codes=codes,
        positions=positions,
        sizes=sizes,
        ratios=np.array([[_ratio(s, 2 * m.dim) for s, m in zip(own, matrices, strict=True)] for own in sigma]),
    )


def _spectra_of(mined: MinedAttribute) -> list[np.ndarray]:
    stacks = [mined.statistics[path]["initial_singular_values"] for path in mined.factors]
    return [sigma for stack in stacks for sigma in stack.reshape(-1, stack.shape[-1])]


def _patterns(sigma: list[list[np.ndarray]], ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, positions and sizes; spectra of one length and r together, since each such kind is compiled anew."""
    codes, positions, sizes = np.zeros(ranks.shape, int), np.zeros((*ranks.shape, 2), int), np.zeros((*ranks.shape, 2))
    alike: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for a, i in np.ndindex(*ranks.shape):
        alike.setdefault((sigma[a][i].size, int(ranks[a, i])), []).append((a, i))
    for (_, rank), members in alike.items():
        found = spectral_pattern(jnp.asarray([sigma[a][i] for a, i in members]), rank)
        where = tuple(np.array(members).T)
        codes[where], positions[where], sizes[where] = found.code, found.positions, found.sizes
    return codes, positions, sizes


def _ratio(sigma: np.ndarray, index: int) -> float:
    return float(sigma[index - 1] / sigma[0]) if index <= sigma.size and sigma[0] > 0 else np.nan


@dataclass(frozen=True, kw_only=True)
class SpectrumRow(MatrixRow):
    """The spectrum of C of one attribute in one matrix."""

    attribute: str
    """Whose adapters."""
    rank: int
    """r of the adapters."""
    dim: int
    """d' of the subspace."""
    pattern: Pattern
    """The behaviour of the spectrum."""
    drop_after: int | None
    """Singular values before the drop at r; None without one."""
    drop: float | None
    """Decades by which the singular values fall at r; None without a drop."""
    later_drop_after: int | None
    """Singular values before the largest drop beyond r; None without one."""
    later_drop: float | None
    """Decades by which the singular values fall there; None without a drop."""
    ratio: float | None
    """σ_2d'/σ_max; None where C has fewer than 2d' singular values, or is zero."""
    sigma_max: float
    """The largest singular value."""


def spectrum_rows(spectra: Spectra) -> list[SpectrumRow]:
    """One row for each attribute and matrix."""
    rows = []
    for a, name in enumerate(spectra.names):
        for i, matrix in enumerate(spectra.matrices):
            (at, beyond), (drop, later_drop) = spectra.drops(a, i), spectra.sizes[a, i]
            ratio = spectra.ratios[a, i]
            rows.append(
                SpectrumRow(
                    path=matrix.path,
                    layer=matrix.layer,
                    attribute=name,
                    rank=int(spectra.ranks[a, i]),
                    dim=matrix.dim,
                    pattern=spectra.pattern(a, i),
                    drop_after=at or None,
                    drop=float(drop) if at else None,
                    later_drop_after=beyond or None,
                    later_drop=float(later_drop) if beyond else None,
                    ratio=None if np.isnan(ratio) else float(ratio),
                    sigma_max=float(spectra.sigma[a][i][0]),
                )
            )
    return rows


@dataclass(frozen=True, kw_only=True)
class SingularValueRow(MatrixRow):
    """One singular value of C of one attribute in one matrix."""

    attribute: str
    """Whose adapters."""
    index: int
    """From 1 for the largest."""
    value: float
    """The singular value in the first IRLS iteration."""


def singular_value_rows(spectra: Spectra) -> list[SingularValueRow]:
    """One row for each singular value: the curves of the figures."""
    return [
        SingularValueRow(path=matrix.path, layer=matrix.layer, attribute=name, index=index, value=value)
        for name, own in zip(spectra.names, spectra.sigma, strict=True)
        for matrix, sigma in zip(spectra.matrices, own, strict=True)
        for index, value in enumerate(sigma.tolist(), start=1)
    ]


@dataclass(frozen=True)
class AttributeSpectra:
    """All spectra of one attribute."""

    attribute: str
    """Whose adapters."""
    counts: dict[Pattern, int]
    """Number of matrices with each pattern."""
    drop: float | None
    """Median size of the drops at r in decades; None without any."""
    later_drop: float | None
    """Median size of the drops beyond r in decades; None without any."""
    ratio: float | None
    """Median of σ_2d'/σ_max over the matrices that have it; None without any."""
    small: int
    """Number of matrices in which that ratio is below :data:`SMALL`."""


def summary_of_attributes(spectra: Spectra) -> list[AttributeSpectra]:
    """One row for each attribute."""
    rows = []
    for a, name in enumerate(spectra.names):
        at, beyond = (own[own > 0] for own in spectra.sizes[a].T)
        ratios = spectra.ratios[a][~np.isnan(spectra.ratios[a])]
        rows.append(
            AttributeSpectra(
                attribute=name,
                counts={pattern: int((spectra.codes[a] == pattern).sum()) for pattern in Pattern},
                drop=_median(at),
                later_drop=_median(beyond),
                ratio=_median(ratios),
                small=int((ratios < SMALL).sum()),
            )
        )
    return rows


@dataclass(frozen=True)
class PatternDepth:
    """Where one pattern is found among the frame and global blocks."""

    pattern: Pattern
    """A behaviour of spectra."""
    count: int
    """Number of spectra that have it."""
    total: int
    """Number of all spectra of the blocks."""
    layers: list[int]
    """The layers in which it is found, increasing."""
    median_layer: float | None
    """Median over the spectra; None without any."""


def depth_of_patterns(spectra: Spectra) -> list[PatternDepth]:
    """One row for each pattern."""
    layers = np.array([-1 if matrix.block is None else matrix.block for matrix in spectra.matrices])
    total = int((layers >= 0).sum()) * len(spectra.names)
    rows = []
    for pattern in Pattern:
        own = np.broadcast_to(layers, spectra.codes.shape)[(spectra.codes == pattern) & (layers >= 0)]
        rows.append(PatternDepth(pattern, own.size, total, np.unique(own).tolist(), _median(own)))
    return rows


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None
