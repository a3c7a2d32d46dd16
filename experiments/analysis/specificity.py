"""How much of an adapter's energy lies in the subspace of its own attribute, mined without it, and in those of the others?

All are mined from equally many adapters.

The test of disentanglement that matters to a user: if a subspace is the attribute's, an adapter of this attribute that it
has not seen must lie in it more than in the subspaces of other attributes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.analysis.matrices import Matrix, MatrixRow, matrices_of, over_matrices
from experiments.analysis.overlap import excess
from experiments.analysis.resampling import Member, adapter_counts, mine_members, room
from experiments.mining.folder import Inputs
from experiments.mining.summary import by_group, part_of
from experiments.process.reporting import SILENT, Reporter
from subspace import Basis, LowRank, captured_energy, inner_product


class Inside(enum.IntEnum):
    """On which sides an update is inside a subspace: ‖UᵀdW V‖², ‖UᵀdW‖² and ‖dW V‖² over ‖dW‖²."""

    BOTH = 0
    OUTPUT = 1
    INPUT = 2


@dataclass(frozen=True, eq=False)
class Specificity:
    """What :func:`measure_specificity` finds."""

    names: list[str]
    """The attributes."""
    matrices: list[Matrix]
    """All matrices of all layers."""
    shares: dict[str, np.ndarray]
    """attribute X → (k, matrices, attributes, 3): share, 0 to 1, of each adapter of X in the subspace of each attribute.
    That of X itself is mined without the adapter, those of the others from equally many. The last axis is
    :class:`Inside`."""
    energies: dict[str, np.ndarray]
    """attribute → (k, matrices): ‖dW‖² of its adapters."""
    chance: np.ndarray
    """(matrices, 3): what random subspaces of this size capture, d'²/(n·m), d'/n and d'/m."""


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of whole adapters over a set of matrices, weighted by energy."""

    mean: np.ndarray
    """(attributes, attributes, 3): adapters of the first, subspace of the second; mean over the adapters."""
    spread: np.ndarray
    """The same: standard deviation over the adapters."""
    chance: np.ndarray
    """(attributes, 3): for the adapters of each attribute."""
    own_largest: np.ndarray
    """(attributes, 3): adapters that lie more in their own attribute's subspace than in any other."""
    count: np.ndarray
    """(attributes,): k."""
    energy: np.ndarray
    """(attributes,): share of the adapters' energy ‖dW‖² that is in these matrices, mean over the adapters."""


def measure_specificity(inputs: Inputs, reporter: Reporter = SILENT, members: int | None = None) -> Specificity:
    """Leave every adapter out once, and one of every other attribute, and measure where it lies.

    Args:
      inputs: with adapters, at least two of each attribute.
      reporter: gets a line before each adapter.
      members: number of adapters that subspaces are mined from; None for all but the one that is left out.
    """
    counts = adapter_counts(inputs)
    members = min(counts.values()) - 1 if members is None else members
    dims = room(inputs, members)
    shares: dict[str, list[np.ndarray]] = {name: [] for name in inputs.names}
    energies: dict[str, list[np.ndarray]] = {name: [] for name in inputs.names}
    for number in range(max(counts.values())):
        reporter.info(f"adapter {number + 1} of {max(counts.values())} of every attribute left out")
        subspaces = [
            mine_members(inputs, _without(name, number, count, members), dims) for name, count in counts.items()
        ]
        for name, mined in inputs.attributes.items():
            if number >= counts[name]:
                continue
            adapter = mined.read_adapter(number)
            captured = [captured_shares(adapter, subspace) for subspace in subspaces]
            shares[name].append(
                np.stack([over_matrices({path: found[path] for path in adapter}, 1) for found in captured], axis=1)
            )
            energies[name].append(over_matrices({path: energy(delta) for path, delta in adapter.items()}, 0))
    matrices = matrices_of(inputs.first.factors)
    sizes = np.array([(dims[matrix.path], matrix.n, matrix.m) for matrix in matrices], float)
    output, input_ = sizes[:, 0] / sizes[:, 1], sizes[:, 0] / sizes[:, 2]
    chance = np.stack([output * input_, output, input_], axis=-1)
    stacked, whole = ({name: np.stack(each) for name, each in found.items()} for found in (shares, energies))
    return Specificity(inputs.names, matrices, stacked, whole, chance)


