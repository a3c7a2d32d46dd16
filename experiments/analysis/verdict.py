"""The result in a few numbers: are the attributes more orthogonal than chance, and does that mean anything?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.conditions import Condition
from experiments.analysis.controls import ControlNumbers, OverlapSummary, overlap_summary
from experiments.analysis.empirical import ComparisonSummary, Resampled, comparison_summary
from experiments.analysis.overlap import SIDES, Alignment
from experiments.analysis.section import Section
from experiments.analysis.specificity import Inside, Specificity, whole_shares
from experiments.reports.markdown import render_markdown
from subspace.angles import Side

CLEAR_RATIO = 2.0
"""Halves of one attribute must overlap this many times as much as halves of two, in :data:`CLEAR_SHARE` of the matrices,
for the attribute to be called something that its subspace knows."""
CLEAR_SHARE = 0.75
"""In how many of the matrices halves of one attribute must overlap more than halves of two, see :data:`CLEAR_RATIO`."""
_TEMPLATE = Path(__file__).with_name("verdict.jinja")


@dataclass(frozen=True)
class AgainstChance:
    """All pairs in all matrices on one side, against random subspaces."""

    side: Side
    """Column spaces (output) or row spaces (input)."""
    shares: dict[Alignment, float]
    """Of the pairs and matrices, by verdict of the null model; 0 to 1."""
    times_chance: float
    """Median of the overlap over the mean overlap of random subspaces."""

    @property
    def mostly(self) -> Alignment:
        """The commonest verdict."""
        return max(self.shares, key=lambda alignment: self.shares[alignment])


@dataclass(frozen=True)
class HeldOut:
    """Where held-out adapters lie, as whole adapters, inside on both sides."""

    adapters: int
    """How many were held out."""
    own_largest: int
    """Those that lie more in their own attribute's subspace than in that of any other."""
    own: float
    """Mean share of their energy in their own attribute's subspace, 0 to 1."""
    others: float
    """Mean share in another attribute's subspace."""
    chance: float
    """Mean share in random subspaces of the same size."""


@dataclass(frozen=True)
class UnderCondition:
    """What the controls of one condition say."""

    condition: Condition
    """How they were trained."""
    spectra: int
    """Attributes that the condition has times matrices."""
    drops: int
    """Spectra with a drop at r in the runs under study."""
    control_drops: int
    """Spectra with a drop at r in the controls."""
    between: list[OverlapSummary]
    """Overlap between attributes, by side; empty if the condition has one attribute only."""
    with_run: dict[Side, float]
    """Median overlap of the controls' subspaces with those of the runs, over that of random subspaces."""


@dataclass(frozen=True)
class Verdict:
    """What the report says on top."""

    against_chance: list[AgainstChance]
    """The attributes against random subspaces: outputs, then inputs."""
    comparison: list[ComparisonSummary] | None
    """Halves and shuffled labels by side; None without adapters."""
    held_out: HeldOut | None
    """Held-out adapters; None without adapters."""
    controls: list[UnderCondition]
    """What every condition says; empty without controls."""

    @property
    def clear_sides(self) -> tuple[Side, ...] | None:
        """Where an attribute overlaps clearly more with itself than with others; None if that was not tested."""
        return None if self.comparison is None else tuple(row.side for row in self.comparison if _is_clear(row))


def judge(
    angles: Angles,
    resampled: Resampled | None = None,
    specificity: Specificity | None = None,
    controls: ControlNumbers | None = None,
) -> Verdict:
    """Draw the analysis together; None stands for what was not measured."""
    return Verdict(
        against_chance=[_against_chance(angles, side) for side in SIDES],
        comparison=None if resampled is None else comparison_summary(resampled),
        held_out=None if specificity is None else _held_out(specificity),
        controls=[] if controls is None else [_under(controls, condition) for condition in controls.conditions],
    )


def _against_chance(angles: Angles, side: Side) -> AgainstChance:
    found = angles.sides[side]
    return AgainstChance(
        side=side,
        shares={alignment: float(np.mean(found.verdict == alignment)) for alignment in Alignment},
        times_chance=float(np.median(found.overlap / found.expected[:, None])),
    )


def _is_clear(row: ComparisonSummary) -> bool:
    return row.same / max(row.different, 1e-12) >= CLEAR_RATIO and row.same_above_different >= CLEAR_SHARE


def _held_out(specificity: Specificity) -> HeldOut:
    shares = whole_shares(specificity)
    mean = shares.mean[:, :, Inside.BOTH]
    return HeldOut(
        adapters=int(shares.count.sum()),
        own_largest=int(shares.own_largest[:, Inside.BOTH].sum()),
        own=float(np.mean(np.diagonal(mean))),
        others=float(np.mean(mean[~np.eye(len(mean), dtype=bool)])),
        chance=float(shares.chance[:, Inside.BOTH].mean()),
    )


def _under(numbers: ControlNumbers, condition: Condition) -> UnderCondition:
    own = numbers.under(condition)
    drops = np.concatenate([control.drops for control in own])
    run, control = np.count_nonzero(drops, axis=0)
    return UnderCondition(
        condition=condition,
        spectra=len(drops),
        drops=int(run),
        control_drops=int(control),
        between=[row for row in overlap_summary(numbers) if row.condition == condition],
        with_run={
            side: float(np.median([each.with_main[side] / numbers.chance[side] for each in own])) for side in SIDES
        },
    )


def headline(verdict: Verdict) -> str:
    """The paragraph on top of the report."""
    return _paragraphs(verdict)[0]


def verdict_section(verdict: Verdict) -> Section:
    """The figures behind the headline, one paragraph for each question."""
    return Section("In figures", _paragraphs(verdict)[1:])


def _paragraphs(verdict: Verdict) -> list[str]:
    text = render_markdown(
        _TEMPLATE,
        verdict=verdict,
        Alignment=Alignment,
        sides=SIDES,
        clear_ratio=CLEAR_RATIO,
        clear_share=CLEAR_SHARE,
    )
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]
