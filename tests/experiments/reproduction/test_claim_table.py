"""The tables of claims on the pages are those of the shipped records, with the figures of each finding."""

from pathlib import Path

import pytest

from experiments.presets import PRESETS
from experiments.reproduction.claim_table import claim_table
from experiments.reproduction.claims import examine
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.rows import TABLES

ROOT = Path(__file__).parents[3]
SCALE, SEEDS = PRESETS["nano"].scale, (0, 1, 2)


@pytest.fixture(scope="module")
def findings():
    folder = ROOT / "results" / "nano" / "records"
    records = RecordFolder(make_plan(tuple(TABLES), SEEDS, SCALE), "nano (d6754e313942048e)", folder).found()
    return examine(SCALE, SEEDS, records, list(TABLES))


def test_the_page_has_the_table_of_the_records(findings):
    assert claim_table(findings, SCALE) in (ROOT / "docs" / "nano" / "README.md").read_text()


def test_a_line_says_what_its_finding_says(findings):
    table = claim_table(findings, SCALE, "accuracy", "cross_domain").splitlines()
    chosen = [each for each in findings if (each.metric, each.split) == ("accuracy", "cross_domain")]
    assert len(table) == 2 + 2 + len(chosen) and table[0].startswith("Acc ")
    for line, each in zip(table[4:], chosen, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == each.claim.words and int(cells[-1]) == len(each.by_seed)
        assert (cells[3] == "one seed") == (each.test is None) == (cells[5] == "–")
        assert float(cells[4].rstrip("%").replace("−", "-")) == pytest.approx(
            100 * each.difference / each.means[1], abs=0.051
        )
