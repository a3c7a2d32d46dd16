"""The result in plain words: are the attributes more orthogonal than chance, and does that mean anything?"""

from __future__ import annotations

import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.controls import ControlNumbers, surviving
from experiments.analysis.empirical import Comparison, comparison_summary
from experiments.analysis.specificity import EVERYTHING, Specificity, shares_by_kind
from subspace.angles import Side

CLEAR_RATIO = 2.0
"""Halves of one attribute must overlap this many times as much as halves of two …"""
CLEAR_SHARE = 0.75
"""… in at least this share of the matrices, for the attribute to be called something that its subspace knows."""


def verdict(
    angles: Angles, comparison: Comparison | None, specificity: Specificity | None, controls: ControlNumbers | None
) -> str:
    """The paragraph on top of the report."""
    sentences = [against_chance(angles, "output"), against_chance(angles, "input")]
    if comparison is None or specificity is None:
        sentences.append(
            "Not every folder holds its adapters, so whether an attribute overlaps with itself could not be tested: until it "
            "is, orthogonality between attributes is no sign of disentanglement."
        )
    else:
        sentences += [against_itself(comparison), against_labels(comparison), of_held_out(specificity)]
    if controls is not None:
        sentences.append(under_control(controls))
    return " ".join(sentence for sentence in sentences if sentence)


def against_chance(angles: Angles, side: Side) -> str:
    """Counts of the null model's verdicts."""
    found = angles.sides[side]
    aligned, chance, orthogonal = (float(np.mean(found.verdict == code)) for code in (1, 0, -1))
    ratio = float(np.median(found.overlap / found.expected[:, None]))
    largest = max((aligned, "more aligned than"), (chance, "as orthogonal as"), (orthogonal, "more orthogonal than"))[1]
    lead = (
        f"The attributes' {side} subspaces are mostly {largest} random ones: "
        if max(aligned, chance, orthogonal) > 0.5
        else f"The attributes' {side} subspaces show no single behaviour against random ones: "
    )
    return (
        f"{lead}{aligned:.0%} of the pairs and matrices are more aligned than chance, {chance:.0%} like chance, "
        f"{orthogonal:.0%} more orthogonal (median overlap {ratio:.2g} times chance)."
    )


def against_itself(comparison: Comparison) -> str:
    """Do halves of one attribute overlap more than halves of two?"""
    rows = {row["side"]: row for row in comparison_summary(comparison)}
    clear = {side: _clear(row) for side, row in rows.items()}
    figures = "; ".join(
        f"{side}s {row['halves of one attribute']:.2g} against {row['halves of two attributes']:.2g}, "
        f"chance {row['chance (halves)']:.2g}"
        for side, row in rows.items()
    )
    if all(clear.values()):
        lead = "An attribute overlaps clearly more with itself than with others, so that orthogonality means something here"
    elif any(clear.values()):
        which = next(side for side, own in clear.items() if own)
        lead = f"An attribute overlaps clearly more with itself than with others on the {which} side only"
    else:
        lead = "An attribute hardly overlaps more with itself than with others, so that orthogonality means little here"
    return f"{lead} (median overlap of halves of one attribute's adapters and of two: {figures})."


def _clear(row: dict) -> bool:
    ratio = row["halves of one attribute"] / max(row["halves of two attributes"], 1e-12)
    return ratio >= CLEAR_RATIO and row["same above different"] >= CLEAR_SHARE


def against_labels(comparison: Comparison) -> str:
    """Do the attributes overlap less than groups with shuffled labels?"""
    rows = [row for row in comparison_summary(comparison) if row["shuffled labels"] is not None]
    if not rows:
        return ""
    parts = [
        f"in {row['attributes below shuffled']:.0%} of the matrices on the {row['side']} side "
        f"({row['attributes']:.2g} against {row['shuffled labels']:.2g})"
        for row in rows
    ]
    return f"They overlap less than groups of adapters with shuffled labels {' and '.join(parts)}."


def of_held_out(specificity: Specificity) -> str:
    """Do held-out adapters lie in their own attribute's subspace?"""
    shares = shares_by_kind(specificity)[EVERYTHING]
    own = float(np.mean(np.diagonal(shares.mean[:, :, 0])))
    others = float(np.mean(shares.mean[:, :, 0][~np.eye(len(specificity.names), dtype=bool)]))
    return (
        f"{shares.own_largest.sum()} of {shares.count.sum()} held-out adapters have more of their energy in their own "
        f"attribute's subspace than in any other (on average {own:.1%} in their own, {others:.1%} in another, "
        f"{shares.chance[:, 0].mean():.2%} by chance)."
    )


def under_control(numbers: ControlNumbers) -> str:
    """How much of the drop and of the overlap every condition leaves."""
    sentences = []
    for name in dict.fromkeys(control.condition for control in numbers.controls):
        drops = np.concatenate([control.drops for control in numbers.controls if control.condition == name])
        remains = surviving(drops[:, 0], drops[:, 1])
        parts = ["no matrix of the runs has a drop at r that could remain"]
        if not np.isnan(remains).all():
            parts = [f"{np.nanmedian(remains):.0%} of the drop at r remain"]
        if name in numbers.overlaps:
            found = numbers.overlaps[name]
            parts += [
                f"{np.median(surviving(found.main[side], found.controls[side])):.0%} of the overlap between attributes on "
                f"the {side} side"
                for side in found.main
            ]
        sentences.append(f"With {name}, {', '.join(parts)} (medians).")
    return " ".join(sentences)