def _without(name: str, number: int, count: int, members: int) -> list[Member]:
    """As many of an attribute's adapters as of any other's, without one: a subspace of more would be the better one."""
    return [(name, other) for other in range(count) if other != number % count][:members]


def captured_shares(adapter: Mapping[str, LowRank], subspace: Mapping[str, LowRank]) -> dict[str, np.ndarray]:
    """path → (*layers, 3): share of an adapter's energy inside canonical subspaces, by :class:`Inside`; 0 of a zero update."""
    return {
        path: np.stack(
            [captured_energy(delta.to_numpy(np.float64), basis, side) for side in (None, "output", "input")], axis=-1
        )
        for path, delta in adapter.items()
        for basis in [Basis.of_canonical(subspace[path].to_numpy(np.float64), np.float32)]
    }


def energy(delta: LowRank) -> np.ndarray:
    """‖dW‖² (*layers) of each matrix, in float64."""
    delta = delta.to_numpy(np.float64)
    return np.asarray(inner_product(delta, delta))


def whole_shares(found: Specificity) -> Shares:
    """Over all matrices."""
    return _over(found, np.arange(len(found.matrices)))


def shares_by_kind(found: Specificity) -> dict[str, Shares]:
    """Over the matrices of each kind."""
    return {kind: _over(found, members) for kind, members in by_group(found.matrices).items()}


def shares_by_part(found: Specificity) -> dict[str, Shares]:
    """Over the matrices of each part of the model."""
    parts = np.array([part_of(matrix.path) for matrix in found.matrices])
    return {part: _over(found, np.flatnonzero(parts == part)) for part in dict.fromkeys(parts.tolist())}


def _over(found: Specificity, members: np.ndarray) -> Shares:
    mean, spread, chance, largest, energy = [], [], [], [], []
    for own, name in enumerate(found.names):
        weights = found.energies[name][:, members]
        total = np.sum(weights, axis=1, keepdims=True)
        weights = weights / np.where(total > 0, total, 1)
        everything = np.sum(found.energies[name], axis=1, keepdims=True)
        energy.append(float(np.mean(total / np.where(everything > 0, everything, 1))))
        shares = np.einsum("km,kmac->kac", weights, found.shares[name][:, members])  # (k, attributes, 3)
        mean.append(shares.mean(axis=0))
        spread.append(shares.std(axis=0))
        chance.append(np.einsum("km,mc->c", weights, found.chance[members]) / len(weights))
        others = np.delete(shares, own, axis=1).max(axis=1)
        largest.append((excess(shares[:, own], others) > 0).sum(axis=0))
    count = np.array([len(found.energies[name]) for name in found.names])
    return Shares(np.stack(mean), np.stack(spread), np.stack(chance), np.stack(largest), count, np.array(energy))


@dataclass(frozen=True)
class PartRow:
    """Held-out adapters in a part of the model, on both sides or on one."""

    adapters_of: str | None
    """Their attribute; None for the adapters of all."""
    part: str
    """The part of the model."""
    energy: float
    """Share of the adapters' energy that is in it, 0 to 1."""
    inside: Inside
    """On which sides."""
    own: float
    """Share of this energy in the subspace of the adapter's own attribute, mined without it; mean over the adapters."""
    others: float
    """The same in the subspaces of the other attributes."""
    chance: float
    """Of a random subspace of the same size."""
    of_shared: float
    """Share, 0 to 1, of all that lies in own subspaces that lies in this part."""
    own_largest: int
    """Adapters whose energy in this part lies more in their own attribute's subspace than in any other."""
    adapters: int
    """Number of adapters."""


