"""Where do the drop and the overlap come from? The same attributes under other conditions.

A drop of C's spectrum at r may only mirror a random input factor that all adapters started from, and an overlap the
directions that training prefers whatever its targets. A *control* is another output of ``experiments.extract`` for an
attribute under study: with the input factors drawn otherwise, with targets of other scenes (``shuffled``), or another seed.
What remains under a control is not the attribute's.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.conditions import Condition, Controls, condition_of
from experiments.analysis.matrices import Matrix, MatrixRow, over_matrices
from experiments.analysis.overlap import SIDES, excess, overlaps_of_pairs
from experiments.analysis.specificity import captured_shares, energy
from experiments.mining.folder import Inputs, MinedAttribute
from subspace import spectral_pattern
from subspace.angles import Side


@dataclass(frozen=True, eq=False)
class ControlOf:
    """One control beside the run of the same attribute that is under study."""

    attribute: str
    """The attribute of both."""
    condition: Condition
    """How the control was trained."""
    mined: MinedAttribute
    """The control."""
    drops: np.ndarray
    """(matrices, 2): size of the drop of C's first spectrum at r in decades, 0 without one; of the run and the control."""
    with_main: dict[Side, np.ndarray]
    """(matrices,): overlap (mean squared cosine) of the control's subspace with the run's."""
    captured: np.ndarray | None
    """(k,): share of the energy of the run's adapters inside the control's subspace on both sides; None without adapters."""


@dataclass(frozen=True, eq=False)
class ConditionOverlap:
    """Overlap of attributes with each other under one condition; arrays (matrices, pairs)."""

    pairs: list[tuple[str, str]]
    """Of the attributes that the condition has."""
    controls: dict[Side, np.ndarray]
    """Of the controls."""
    main: dict[Side, np.ndarray]
    """Of the same pairs in the runs under study."""


@dataclass(frozen=True, eq=False)
class ControlNumbers:
    """What :func:`measure_controls` finds."""

    matrices: list[Matrix]
    """All matrices of all layers."""
    main: dict[str, MinedAttribute]
    """By attribute: the runs under study."""
    controls: list[ControlOf]
    """Every control."""
    overlaps: dict[Condition, ConditionOverlap]
    """By condition, of those that hold at least two attributes."""
    chance: dict[Side, np.ndarray]
    """(matrices,): mean overlap of random subspaces."""
    condition_of_main: Condition
    """Of the runs under study."""

    @property
    def conditions(self) -> list[Condition]:
        """Every condition once."""
        return list(dict.fromkeys(control.condition for control in self.controls))

    def under(self, condition: Condition) -> list[ControlOf]:
        """The controls of one condition."""
        return [control for control in self.controls if control.condition == condition]


def measure_controls(inputs: Inputs, controls: Controls, angles: Angles) -> ControlNumbers:
    """Compare every control with the run of its attribute, and the attributes under every condition with each other."""
    overlaps: dict[Condition, ConditionOverlap] = {}
    found: list[ControlOf] = []
    for condition, by_attribute in controls.items():
        if len(by_attribute) > 1:
            overlaps[condition] = _between_attributes(by_attribute, angles)
        found += [_compare(inputs.attributes[attribute], mined, condition) for attribute, mined in by_attribute.items()]
    return ControlNumbers(
        matrices=angles.matrices,
        main=inputs.attributes,
        controls=found,
        overlaps=overlaps,
        chance={side: angles.sides[side].expected for side in SIDES},
        condition_of_main=condition_of(inputs.first),
    )


def _compare(main: MinedAttribute, control: MinedAttribute, condition: Condition) -> ControlOf:
    overlaps = overlaps_of_pairs([main.factors, control.factors])
    captured = None
    if main.adapter_files:
        captured = np.array([_share(main, number, control) for number in range(len(main.adapter_files))])
    return ControlOf(
        attribute=main.attribute,
        condition=condition,
        mined=control,
        drops=np.stack([drops_at_rank(each) for each in (main, control)], axis=-1),
        with_main={side: found[:, 0] for side, found in overlaps.items()},
        captured=captured,
    )


