"""Which matrices do all adapters agree on? C's first spectrum in every matrix of every attribute (Sec. 4.2, Figs. 2, 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.analysis.matrices import Matrix, matrices_of
from experiments.mining.folder import Inputs, MinedAttribute
from subspace import Pattern, spectral_pattern

SMALL = 1e-3
"""The paper finds σ_2d'/σ_max below this."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """What :func:`measure_spectra` finds; arrays (attributes, matrices) unless said otherwise."""

    names: list[str]
    matrices: list[Matrix]
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

    def pattern(self, attribute: int, matrix: int) -> str:
        """In lower case, as :attr:`subspace.SpectralPattern.names`."""
        return Pattern(int(self.codes[attribute, matrix])).name.lower()


def measure_spectra(inputs: Inputs) -> Spectra:
    """Patterns, drops and σ_2d'/σ_max of all attributes in all matrices."""
    matrices = matrices_of(inputs.first.factors)
    sigma = [_spectra_of(mined) for mined in inputs.attributes.values()]
    ranks = np.array([[mined.ranks[matrix.path] for matrix in matrices] for mined in inputs.attributes.values()])
    codes, positions, sizes = _patterns(sigma, ranks)
    return Spectra(
        names=inputs.names,
        matrices=matrices,
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


def spectrum_rows(spectra: Spectra) -> Iterator[dict[str, Any]]:
    """One row for each attribute and matrix."""
    for a, name in enumerate(spectra.names):
        for i, matrix in enumerate(spectra.matrices):
            (at, beyond), (at_size, beyond_size) = spectra.positions[a, i], spectra.sizes[a, i]
            ratio = spectra.ratios[a, i]
            yield {
                "attribute": name,
                "path": matrix.path,
                "layer": matrix.layer,
                "r": int(spectra.ranks[a, i]),
                "dim": matrix.dim,
                "pattern": spectra.pattern(a, i),
                "drop at r after": int(at) or None,
                "drop at r, decades": float(at_size) if at else None,
                "later drop after": int(beyond) or None,
                "later drop, decades": float(beyond_size) if beyond else None,
                "sigma 2d' / sigma max": None if np.isnan(ratio) else float(ratio),
                "sigma max": float(spectra.sigma[a][i][0]),
            }


def singular_value_rows(spectra: Spectra) -> Iterator[dict[str, Any]]:
    """One row for each singular value: the curves of the figures."""
    for name, own in zip(spectra.names, spectra.sigma, strict=True):
        for matrix, sigma in zip(spectra.matrices, own, strict=True):
            for index, value in enumerate(sigma.tolist(), 1):
                yield {
                    "attribute": name,
                    "path": matrix.path,
                    "layer": matrix.layer,
                    "index": index,
                    "singular value": value,
                }


def summary_of_attributes(spectra: Spectra) -> list[dict[str, Any]]:
    """One row for each attribute: matrices of each pattern, medians of the drops that there are, and of σ_2d'/σ_max."""
    rows = []
    for a, name in enumerate(spectra.names):
        drops = [own[own > 0] for own in spectra.sizes[a].T]
        ratios = spectra.ratios[a][~np.isnan(spectra.ratios[a])]
        rows.append(
            {
                "attribute": name,
                "spectra": len(spectra.matrices),
                **{pattern.name.lower(): int((spectra.codes[a] == pattern).sum()) for pattern in Pattern},
                "median drop at r, decades": _median(drops[0]),
                "median later drop, decades": _median(drops[1]),
                "median sigma 2d' / sigma max": _median(ratios),
                "sigma 2d' small": int((ratios < SMALL).sum()),
            }
        )
    return rows


def depth_of_patterns(spectra: Spectra) -> list[dict[str, Any]]:
    """One row for each pattern: how many spectra of the frame and global blocks have it, and in which layers."""
    layers = np.array([-1 if matrix.block is None else matrix.block for matrix in spectra.matrices])
    rows = []
    for pattern in Pattern:
        own = np.broadcast_to(layers, spectra.codes.shape)[(spectra.codes == pattern) & (layers >= 0)]
        rows.append(
            {
                "pattern": pattern.name.lower(),
                "spectra": own.size,
                "of": int((layers >= 0).sum()) * len(spectra.names),
                "layers": ranges(np.unique(own).tolist()),
                "median layer": _median(own),
            }
        )
    return rows


def ranges(numbers: list[int]) -> str:
    """Increasing numbers in words: 0, 1, 2 and 5 are "0–2, 5"; nothing is "–"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "–"


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None
