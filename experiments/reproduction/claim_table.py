"""All claims in one short table, for pages: what holds, by how much, how sure, and what such runs could have found."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.data.manifest import Split
from experiments.presets import Scale
from experiments.reproduction.claims import Finding
from experiments.reproduction.labels import METRIC_NAMES, row_label
from experiments.reproduction.results import WORDS, p_value
from experiments.reproduction.rows import CHAMFER, EVERY_TABLE

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


def claim_table(findings: Sequence[Finding], scale: Scale, metric: str = CHAMFER, split: Split = "test") -> str:
    """Markdown with a line for each claim that has this figure on this test set; differences in per cent of the second row."""
    lines = [_HEADINGS, ("---",) * 4 + ("--:",) * 6]
    for each in findings:
        if (each.metric, each.split) != (metric, split):
            continue
        claim, unit = each.claim, abs(each.means[1])
        table = EVERY_TABLE[claim.table]
        rows = " · ".join(row_label(row, table, scale) for row in (claim.first, claim.second))
        test = each.test
        lines.append(
            (
                claim.words,
                table.number,
                rows,
                WORDS[each.reading],
                _signed(each.difference / unit),
                _NONE if test is None else f"{_signed(test.low / unit)} to {_signed(test.high / unit)}",
                p_value(each.p),
                p_value(each.corrected),
                _NONE if test is None else f"{test.detectable() / unit:.1%}",
                f"{len(each.by_seed)}",
            )
        )
    title = f"{METRIC_NAMES[metric]} on the test scenes, negative is better:"
    return title + "\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("-", "−")