def drops_at_rank(mined: MinedAttribute) -> np.ndarray:
    """(matrices,): decades by which C's first spectrum falls at r, 0 without a drop (:func:`subspace.spectral_pattern`)."""
    sizes = {}
    for path in mined.factors:
        spectra = jnp.asarray(mined.statistics[path]["initial_singular_values"])
        sizes[path] = np.asarray(spectral_pattern(spectra, mined.ranks[path]).sizes)[..., 0]
    return over_matrices(sizes, 0)


def _share(main: MinedAttribute, number: int, control: MinedAttribute) -> float:
    """Of a whole adapter: matrices weighted by energy."""
    adapter = main.read_adapter(number)
    shares = over_matrices(captured_shares(adapter, control.factors), 1)[:, 0]
    weights = over_matrices({path: energy(delta) for path, delta in adapter.items()}, 0)
    total = float(weights.sum())
    return float(shares @ weights) / total if total > 0 else 0.0


def _between_attributes(by_attribute: Mapping[str, MinedAttribute], angles: Angles) -> ConditionOverlap:
    names = [
        name for name in dict.fromkeys(itertools.chain(*angles.pairs)) if name in by_attribute
    ]  # the inputs' order
    pairs = list(itertools.combinations(names, 2))
    columns = [angles.pairs.index(pair) for pair in pairs]
    return ConditionOverlap(
        pairs,
        overlaps_of_pairs([by_attribute[name].factors for name in names]),
        {side: angles.sides[side].overlap[:, columns] for side in SIDES},
    )


def surviving(main: np.ndarray, control: np.ndarray) -> np.ndarray:
    """control / main, NaN where there is nothing that could survive."""
    return np.divide(control, main, out=np.full(np.shape(main), np.nan), where=np.asarray(main) > 0)


@dataclass(frozen=True, kw_only=True)
class ControlRow(MatrixRow):
    """One control in one matrix, beside the run of its attribute."""

    attribute: str
    """The attribute of both."""
    condition: Condition
    """How the control was trained."""
    drop: float
    """Decades by which the run's spectrum falls at r; 0 without a drop."""
    control_drop: float
    """The same of the control."""
    remains: float | None
    """Control over run; None where the run has no drop."""
    overlap: dict[Side, float]
    """Of the control's subspace with the run's, by side."""
    chance: dict[Side, float]
    """Mean overlap of random subspaces, by side."""


def control_rows(numbers: ControlNumbers) -> list[ControlRow]:
    """One row for each control and matrix."""
    rows = []
    for control in numbers.controls:
        remains = surviving(control.drops[:, 0], control.drops[:, 1])
        for i, matrix in enumerate(numbers.matrices):
            rows.append(
                ControlRow(
                    path=matrix.path,
                    layer=matrix.layer,
                    attribute=control.attribute,
                    condition=control.condition,
                    drop=float(control.drops[i, 0]),
                    control_drop=float(control.drops[i, 1]),
                    remains=None if np.isnan(remains[i]) else float(remains[i]),
                    overlap={side: float(control.with_main[side][i]) for side in SIDES},
                    chance={side: float(numbers.chance[side][i]) for side in SIDES},
                )
            )
    return rows


@dataclass(frozen=True, kw_only=True)
class OverlapRow(MatrixRow):
    """One pair of attributes in one matrix on one side, in the runs and under one condition."""

    condition: Condition
    """How the controls were trained."""
    side: Side
    """Column spaces (output) or row spaces (input)."""
    first: str
    """One attribute."""
    second: str
    """The other attribute."""
    overlap: float
    """In the runs under study."""
    control_overlap: float
    """In the controls."""
    chance: float
    """Of random subspaces, on average."""
    remains: float | None
    """Excess over chance of the controls over that of the runs; None where the runs have none."""


