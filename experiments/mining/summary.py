"""The mined subspaces as rows of numbers: one per matrix and layer, and one per kind of matrix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np

from experiments.mining.mine import Mined
from subspace import effective_rank, spectral_pattern

PatternName = Literal["none", "at_rank", "beyond_rank", "two_drops"]
"""Names of :class:`subspace.Pattern`, Fig. 4's kinds of spectra."""
CLEARLY_MORE = 3.0
"""Held-out energy above this many times chance is called more than chance."""


@dataclass(frozen=True)
class MatrixSummary:
    """One matrix of one layer. Shares lie in 0…1, angles are degrees."""

    path: str
    """Name of the matrix in the model."""
    layer: int | None
    """Number of the layer; None for a matrix that is not part of a stack of layers."""
    n: int
    """Number of outputs."""
    m: int
    """Number of inputs."""
    rank: int
    """r of the adapters."""
    dim: int
    """d' of the subspace."""
    iterations: int
    """Number of IRLS iterations."""
    converged: bool
    """Whether the iterations ended before their limit."""
    weights: tuple[float, ...]
    """w_i / Σ w of each adapter."""
    pattern: PatternName | None
    """Kind of the first spectrum of C, one of Fig. 4's; None of a single singular value."""
    drops: tuple[int, int]
    """Singular values before the drop at r, and before the largest one beyond r; 0 where there is none."""
    effective_rank: float
    """Effective rank of C after IRLS."""
    captured: tuple[float, ...]
    """Share of each adapter's energy in the subspace."""
    held_out: float | None
    """Mean share of an adapter's energy in the subspace that the others share without it; None with two adapters."""
    held_out_each: tuple[float, ...] | None
    """The same of each adapter."""
    chance: float
    """Share of energy that a random subspace would capture, of the dimensions of those that the held-out share is of."""
    turn: float | None
    """Median over the left-out adapters of the largest angle by which the subspace's column space turns; None with two
    adapters."""


@dataclass(frozen=True)
class KindSummary:
    """The matrices of one kind: medians over them, with the commonest pattern."""

    kind: str
    """Name of the kind, as :func:`group_of` has it."""
    count: int
    """Number of matrices."""
    pattern: PatternName | None
    """The commonest pattern; None where no matrix has one."""
    with_pattern: int
    """Number of matrices with that pattern."""
    captured: float
    """Median share of an adapter's energy in the subspace."""
    held_out: float | None
    """Median share of an adapter's energy in the subspace of the others; None with two adapters."""
    chance: float
    """Median share of energy that a random subspace captures."""
    lowest_weight: float
    """Smallest k · w_i of any adapter in any matrix."""


@dataclass(frozen=True)
class Sharing:
    """Whether the adapters share a subspace, measured by adapters that had no say in it."""

    matrices: int
    """Number of matrices."""
    above_chance: int
    """Number of matrices in which held-out adapters have clearly more energy in the subspace than chance puts there."""
    held_out: float
    """Median share of a held-out adapter's energy in the subspace of the others."""
    chance: float
    """Median share of energy that a random subspace captures."""


def rows(mined: Mined) -> list[MatrixSummary]:
    """Every matrix of every layer, in the model's order."""
    return [row for path in mined.subspaces for row in _rows_of(path, mined)]


