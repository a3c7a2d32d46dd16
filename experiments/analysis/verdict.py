"""The result in plain words: are the attributes more orthogonal than chance, and does that mean anything?"""

from __future__ import annotations

import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.controls import ControlNumbers, overlap_summary
from experiments.analysis.empirical import Comparison, comparison_summary
from experiments.analysis.overlap import SIDES
from experiments.analysis.specificity import EVERYTHING, Specificity, shares_by_kind
from experiments.analysis.topic import Topic
from subspace.angles import Side

CLEAR_RATIO = 2.0
"""Halves of one attribute must overlap this many times as much as halves of two …"""
CLEAR_SHARE = 0.75
"""… in at least this share of the matrices, for the attribute to be called something that its subspace knows."""


_MOSTLY = {1: "more aligned than", 0: "as orthogonal as", -1: "more orthogonal than"}


def headline(
    angles: Angles, comparison: Comparison | None, specificity: Specificity | None, controls: ControlNumbers | None
) -> str:
    """The paragraph on top of the report."""
    sides = " and ".join(_against_chance(angles, side) for side in SIDES)
    sentences = [f"The attributes' subspaces are {sides}."]
    if comparison is None or specificity is None:
        sentences.append(
            "Not every folder holds its adapters, so whether an attribute overlaps with itself could not be tested: until it "
            "is, orthogonality between attributes is no sign of disentanglement."
        )
    else:
        shares = shares_by_kind(specificity)[EVERYTHING]
        sentences += [
            _against_itself(comparison),
            f"Of {shares.count.sum()} held-out adapters, {shares.own_largest.sum()} lie more in their own attribute's subspace "
            "than in that of any other.",
        ]
    if controls is not None:
        sentences += [_under(controls, name) for name in conditions(controls)]
    return " ".join(sentences)


def verdict_topic(
    angles: Angles, comparison: Comparison | None, specificity: Specificity | None, controls: ControlNumbers | None
) -> Topic:
    """The figures behind the headline, one paragraph for each question."""
    text = [in_figures(angles, side) for side in SIDES]
    if comparison is not None:
        text += [of_halves(comparison), of_labels(comparison)]
    if specificity is not None:
        text.append(of_held_out(specificity))
    if controls is not None:
        text += [of_control(controls, name) for name in conditions(controls)]
    return Topic("In figures", [sentence for sentence in text if sentence])


def _against_chance(angles: Angles, side: Side) -> str:
    shares = {code: float(np.mean(angles.sides[side].verdict == code)) for code in _MOSTLY}
    code = max(shares, key=lambda each: shares[each])
    return f"mostly {_MOSTLY[code]} random ones on the {side} side ({shares[code]:.0%} of the pairs and matrices)"


def in_figures(angles: Angles, side: Side) -> str:
    """Counts of the null model's verdicts."""
    found = angles.sides[side]
    aligned, chance, orthogonal = (float(np.mean(found.verdict == code)) for code in (1, 0, -1))
    ratio = float(np.median(found.overlap / found.expected[:, None]))
    return (
        f"Chance, {side}s: {aligned:.0%} of the pairs and matrices are more aligned than random subspaces, {chance:.0%} like "
        f"them, {orthogonal:.0%} more orthogonal; the median overlap is {ratio:.2g} times theirs."
    )


def _against_itself(comparison: Comparison) -> str:
    clear = [row["side"] for row in comparison_summary(comparison) if _clear(row)]
    if len(clear) == len(SIDES):
        return "An attribute overlaps clearly more with itself than with others, so that orthogonality means something here."
    if clear:
        return f"An attribute overlaps clearly more with itself than with others on the {clear[0]} side only."
    return (
        "An attribute hardly overlaps more with itself than with others, so that orthogonality between attributes means "
        "little here."
    )


