"""What the page of results says of mined ranks and allocations on bodies, with one seed, is what the records say."""

import re
from pathlib import Path

import pytest

from experiments.reproduction.claims import examine, examine_losses
from experiments.reproduction.labels import row_label
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import CHAMFER, TABLES, ours
from tests.experiments.reproduction.pages import SCALE, line_of_run, of_row, section_of

ROOT = Path(__file__).parents[3]
TABLES_OF_HINTS = ("5", "s1")
FOLDER = ROOT / "results" / "nano_2_bodies" / "records"
LABELS = {"r=2": "Ours of rank-2 adapters", "r=8": "Ours", "Importance": "Ours by effective rank"}


@pytest.fixture(scope="module")
def records():
    plan = make_plan(TABLES_OF_HINTS, (0,), SCALE, "each", "row")
    return RecordFolder(plan, "nano_2 (acf2e0b42e61dd5f)", FOLDER).found()


@pytest.fixture(scope="module")
def section():
    return section_of("Mined rank and allocation with nano_2")


@pytest.fixture(scope="module")
def prose(section):
    return re.sub(r"\s+", " ", section)


def record_of(row, name, records):
    (found,) = of_row(row, TABLES[name], (0,), records).values()
    return found


def distance(row, records, name):
    """In cm."""
    return 100 * scene_means(record_of(row, name, records).tests["test"], CHAMFER)


def lines(records):
    """Each run that is fine-tuned, once."""
    seen = set()
    for name in TABLES_OF_HINTS:
        for row in TABLES[name].rows:
            record = record_of(row, name, records)
            if record.run in seen or row.method is None:
                continue
            seen.add(record.run)
            what, size = row_label(row, TABLES[name], SCALE).split(" (")
            yield line_of_run(f"{LABELS[what]} ({size}", record)


def test_the_page_has_every_row(records, section):
    found = list(lines(records))
    assert "\n".join(found) in section and len(found) == sum(run.method is not None for run in records)


def test_one_seed_decides_nothing(records, prose):
    findings = examine(SCALE, (0,), records, list(TABLES_OF_HINTS), "each")
    losses = examine_losses(SCALE, (0,), records, list(TABLES_OF_HINTS), "each")
    assert {each.reading for each in [*findings, *losses]} == {"one_seed"} and "One seed: hints, no more" in prose


def test_what_is_said_of_mined_ranks_and_allocation(records, prose):
    ranks = [
        " · ".join(f"{distance(ours(size, mined_rank=rank), records, '5'):.2f}" for rank in (16, 64))
        for size in (8, 16, 32, 64)
    ]
    assert f"rank-2 · rank-8: {', '.join(ranks[:3])} and {ranks[3]}" in prose
    allocations = [
        " · ".join(f"{distance(row, records, 's1'):.2f}" for row in (ours(size, allocation="importance"), ours(size)))
        for size in (16, 32, 64)
    ]
    assert f"effective rank · uniform: {allocations[0]}, {allocations[1]} and {allocations[2]}" in prose