def _rows_of(path: str, mined: Mined) -> Iterator[MatrixSummary]:
    """Without the layers in which all adapters are zero, unless they are so in all layers."""
    found = mined.subspaces[path]
    n, m = found.factors.shape[-2:]
    pattern = spectral_pattern(found.initial_singular_values, mined.ranks[path])
    has_pattern = found.initial_singular_values.shape[-1] > 1
    effective = effective_rank(found.singular_values)
    layers = found.weights.shape[:-1]
    adapted = np.any(np.asarray(found.residuals) > 0, axis=-1) | np.any(np.asarray(found.singular_values) > 0, axis=-1)
    for index in np.ndindex(*layers):
        if not adapted[index] and adapted.any():
            continue  # a layer that no adapter has
        stability = mined.stability.get(path)
        held_out = held_out_each = turn = None
        chance = found.factors.rank**2 / (n * m)
        if stability is not None:
            chance = stability.output_angles.shape[-1] ** 2 / (n * m)
            held_out_each = _floats(np.asarray(stability.held_out_share)[index])
            held_out = float(np.mean(np.asarray(stability.held_out_share)[index]))
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
            pattern=cast(PatternName, str(np.asarray(pattern.names)[index])) if has_pattern else None,
            drops=tuple(int(x) for x in np.asarray(pattern.positions)[index]),  # type: ignore[arg-type]
            effective_rank=float(np.asarray(effective)[index]),
            captured=_floats(mined.captured[path][index]),
            held_out=held_out,
            held_out_each=held_out_each,
            chance=chance,
            turn=turn,
        )


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


_OF_LAYER = re.compile(r".*[._]\d+[._](?P<kind>[^\d].*?)(?:\.\d+)?")
"""Of other models: what follows the last number of a layer."""
_PARTS = ("aggregator.", "camera_head.", "depth_head.", "point_head.", "track_head.")


def group_of(path: str) -> str:
    """The row of the short table that a matrix belongs to: each stack of blocks for itself, a head's rest together.

    Of other models the last word, of what follows the layer's number: ``model.layers.3.self_attn.q_proj`` is ``q_proj``.
    """
    if not path.startswith(_PARTS):
        of_layer = _OF_LAYER.fullmatch(path)
        return (path if of_layer is None else of_layer["kind"]).rsplit(".", 1)[-1]
    part, _, name = path.removeprefix("aggregator.").partition(".")
    kind = name.rsplit(".", 1)[-1]
    if part.endswith("_blocks"):
        return f"{part.removesuffix('_blocks')} {kind}"
    if name.startswith("trunk."):
        return f"{part.replace('_', ' ')} {kind}"
    return f"{part.replace('_', ' ')}, other"


def part_of(path: str) -> str:
    """The part of VGGT that a matrix belongs to: "aggregator", "camera head"; of other models "all"."""
    return path.partition(".")[0].replace("_", " ") if path.startswith(_PARTS) else "all"


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


def by_kind(matrices: Sequence[MatrixSummary]) -> list[KindSummary]:
    """One summary for each kind of matrix, in the model's order."""
    groups = by_group(matrices)
    return [_summarize(kind, [matrices[i] for i in indices]) for kind, indices in groups.items()]


def _summarize(kind: str, members: Sequence[MatrixSummary]) -> KindSummary:
    patterns: Counter[PatternName] = Counter(member.pattern for member in members if member.pattern is not None)
    pattern, with_pattern = patterns.most_common(1)[0] if patterns else (None, 0)
    held_out = [member.held_out for member in members if member.held_out is not None]
    return KindSummary(
        kind=kind,
        count=len(members),
        pattern=pattern,
        with_pattern=with_pattern,
        captured=float(np.median([np.mean(member.captured) for member in members])),
        held_out=float(np.median(held_out)) if held_out else None,
        chance=float(np.median([member.chance for member in members])),
        lowest_weight=float(np.min([len(m.weights) * np.min(m.weights) for m in members])),
    )


def sharing(matrices: Sequence[MatrixSummary]) -> Sharing | None:
    """What held-out adapters say; None with two adapters, of which none can be held out.

    Matrices in which all adapters are zero count only where there are no others.
    """
    changed = [matrix for matrix in matrices if any(matrix.captured)] or matrices
    measured = [(matrix.held_out, matrix.chance) for matrix in changed if matrix.held_out is not None]
    if not measured:
        return None
    return Sharing(
        matrices=len(measured),
        above_chance=sum(held_out > CLEARLY_MORE * chance for held_out, chance in measured),
        held_out=float(np.median([held_out for held_out, _ in measured])),
        chance=float(np.median([chance for _, chance in measured])),
    )
