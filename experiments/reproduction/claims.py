"""Do the paper's claims hold, and does the M matter? Each as comparisons of two rows over the same seeds and test scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.data.manifest import Split
from experiments.evaluation.difference import LEVEL, DifferenceTest, paired_test
from experiments.presets import Scale
from experiments.reproduction.crossed import corrected, crossed_test
from experiments.reproduction.labels import BETTER, LOSS, Scenes
from experiments.reproduction.paper import printed
from experiments.reproduction.plan import Minings
from experiments.reproduction.records import RunRecord, figure
from experiments.reproduction.rows import (
    BASE,
    CONTROL,
    EVERY_TABLE,
    FULL,
    Row,
    TableName,
    adalora,
    gradient,
    lora,
    mean,
    ours,
    pissa,
    pooled,
    psv,
    random,
    shuffled,
)
from experiments.reproduction.tables import Records, records_of

SIMILAR = 0.05
"""Two rows are alike if their difference is within this share of the second one's mean."""
Reading = Literal["holds", "opposite", "undecided", "one_seed", "one_scene"]
"""What figures say about a claim. One seed or one scene says nothing about others: neither yes nor no."""
Paired = tuple[list[RunRecord], list[RunRecord]]
"""Records of a claim's two rows, of the same seeds."""
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
    Claim(_ADDS.format("mined directions"), "controls", ours(64), CONTROL),
    Claim("Mined directions beat random ones", "controls", ours(64), random(256)),
    Claim("Mined directions beat those of one gradient", "controls", ours(64), gradient(256)),
    Claim("Mined LoRAs beat mined gradients", "controls", ours(64), ours(64, updates="gradient")),
    Claim("Mined LoRAs beat mined full fine-tunings", "controls", ours(64), ours(64, updates="full")),
    Claim("A second pass without a random draw beats the first", "controls", ours(64, updates="second_pass"), ours(64)),
    Claim(
        "Allocation by effective rank among twice as many beats uniform",
        "controls",
        ours(64, allocation="exact", mined_dim=128),
        ours(64),
    ),
    Claim("Mined directions beat the weights' singular vectors", "controls", ours(64), psv(256)),
    Claim("A subspace for each attribute beats one for all adapters", "controls", ours(64), pooled(64)),
    Claim("Attributes beat shuffled ones", "controls", ours(64), shuffled(64)),
    Claim("Starting at the mean adapter beats starting at zero", "controls", mean(64), ours(64)),
)


@dataclass(frozen=True)
class Finding:
    """What our runs say about a claim, for one metric of one test set."""

    claim: Claim
    """What is examined."""
    parameters: tuple[int, int]
    """Numbers that the rows train: the claims' words have the paper's proportions, which are not a small model's."""
    split: Scenes
    """Test set, or the validation scenes."""
    metric: str
    """Name of the figure in :data:`experiments.reproduction.labels.BETTER`."""
    means: tuple[float, float]
    """Of both rows, over the seeds that both have and all scenes."""
    by_seed: tuple[float, ...]
    """The first row's mean minus the second's, for each seed."""
    scenes: int | None
    """Number of scenes in the test set; None for the validation scenes."""
    test: DifferenceTest | None
    """The first row minus the second with seeds and scenes at random, on validation scenes seeds alone; None where there is one
    seed or one scene."""
    p: float | None
    """Of the claim: two-sided of no difference; of an ``alike`` one twice the smaller p of "alike" and "not alike"."""
    compared: int = 0
    """Number of comparisons of its table that have a p-value, which are corrected for."""
    corrected: float | None = None
    """The p-value corrected for all of them (Benjamini–Hochberg)."""
    reading: Reading = "undecided"
    """What the corrected p-value says."""
    printed: Reading | None = None
    """What the paper's two figures say by themselves, if it prints both; it gives no spread."""

    @property
    def difference(self) -> float:
        """The first row's mean minus the second's."""
        return self.means[0] - self.means[1]

    @property
    def decided(self) -> bool:
        """Whether the claim holds, or the opposite does."""
        return self.reading in ("holds", "opposite")


def examine(
    scale: Scale, seeds: Sequence[int], records: Records, tables: Sequence[TableName], minings: Minings = "one"
) -> list[Finding]:
    """All claims about ``tables`` whose rows have been measured; each table is corrected for all that is compared in it."""

    def of_table(name: TableName) -> Iterator[Finding]:
        asked = [claim for claim in CLAIMS if claim.table == name]
        return _decide(
            [each for claim in asked for each in _on_scenes(claim, _paired(claim, scale, seeds, records, minings))]
        )

    found = [finding for name in tables for finding in of_table(name)]
    return sorted(found, key=lambda finding: CLAIMS.index(finding.claim))