def _clear(row: dict) -> bool:
    ratio = row["halves of one attribute"] / max(row["halves of two attributes"], 1e-12)
    return ratio >= CLEAR_RATIO and row["same above different"] >= CLEAR_SHARE


def of_halves(comparison: Comparison) -> str:
    """Do halves of one attribute overlap more than halves of two?"""
    figures = "; ".join(
        f"{row['side']}s {row['halves of one attribute']:.2g} against {row['halves of two attributes']:.2g} "
        f"(chance {row['chance (halves)']:.2g}), more in {row['same above different']:.0%} of the matrices"
        for row in comparison_summary(comparison)
    )
    return (
        f"Itself: median overlap of halves of one attribute's adapters, against halves of two attributes: {figures}. Clearly "
        f"more means {CLEAR_RATIO:g} times as much, and more in {CLEAR_SHARE:.0%} of the matrices."
    )


def of_labels(comparison: Comparison) -> str:
    """Do the attributes overlap less than groups with shuffled labels?"""
    rows = [row for row in comparison_summary(comparison) if row["shuffled labels"] is not None]
    figures = "; ".join(
        f"{row['side']}s {row['attributes']:.2g} against {row['shuffled labels']:.2g}, less in "
        f"{row['attributes below shuffled']:.0%} of the matrices"
        for row in rows
    )
    return f"Labels: median overlap of the attributes, against groups with shuffled labels: {figures}." if rows else ""


def of_held_out(specificity: Specificity) -> str:
    """Do held-out adapters lie in their own attribute's subspace?"""
    shares = shares_by_kind(specificity)[EVERYTHING]
    own = float(np.mean(np.diagonal(shares.mean[:, :, 0])))
    others = float(np.mean(shares.mean[:, :, 0][~np.eye(len(specificity.names), dtype=bool)]))
    return (
        f"Held-out adapters have {own:.1%} of their energy in their own attribute's subspace on average, {others:.1%} in "
        f"another's, and {shares.chance[:, 0].mean():.2%} by chance."
    )


def _under(numbers: ControlNumbers, name: str) -> str:
    rows = [row for row in overlap_summary(numbers) if row["condition"] == name]
    in_runs, in_controls, spectra = _drops(numbers, name)
    parts = [f"{in_controls} of {spectra} spectra have a drop at r (in the runs {in_runs})"]
    parts += [
        f"the overlap between attributes on the {row['side']} side {row['control / chance']:.2g} times chance (in the runs "
        f"{row['overlap / chance']:.2g})"
        for row in rows
    ]
    return f"With {name}, {', '.join(parts)}."


def of_control(numbers: ControlNumbers, name: str) -> str:
    """How much of the overlap beyond chance, and of the run's own subspace, a condition keeps."""
    parts = [
        f"the overlap between attributes beyond chance is {_portion(row['excess that remains'])} that of the runs on the "
        f"{row['side']} side"
        for row in overlap_summary(numbers)
        if row["condition"] == name and row["excess that remains"] is not None
    ]
    own = [control for control in numbers.controls if control.condition == name]
    parts += [
        f"the {side} subspaces overlap "
        f"{np.median([control.with_main[side] / numbers.chance[side] for control in own]):.2g} times as much as chance with "
        "those of the runs"
        for side in SIDES
    ]
    return f"Control, {name}: {'; '.join(parts)}."


def _portion(share: float) -> str:
    return f"{max(share, 0):.0%} of" if share < 2 else f"{share:.0f} times"


def conditions(numbers: ControlNumbers) -> list[str]:
    """Every condition once."""
    return list(dict.fromkeys(control.condition for control in numbers.controls))


def _drops(numbers: ControlNumbers, name: str) -> tuple[int, int, int]:
    """Spectra with a drop at r, of the runs and of the controls, and how many each has in all attributes and matrices."""
    drops = np.concatenate([control.drops for control in numbers.controls if control.condition == name])
    run, control = np.count_nonzero(drops, axis=0)
    return int(run), int(control), len(drops)
