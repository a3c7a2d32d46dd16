"""What the page of results says of bodies with nano_2 is what its records say."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduction.claim_table import claim_table
from experiments.reproduction.claims import examine, examine_losses
from experiments.reproduction.labels import LOSS, row_label
from experiments.reproduction.loss_correlations import loss_correlations
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import BASE, CHAMFER, CONSTANT, CONTROL, FULL, TABLES, lora, ours, pissa, psv
from experiments.reproduction.tables import measure
from tests.experiments.reproduction.pages import SCALE, line_of_row, of_row, section_of

ROOT = Path(__file__).parents[3]
SEEDS = (0, 1, 2, 3, 4, 5)
TABLES_OF_SEEDS = ("2", "4")
FOLDER = ROOT / "results" / "nano_2_bodies" / "records"


@pytest.fixture(scope="module")
def records():
    plan = make_plan(TABLES_OF_SEEDS, SEEDS, SCALE, "each", "row")
    return RecordFolder(plan, "nano_2 (acf2e0b42e61dd5f)", FOLDER).found()


@pytest.fixture(scope="module")
def findings(records):
    return examine(SCALE, SEEDS, records, list(TABLES_OF_SEEDS), "each")


@pytest.fixture(scope="module")
def section():
    return section_of("Bodies with nano_2")


@pytest.fixture(scope="module")
def prose(section):
    return re.sub(r"\s+", " ", section)


def table_of(row):
    """The first of the tables that has the row."""
    return next(TABLES[name] for name in TABLES_OF_SEEDS if row in TABLES[name].rows)


def rows():
    """Those of both tables, each once."""
    return list(dict.fromkeys(row for name in TABLES_OF_SEEDS for row in TABLES[name].rows))


def distances(row, records, split="test"):
    """In cm, of each seed."""
    found = of_row(row, table_of(row), SEEDS, records)
    return [100 * scene_means(found[seed].tests[split], CHAMFER) for seed in sorted(found)]


def means(records):
    """Row that is fine-tuned → cm."""
    return {row: np.mean(distances(row, records)) for row in rows() if row.method}


@pytest.mark.parametrize("row", rows())
def test_the_page_has_every_row(row, records, section):
    line = line_of_row(row, table_of(row), SEEDS, records, 100)
    assert line is not None and line in section


def test_the_page_has_the_claims(findings, records, section):
    assert claim_table(findings, SCALE) in section
    losses = examine_losses(SCALE, SEEDS, records, list(TABLES_OF_SEEDS), "each")
    assert claim_table(losses, SCALE, LOSS, "validation").rstrip() in section


def test_what_is_said_of_a_constant_depth(records, prose):
    (base, constant), (of_other, constant_of_other) = (
        [distances(row, records, split)[0] for row in (BASE, CONSTANT)] for split in ("test", "cross_domain")
    )
    said = f"nano_2 has {base:.2f} cm, one depth for all pixels of a scene {constant:.2f}"
    assert f"{said} (other domain: {of_other:.2f} and {constant_of_other:.2f})" in prose


def test_what_is_said_of_the_rows(records, prose):
    found = means(records)
    best, second, third = sorted(found, key=found.__getitem__)[:3]
    names = [row_label(row, table_of(row), SCALE) for row in (best, second, third)]
    assert (
        f"The best on average are {names[0]} with {found[best]:.2f} cm, {names[1]} with {found[second]:.2f} and {names[2]} "
        f"with {found[third]:.2f}" in prose
    )


def compared(first, second, records):
    """In how many seeds the first row is better, its mean difference in percent of the second's mean."""
    one, other = (np.array(distances(row, records)) for row in (first, second))
    return int((one < other).sum()), 100 * (one - other).mean() / other.mean()


PAIRS = [
    (ours(64), lora(16), "Ours (d=8) than LoRA (rank=2), which trains two thirds as much,"),
    (ours(32), lora(16), "Ours (d=4), which trains less, than that LoRA"),
    (ours(64), pissa(16), "Ours (d=8) than PiSSA (rank=2)"),
    (ours(64), CONTROL, "than the heads alone"),
    (ours(64), FULL, "than full fine-tuning"),
    (ours(64), lora(128), "than LoRA (rank=16), which trains five times as much,"),
    (ours(8), psv(32), "Ours (d=1) than PSV (D=4)"),
    (ours(16), psv(64), "Ours (d=2) than PSV (D=8)"),
    (ours(32), psv(128), "Ours (d=4) than PSV (D=16)"),
    (ours(64), psv(256), "Ours (d=8) than PSV (D=32)"),
]


@pytest.mark.parametrize(("first", "second", "words"), PAIRS)
def test_what_is_said_of_pairs(first, second, words, records, prose):
    better, percent = compared(first, second, records)
    signed = f"{percent:+.1f}".replace("-", "−")
    assert f"{words} with {better} of {len(SEEDS)} seeds ({signed} %)" in prose


def test_what_is_decided(findings, records, prose):
    for name in TABLES_OF_SEEDS:
        several = [each for each in findings if each.test is not None and each.claim.table == name]
        decided = [each for each in several if each.decided]
        assert f"{len(decided)} of {len(several)} comparisons of Table {name}" in prose
        assert name != "2" or {each.reading for each in decided} == {"holds"}
        for claim in {each.claim for each in decided}:
            own = [each for each in several if each.claim == claim]
            words = f"{claim.words} ({sum(each.decided for each in own)} of {len(own)}"
            assert words[0].lower() + words[1:] in prose or words in prose
    losses = examine_losses(SCALE, SEEDS, records, list(TABLES_OF_SEEDS), "each")
    assert f"{sum(each.decided for each in losses)} of {len(losses)} losses" in prose


def test_what_is_said_of_the_loss(records, prose):
    found = {
        column.split: (correlation, rows)
        for column, correlation, rows in loss_correlations(measure(TABLES["2"], SCALE, SEEDS, records, "each"))
    }
    (test, rows), (other, _) = found["test"], found["cross_domain"]
    said = f"correlation {test:+.2f} over the {rows} rows of Table 2, {other:+.2f} in the other domain"
    assert said.replace("-", "−") in prose
    rates = sorted({record.rate for record in records.values() if record.rate})
    assert f"from {rates[0]:g} to {rates[-1]:g}" in prose


def test_the_readme_has_the_same_figures(records):
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    found = means(records)
    (base,), (constant,) = {*distances(BASE, records)}, {*distances(CONSTANT, records)}
    best = min(found, key=found.__getitem__)
    of_ours = [f"{found[ours(size)]:.2f}" for size in (16, 32, 64)]
    said = (
        f"nano_2 has {base:.2f} cm, a constant depth {constant:.2f}, the best row {found[best]:.2f} "
        f"({row_label(best, table_of(best), SCALE)}), Ours {of_ours[0]}, {of_ours[1]} and {of_ours[2]} (d = 2, 4, 8), "
        f"the heads alone {found[CONTROL]:.2f}"
    )
    assert said in readme