def examine_losses(
    scale: Scale, seeds: Sequence[int], records: Records, tables: Sequence[TableName], minings: Minings = "one"
) -> list[Finding]:
    """What the loss on the validation scenes says of the claims that one fine-tuning is better than another.

    It is what training minimises, so that it tells a better fit from a better reconstruction. The paper does not report it,
    learning rates were chosen by it, and the test asks about other seeds only, not about other scenes. There are few of them in
    a table, so that all of ``tables`` are corrected together.
    """
    asked = [claim for claim in CLAIMS if claim.table in tables]
    found = [each for claim in asked for each in _on_losses(claim, _paired(claim, scale, seeds, records, minings))]
    return list(_decide(found))


def _paired(claim: Claim, scale: Scale, seeds: Sequence[int], records: Records, minings: Minings) -> Paired | None:
    """The seeds that both rows have; None where there are none. What is not trained is the same for every seed."""
    table = EVERY_TABLE[claim.table]
    rows = (claim.first, claim.second)
    found = [records_of(row, table, scale, seeds, records, minings) for row in rows]
    trained = [{record.run.seed for record in each} for row, each in zip(rows, found, strict=True) if row.method]
    common = sorted(set.intersection(*trained))
    if not common or not all(found):
        return None
    first, second = (
        [next(record for record in each if not row.method or record.run.seed == seed) for seed in common]
        for row, each in zip(rows, found, strict=True)
    )
    return first, second


def _on_scenes(claim: Claim, paired: Paired | None) -> Iterator[Finding]:
    """Of each figure of each test set, without a reading."""
    if paired is None:
        return
    for split, metrics in EVERY_TABLE[claim.table].tests:
        for metric in metrics:
            first, second = (_by_scene(each, split, metric) for each in paired)
            if not np.isfinite([first, second]).all():
                continue
            test = crossed_test(first - second) if min(first.shape) > 1 else None
            yield Finding(
                claim,
                (paired[0][0].parameters, paired[1][0].parameters),
                split,
                metric,
                (float(first.mean()), float(second.mean())),
                tuple(map(float, (first - second).mean(axis=1))),
                first.shape[1],
                test,
                None if test is None else _p(claim, test, float(second.mean())),
                printed=_read_printed(claim, split, metric),
            )


def _on_losses(claim: Claim, paired: Paired | None) -> Iterator[Finding]:
    """Without a reading."""
    if paired is None or claim.alike or not (claim.first.method and claim.second.method):
        return
    first, second = (np.array([record.validation["after"] for record in each]) for each in paired)
    test = paired_test(first - second) if len(first) > 1 else None
    yield Finding(
        claim,
        (paired[0][0].parameters, paired[1][0].parameters),
        "validation",
        LOSS,
        (float(first.mean()), float(second.mean())),
        tuple(map(float, first - second)),
        None,
        test,
        None if test is None else test.p,
    )


def _p(claim: Claim, test: DifferenceTest, reference: float) -> float:
    if not claim.alike:
        return test.p
    margin = SIMILAR * abs(reference)
    return min(1.0, 2 * min(test.p_alike(margin), test.p_apart(margin)))


def _decide(findings: Sequence[Finding]) -> Iterator[Finding]:
    """The findings of a table with their readings."""
    tested = [finding.p for finding in findings if finding.p is not None]
    after = iter(corrected(tested))
    for finding in findings:
        if finding.p is None:
            yield replace(finding, reading="one_seed" if len(finding.by_seed) == 1 else "one_scene")
            continue
        p = next(after)
        reading = _read(finding.claim, finding.metric, *finding.means) if p < LEVEL else "undecided"
        yield replace(finding, compared=len(tested), corrected=p, reading=reading)


def _read(claim: Claim, metric: str, first: float, second: float) -> Reading:
    """Of two figures, if nothing but they counts."""
    if claim.alike:
        return "holds" if abs(first - second) < SIMILAR * abs(second) else "opposite"
    better = BETTER[metric] * (first - second)
    return "undecided" if better == 0 else "holds" if better > 0 else "opposite"


def _read_printed(claim: Claim, split: Split, metric: str) -> Reading | None:
    table = EVERY_TABLE[claim.table]
    rows = [printed()[claim.table].get(row) for row in (claim.first, claim.second)]
    first, second = (None if row is None else row.figures(table)[split, metric] for row in rows)
    return None if first is None or second is None else _read(claim, metric, first, second)


def _by_scene(records: Sequence[RunRecord], split: Split, metric: str) -> np.ndarray:
    """(records, scenes)"""
    names = sorted(records[0].tests[split])
    return np.array([[figure(record.tests[split][name], metric) for name in names] for record in records])
