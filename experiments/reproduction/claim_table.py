"""All claims in one short table, for pages: what holds, by how much, how sure, and what such runs could have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.presets import Scale
from experiments.reproduction.claims import Finding, Reading
from experiments.reproduction.labels import LOSS, METRIC_NAMES, SPLIT_NAMES, Scenes, row_label
from experiments.reproduction.rows import CHAMFER, EVERY_TABLE

WORDS: Mapping[Reading, str] = {
    "holds": "yes",
    "opposite": "no, the opposite",
    "undecided": "cannot be told",
    "one_seed": "one seed",
    "one_scene": "one scene",
}
_HEADINGS = (
    "claim",
    "table",
    "rows",
    "holds?",
    "difference",
    "95 % interval",
    "p",
    "corrected",
    "power 80 % at",
    "seeds",
)
_NONE = "–"


def claim_table(findings: Sequence[Finding], scale: Scale, metric: str = CHAMFER, split: Scenes = "test") -> str:
    """Markdown with a line for each claim that has this figure on these scenes.

    Differences are in per cent of the second row; of the loss they are as they are, since it has no natural zero.
    """
    lines = [_HEADINGS, ("---",) * 4 + ("--:",) * 6]
    lines += [_line(each, scale) for each in findings if (each.metric, each.split) == (metric, split)]
    title = f"{METRIC_NAMES[metric]} on the {SPLIT_NAMES[split]} scenes, negative is better:"
    return title + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def p_value(p: float | None) -> str:
    """With two digits, or what it is below."""
    return _NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def _line(finding: Finding, scale: Scale) -> tuple[str, ...]:
    claim, test, table = finding.claim, finding.test, EVERY_TABLE[finding.claim.table]
    unit, digits = (1.0, ".3f") if finding.metric == LOSS else (abs(finding.means[1]), ".1%")

    def signed(value: float) -> str:
        return f"{value / unit:+{digits}}".replace("-", "−")

    return (
        claim.words,
        table.number,
        " · ".join(row_label(row, table, scale) for row in (claim.first, claim.second)),
        WORDS[finding.reading],
        signed(finding.difference),
        _NONE if test is None else f"{signed(test.low)} to {signed(test.high)}",
        p_value(finding.p),
        p_value(finding.corrected),
        _NONE if test is None else f"{test.detectable() / unit:{digits}}",
        f"{len(finding.by_seed)}",
    )
