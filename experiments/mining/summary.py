"""The mined subspaces as rows of numbers: one per matrix and layer, and one per kind of matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from experiments.mining.mine import Mined
from subspace import effective_rank, spectral_pattern


@dataclass(frozen=True)
class MatrixSummary:
    """One matrix of one layer. Shares lie in 0…1, angles are degrees."""

    path: str
    layer: int | None
    """None for a matrix that is not part of a stack of layers."""
    n: int
    m: int
    rank: int
    dim: int
    iterations: int
    converged: bool
    weights: tuple[float, ...]
    """w_i / Σ w of each adapter."""
    pattern: str
    """One of Fig. 4's, see :class:`subspace.Pattern`."""
    drops: tuple[int, int]
    """Singular values before the drop at r, and before the largest one beyond r; 0 where there is none."""
    effective_rank: float
    captured: tuple[float, ...]
    """Share of each adapter's energy in the subspace."""
    held_out: float | None
    """Mean share of an adapter's energy in the subspace that the others share without it."""
    chance: float
    """What a random subspace of this size would capture."""
    turn: float | None
    """Median over the left-out adapters of the largest angle by which the subspace's column space turns."""


def rows(mined: Mined) -> list[MatrixSummary]:
    """Every matrix of every layer, in the model's order."""
    return [row for path in mined.subspaces for row in _rows_of(path, mined)]


def _rows_of(path: str, mined: Mined) -> Iterator[MatrixSummary]:
    found = mined.subspaces[path]
    n, m = found.factors.shape[-2:]
    pattern = spectral_pattern(found.initial_singular_values, mined.ranks[path])
    effective = effective_rank(found.singular_values)
    layers = found.weights.shape[:-1]
    for index in np.ndindex(*layers):
        stability = mined.stability.get(path)
        held_out = turn = None
        if stability is not None:
            held_out = float(np.mean(np.asarray(stability.held_out_energy)[index]))
            turn = float(np.degrees(np.median(np.asarray(stability.output_angles)[index][:, -1])))
        yield MatrixSummary(
            path=path,
            layer=index[0] if index else None,
            n=n,
            m=m,
            rank=mined.ranks[path],
            dim=found.factors.rank,
            iterations=int(np.asarray(found.iterations)[index]),
            converged=bool(np.asarray(found.converged)[index]),
            weights=_floats(np.asarray(found.weights)[index]),
            pattern=str(np.asarray(pattern.names)[index]),
            drops=tuple(int(x) for x in np.asarray(pattern.positions)[index]),  # type: ignore[arg-type]
            effective_rank=float(np.asarray(effective)[index]),
            captured=_floats(mined.captured[path][index]),
            held_out=held_out,
            chance=found.factors.rank**2 / (n * m),
            turn=turn,
        )


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def group_of(path: str) -> str:
    """The row of the short table that a matrix belongs to: each stack of blocks for itself, a head's rest together."""
    part, _, name = path.removeprefix("aggregator.").partition(".")
    kind = name.rsplit(".", 1)[-1]
    if part.endswith("_blocks"):
        return f"{part.removesuffix('_blocks')} {kind}"
    if name.startswith("trunk."):
        return f"{part.replace('_', ' ')} {kind}"
    return f"{part.replace('_', ' ')}, other"


class HasPath(Protocol):
    """Anything that belongs to one matrix of the model."""

    @property
    def path(self) -> str: ...


def by_group(members: Iterable[HasPath]) -> dict[str, np.ndarray]:
    """Kind of matrix (:func:`group_of`) → indices of its members, in order: the panels of a figure and their x-axis."""
    groups: dict[str, list[int]] = {}
    for i, member in enumerate(members):
        groups.setdefault(group_of(member.path), []).append(i)
    return {name: np.array(indices) for name, indices in groups.items()}


def short_table(summaries: Sequence[MatrixSummary]) -> list[dict[str, Any]]:
    """Medians over the matrices of one kind, with the commonest pattern; one dictionary per line of the table."""
    lines = []
    for name, indices in by_group(summaries).items():
        members = [summaries[i] for i in indices]
        pattern, count = Counter(member.pattern for member in members).most_common(1)[0]
        held_out = [member.held_out for member in members if member.held_out is not None]
        lines.append(
            {
                "matrices": name,
                "count": len(members),
                "pattern": f"{pattern} {count}/{len(members)}",
                "captured": float(np.median([np.mean(member.captured) for member in members])),
                "held_out": float(np.median(held_out)) if held_out else None,
                "chance": float(np.median([member.chance for member in members])),
                "lowest_weight": float(np.min([len(m.weights) * np.min(m.weights) for m in members])),
            }
        )
    return lines