def part_rows(found: Specificity, adapters_of: str | None = None) -> list[PartRow]:
    """One row for each part of the model and :class:`Inside`.

    Args:
      found: what was measured.
      adapters_of: the attribute whose adapters are looked at; None for all attributes, which count alike.
    """
    whole, rows = whole_shares(found), []
    own = np.eye(len(found.names), dtype=bool)
    chosen = np.array([adapters_of in (None, name) for name in found.names])
    for part, shares in shares_by_part(found).items():
        for inside in Inside:
            mean = shares.mean[chosen, :, inside]
            rows.append(
                PartRow(
                    adapters_of,
                    part,
                    float(shares.energy[chosen].mean()),
                    inside,
                    float(mean[own[chosen]].mean()),
                    float(mean[~own[chosen]].mean()),
                    float(shares.chance[chosen, inside].mean()),
                    float(_of_whole(found, part, inside)[chosen].mean() / whole.mean[own & chosen][:, inside].mean()),
                    int(shares.own_largest[chosen, inside].sum()),
                    int(shares.count[chosen].sum()),
                )
            )
    return rows


def _of_whole(found: Specificity, part: str, inside: Inside) -> np.ndarray:
    """(attributes,): share of whole adapters' energy that is in this part and in their own subspace, mean over adapters."""
    members = [i for i, matrix in enumerate(found.matrices) if part_of(matrix.path) == part]
    each = []
    for own, name in enumerate(found.names):
        energies = found.energies[name]
        within = np.sum(energies[:, members] * found.shares[name][:, members, own, inside], axis=1)
        each.append(np.mean(within / energies.sum(axis=1)))
    return np.array(each)


@dataclass(frozen=True)
class ShareRow:
    """Held-out adapters of one attribute in the subspace of one attribute."""

    adapters_of: str
    """The adapters' attribute."""
    subspace_of: str
    """The subspace's attribute."""
    inside: Inside
    """On which sides."""
    share: float
    """Mean over the adapters, 0 to 1."""
    spread: float
    """Standard deviation over the adapters."""
    chance: float
    """Of a random subspace of the same size."""


def share_rows(shares: Shares, names: list[str]) -> list[ShareRow]:
    """One row for each attribute of the adapters, attribute of the subspace and :class:`Inside`."""
    return [
        ShareRow(
            adapters_of=adapters,
            subspace_of=subspace,
            inside=inside,
            share=float(shares.mean[i, j, inside]),
            spread=float(shares.spread[i, j, inside]),
            chance=float(shares.chance[i, inside]),
        )
        for i, adapters in enumerate(names)
        for j, subspace in enumerate(names)
        for inside in Inside
    ]


@dataclass(frozen=True, kw_only=True)
class AdapterRow(MatrixRow):
    """One held-out adapter in one matrix and the subspace of one attribute."""

    adapters_of: str
    """The adapter's attribute."""
    adapter: int
    """Its number, from 0."""
    subspace_of: str
    """The subspace's attribute."""
    shares: dict[Inside, float]
    """Of the adapter's energy in this matrix, 0 to 1."""
    energy: float
    """‖dW‖² of the adapter in this matrix."""


def adapter_rows(found: Specificity) -> list[AdapterRow]:
    """One row for each adapter, matrix and subspace."""
    rows = []
    for name in found.names:
        for k, (shares, energies) in enumerate(zip(found.shares[name], found.energies[name], strict=True)):
            for i, matrix in enumerate(found.matrices):
                for j, subspace in enumerate(found.names):
                    rows.append(
                        AdapterRow(
                            path=matrix.path,
                            layer=matrix.layer,
                            adapters_of=name,
                            adapter=k,
                            subspace_of=subspace,
                            shares={inside: float(shares[i, j, inside]) for inside in Inside},
                            energy=float(energies[i]),
                        )
                    )
    return rows
