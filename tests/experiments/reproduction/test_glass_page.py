"""What the page of results says of glass with nano_2 (Table 3) is what its records say."""

import re
from pathlib import Path

import pytest

from experiments.reproduction.claims import examine
from experiments.reproduction.labels import row_label
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import BASE, CHAMFER, CONSTANT, CONTROL, FULL, TABLES, adalora, lora, ours
from tests.experiments.reproduction.pages import SCALE, line_of_run, of_row, section_of

FOLDER = Path(__file__).parents[3] / "results" / "nano_2" / "records"
TABLE, MINED = TABLES["3"], ours(64, part="blocks")


@pytest.fixture(scope="module")
def records():
    """Row → its record with seed 0."""
    found = RecordFolder(make_plan(("3",), (0,), SCALE, "each"), "nano_2 (acf2e0b42e61dd5f)", FOLDER).found()
    return {row: next(iter(of_row(row, TABLE, (0,), found).values())) for row in TABLE.rows}


@pytest.fixture(scope="module")
def section():
    return section_of("Glass with nano_2")


@pytest.fixture(scope="module")
def prose(section):
    return re.sub(r"\s+", " ", section)


def test_the_page_has_every_row(records, section):
    lines = [line_of_run(row_label(row, TABLE, SCALE), record) for row, record in records.items()]
    assert "\n".join(lines) in section and len(lines) == 13


def test_one_seed_decides_nothing(records, prose):
    findings = examine(SCALE, (0,), {record.run: record for record in records.values()}, ["3"], "each")
    assert {each.reading for each in findings} == {"one_seed"} and "One seed decides nothing" in prose


def test_what_is_said_of_the_rows(records, prose):
    level = {row: 100 * scene_means(record.tests["test"], CHAMFER) for row, record in records.items()}
    assert f"nano_2 begins at {level[BASE]:.1f} cm, a constant depth has {level[CONSTANT]:.1f}" in prose
    ranks = [f"{level[lora(size)]:.2f}" for size in (16, 32, 64, 128)]
    assert f"LoRA {', '.join(ranks[:3])} and {ranks[3]} (r = 2, 4, 8, 16)" in prose
    assert f"full fine-tuning comes to {level[FULL]:.2f}" in prose
    assert f"Ours, in the blocks, to {level[MINED]:.2f}, the heads alone to {level[CONTROL]:.2f}" in prose
    pruned = [level[adalora(size)] for size in (16, 32, 64, 128)]
    assert f"AdaLoRA to between {min(pruned):.2f} and {max(pruned):.2f}" in prose
    counts = [records[row].parameters for row in (MINED, lora(16))]
    assert f"trains {counts[0]:,} numbers, LoRA (r = 2) {counts[1]:,}" in prose
    assert counts[0] == counts[1] and records[lora(128)].given_up == (0.0125,) and "rank 16 did, which got" in prose
    readme = re.sub(r"\s+", " ", (FOLDER.parents[2] / "README.md").read_text())
    said = f"full fine-tuning {level[FULL]:.2f} cm, LoRA (r = 2) {level[lora(16)]:.2f}, Ours with as many parameters"
    assert f"{said} {level[MINED]:.2f}, the heads alone {level[CONTROL]:.2f}." in readme
