"""Do the paper's claims hold, and does the M matter? Each as paired comparisons of two rows over the same test scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.data.manifest import Split
from experiments.evaluation.bootstrap import Difference, paired_bootstrap
from experiments.presets import Scale
from experiments.reproduction.labels import BETTER
from experiments.reproduction.paper import PrintedRow, printed
from experiments.reproduction.records import RunRecord
from experiments.reproduction.rows import BASE, CONTROL, FULL, TABLES, Row, TableName, adalora, lora, ours, pissa, psv
from experiments.reproduction.tables import Records, records_of

SIMILAR = 0.05
"""Two rows are alike if the whole interval of their difference is within this share of the first one's mean."""
Reading = Literal["holds", "opposite", "undecided"]
"""What figures say about a claim."""
_ADDS = "An M on {} adds to the heads' LoRA"


@dataclass(frozen=True)
class Claim:
    """``first`` is better than ``second`` or, if ``alike``, as good: two rows of one table."""

    words: str
    """The claim, for people."""
    table: TableName
    """Table that has both rows."""
    first: Row
    """What is better."""
    second: Row
    """What it is compared with."""
    alike: bool = False
    """Claim that both are as good."""


CLAIMS = (
    Claim("Ours beats LoRA with a quarter of its parameters", "1", ours(16), lora(16)),
    Claim("Ours beats PiSSA with a quarter of its parameters", "1", ours(16), pissa(16)),
    Claim("Ours beats full fine-tuning", "1", ours(16), FULL),
    Claim("LoRA overfits as its rank grows", "1", lora(16), lora(128)),
    Claim("PiSSA overfits as its rank grows", "1", pissa(16), pissa(128)),
    Claim("Ours beats LoRA at about its number of parameters", "2", ours(64), lora(16)),
    Claim("Ours beats LoRA with half of its parameters", "2", ours(32), lora(16)),
    Claim("Ours beats PiSSA at about its number of parameters", "2", ours(64), pissa(16)),
    Claim("Ours beats full fine-tuning", "2", ours(64), FULL),
    Claim("Ours improves as d grows", "2", ours(64), ours(16)),
    Claim("Ours beats the base model", "2", ours(64), BASE),
    Claim("LoRA overfits as its rank grows", "2", lora(64), lora(256)),
    Claim("PiSSA degrades as its rank grows", "2", pissa(16), pissa(256)),
    Claim("Ours beats LoRA at equal numbers of parameters", "3", ours(64, part="blocks"), lora(16)),
    Claim("Ours beats AdaLoRA at about its number of parameters", "3", ours(64, part="blocks"), adalora(16)),
    Claim("Mined directions beat singular vectors where there are few", "4", ours(16), psv(64)),
    Claim("Mined directions beat singular vectors where there are many", "4", ours(64), psv(256)),
    Claim(
        "The rank of the mined adapters hardly matters",
        "5",
        ours(64, mined_rank=64),
        ours(64, mined_rank=16),
        alike=True,
    ),
    Claim(
        "Allocation by effective rank is as good as uniform",
        "s1",
        ours(64, allocation="importance"),
        ours(64),
        alike=True,
    ),
    # Not the paper's:
    Claim(_ADDS.format("mined directions"), "1", ours(16), CONTROL),
    Claim(_ADDS.format("mined directions"), "2", ours(64), CONTROL),
    Claim(_ADDS.format("mined directions"), "3", ours(64, part="blocks"), CONTROL),
    Claim(_ADDS.format("mined directions"), "4", ours(16), CONTROL),
    Claim(_ADDS.format("singular vectors"), "4", psv(64), CONTROL),
)


@dataclass(frozen=True)
class Finding:
    """What our runs say about a claim, for one metric of one test set."""

    claim: Claim
    """What is examined."""
    parameters: tuple[int, int]
    """Numbers that the rows train: the claims' words have the paper's proportions, which are not a small model's."""
    split: Split
    """Test set."""
    metric: str
    """Name of the figure in :data:`experiments.evaluation.results.METRICS`."""
    difference: Difference
    """The first row's mean minus the second's, over scenes; each scene's value is its mean over seeds."""
    by_seed: tuple[float, ...]
    """The same difference with each seed alone."""
    scenes: int
    """Number of scenes in the test set."""
    reading: Reading
    """What the range says that holds both the interval over scenes and every seed's difference."""
    printed: Reading | None
    """What the paper's two figures say by themselves, if it prints both; it gives no spread."""


def examine(scale: Scale, seeds: Sequence[int], records: Records, tables: Sequence[TableName]) -> list[Finding]:
    """All claims about ``tables`` whose rows have been measured."""
    return [finding for claim in CLAIMS if claim.table in tables for finding in _examine(claim, scale, seeds, records)]


def _examine(claim: Claim, scale: Scale, seeds: Sequence[int], records: Records) -> Iterator[Finding]:
    table = TABLES[claim.table]
    rows = (claim.first, claim.second)
    found = [records_of(row, table, scale, seeds, records) for row in rows]
    trained = [{record.run.seed for record in each} for row, each in zip(rows, found, strict=True) if row.method]
    common = sorted(set.intersection(*trained))
    if not common or not all(found):
        return
    found = [
        [next(record for record in each if not row.method or record.run.seed == seed) for seed in common]
        for row, each in zip(rows, found, strict=True)
    ]
    paper = [printed()[claim.table].get(row) for row in rows]
    column = 0
    for split, metrics in table.tests:
        for metric in metrics:
            first, second = (_by_scene(each, split, metric) for each in found)
            difference = paired_bootstrap(second.mean(0), first.mean(0))
            by_seed = (first - second).mean(1)
            yield Finding(
                claim,
                (found[0][0].parameters, found[1][0].parameters),
                split,
                metric,
                difference,
                tuple(map(float, by_seed)),
                first.shape[1],
                _read(claim, metric, [difference.low, difference.high, *by_seed], float(second.mean())),
                _read_printed(claim, metric, paper, column),
            )
            column += 1


def _read(claim: Claim, metric: str, differences: Sequence[float], reference: float) -> Reading:
    """Of the range of these differences."""
    low, high = min(differences), max(differences)
    if claim.alike:
        margin = SIMILAR * abs(reference)
        if -margin < low and high < margin:
            return "holds"
        return "opposite" if low > margin or high < -margin else "undecided"
    low, high = sorted((low * BETTER[metric], high * BETTER[metric]))
    if low > 0:
        return "holds"
    return "opposite" if high < 0 else "undecided"


def _read_printed(claim: Claim, metric: str, paper: Sequence[PrintedRow | None], column: int) -> Reading | None:
    first, second = paper
    if first is None or second is None:
        return None
    apart = first.values[column] - second.values[column]
    return _read(claim, metric, [apart], second.values[column])


def _by_scene(records: Sequence[RunRecord], split: Split, metric: str) -> np.ndarray:
    """(records, scenes)"""
    names = sorted(records[0].tests[split])
    return np.array([[record.tests[split][name][metric] for name in names] for record in records])