def overlap_rows(numbers: ControlNumbers) -> list[OverlapRow]:
    """One row for each condition, side, matrix and pair of attributes."""
    rows = []
    for condition, found in numbers.overlaps.items():
        for side in SIDES:
            for i, matrix in enumerate(numbers.matrices):
                chance = float(numbers.chance[side][i])
                for j, (first, second) in enumerate(found.pairs):
                    main, control = float(found.main[side][i, j]), float(found.controls[side][i, j])
                    above_chance = float(excess(main, chance))
                    rows.append(
                        OverlapRow(
                            path=matrix.path,
                            layer=matrix.layer,
                            condition=condition,
                            side=side,
                            first=first,
                            second=second,
                            overlap=main,
                            control_overlap=control,
                            chance=chance,
                            remains=(control - chance) / above_chance if above_chance > 0 else None,
                        )
                    )
    return rows


@dataclass(frozen=True)
class ControlSummary:
    """One control beside the run of its attribute, over all matrices."""

    attribute: str
    """The attribute of both."""
    condition: Condition
    """How the control was trained."""
    drops: int
    """Matrices in which the run has a drop at r."""
    control_drops: int
    """Matrices in which the control has one."""
    drop: float
    """Median size of the run's drop in decades, 0 for a matrix without one."""
    control_drop: float
    """The same of the control."""
    remains: float | None
    """Median of control over run, of the matrices in which the run has a drop; None without any."""
    times_chance: dict[Side, float]
    """Median of the overlap with the run over that of random subspaces, by side."""
    captured: float | None
    """Share of the run's adapters' energy inside the control's subspace; None without adapters."""


def control_summary(numbers: ControlNumbers) -> list[ControlSummary]:
    """One row for each control."""
    rows = []
    for control in numbers.controls:
        remains = surviving(control.drops[:, 0], control.drops[:, 1])
        remains = remains[~np.isnan(remains)]
        rows.append(
            ControlSummary(
                attribute=control.attribute,
                condition=control.condition,
                drops=int((control.drops[:, 0] > 0).sum()),
                control_drops=int((control.drops[:, 1] > 0).sum()),
                drop=float(np.median(control.drops[:, 0])),
                control_drop=float(np.median(control.drops[:, 1])),
                remains=float(np.median(remains)) if remains.size else None,
                times_chance={side: float(np.median(control.with_main[side] / numbers.chance[side])) for side in SIDES},
                captured=None if control.captured is None else float(control.captured.mean()),
            )
        )
    return rows


@dataclass(frozen=True)
class OverlapSummary:
    """Overlap between attributes on one side, of the runs and under one condition."""

    condition: Condition
    """How the controls were trained."""
    side: Side
    """Column spaces (output) or row spaces (input)."""
    pairs: int
    """Pairs of attributes that the condition has."""
    times_chance: float
    """Median, over matrices and pairs, of the runs' overlap over that of random subspaces."""
    control_times_chance: float
    """The same of the controls."""
    remains: float | None
    """Σ (control − chance) / Σ (run − chance) over all matrices and pairs; None if the runs overlap no more than chance.
    Ratios of single matrices near chance would be noise."""


def overlap_summary(numbers: ControlNumbers) -> list[OverlapSummary]:
    """One row for each condition and side."""
    rows = []
    for condition, found in numbers.overlaps.items():
        for side in SIDES:
            chance = numbers.chance[side][:, None]
            beyond, remaining = (float(np.sum(excess(each[side], chance))) for each in (found.main, found.controls))
            rows.append(
                OverlapSummary(
                    condition=condition,
                    side=side,
                    pairs=len(found.pairs),
                    times_chance=float(np.median(found.main[side] / chance)),
                    control_times_chance=float(np.median(found.controls[side] / chance)),
                    remains=remaining / beyond if beyond > 0 else None,
                )
            )
    return rows
