"""What the page of results says of bodies with nano_2 is what its records say."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduction.claims import examine, examine_losses
from experiments.reproduction.labels import row_label
from experiments.reproduction.loss_correlations import loss_correlations
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import BASE, CHAMFER, CONSTANT, CONTROL, FULL, TABLES, lora, ours, pissa, psv
from experiments.reproduction.tables import measure
from tests.experiments.reproduction.pages import SCALE, line_of_run, of_row, section_of

ROOT = Path(__file__).parents[3]
TABLES_OF_BODIES = ("2", "4", "5", "s1")
FOLDER = ROOT / "results" / "nano_2_bodies" / "records"


@pytest.fixture(scope="module")
def records():
    plan = make_plan(TABLES_OF_BODIES, (0,), SCALE, "each", "row")
    return RecordFolder(plan, "nano_2 (acf2e0b42e61dd5f)", FOLDER).found()


@pytest.fixture(scope="module")
def section():
    return section_of("Bodies with nano_2")


@pytest.fixture(scope="module")
def prose(section):
    return re.sub(r"\s+", " ", section)


def record_of(row, name, records):
    (found,) = of_row(row, TABLES[name], (0,), records).values()
    return found


def distance(row, records, name="2", split="test", metric=CHAMFER):
    """In cm."""
    return 100 * scene_means(record_of(row, name, records).tests[split], metric)


def lines(records):
    """Each run once: those of Table 2, then what the others have beside them."""
    seen = set()
    for name in TABLES_OF_BODIES:
        for row in TABLES[name].rows:
            record = record_of(row, name, records)
            if record.run in seen:
                continue
            seen.add(record.run)
            label = row_label(row, TABLES[name], SCALE)
            if name in ("5", "s1"):
                what, size = label.split(" (")
                label = {"r=2": "Ours of rank-2 adapters", "Importance": "Ours by effective rank"}[what] + f" ({size}"
            yield line_of_run(label, record)


def test_the_page_has_every_row(records, section):
    found = list(lines(records))
    assert "\n".join(found) in section and len(found) == len(records)


def test_one_seed_decides_nothing(records, prose):
    findings = examine(SCALE, (0,), records, list(TABLES_OF_BODIES), "each")
    losses = examine_losses(SCALE, (0,), records, list(TABLES_OF_BODIES), "each")
    assert {each.reading for each in [*findings, *losses]} == {"one_seed"} and "One seed: hints, no more" in prose


def test_what_is_said_of_a_constant_depth(records, prose):
    (base, constant), (of_other, constant_of_other) = (
        [distance(row, records, split=split) for row in (BASE, CONSTANT)] for split in ("test", "cross_domain")
    )
    said = f"nano_2 has {base:.2f} cm, one depth for all pixels of a scene {constant:.2f}"
    assert f"{said} (other domain: {of_other:.2f} and {constant_of_other:.2f})" in prose


def test_what_is_said_of_the_rows(records, prose):
    rows = {row: distance(row, records) for row in TABLES["2"].rows if row.method}
    best = sorted(rows, key=rows.__getitem__)[:3]
    assert {*best} == {lora(128), FULL, pissa(64)}
    assert f"LoRA (r = 16) has {rows[lora(128)]:.2f}, full fine-tuning and PiSSA (r = 8) {rows[FULL]:.2f}" in prose
    assert f"{rows[FULL]:.2f}" == f"{rows[pissa(64)]:.2f}"
    of_ours = [f"{rows[ours(size)]:.2f}" for size in (16, 32, 64)]
    assert (
        f"Ours {of_ours[0]}, {of_ours[1]} and {of_ours[2]} (d = 2, 4, 8), the heads alone {rows[CONTROL]:.2f}" in prose
    )


def test_what_is_said_of_singular_vectors(records, prose):
    pairs = [(ours(8), psv(32)), (ours(16), psv(64)), (ours(32), psv(128)), (ours(64), psv(256))]
    found = [(distance(first, records, "4"), distance(second, records, "4")) for first, second in pairs]
    assert all(mined > singular for mined, singular in found)
    mined, singular = ([f"{each[i]:.2f}" for each in found] for i in (0, 1))
    assert (
        f"{', '.join(singular[:3])} and {singular[3]} cm, where Ours has {', '.join(mined[:3])} and {mined[3]}" in prose
    )


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


def test_what_is_said_of_the_loss(records, prose):
    found = {
        column.split: (correlation, rows)
        for column, correlation, rows in loss_correlations(measure(TABLES["2"], SCALE, (0,), records, "each"))
    }
    (test, rows), (other, _) = found["test"], found["cross_domain"]
    said = f"correlation {test:+.2f} over the {rows} rows of Table 2, {other:+.2f} in the other domain"
    assert said.replace("-", "−") in prose
    rates = sorted({record.rate for record in records.values() if record.rate})
    assert f"from {rates[0]:g} to {rates[-1]:g}" in prose


def test_the_readme_has_the_same_figures(records):
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    rows = [distance(row, records) for row in (BASE, CONSTANT, lora(128), ours(64), psv(256))]
    said = "nano_2 has {:.2f} cm, a constant depth {:.2f}, the best row {:.2f} (LoRA, r = 16), Ours (d = 8) {:.2f}, PSV {:.2f}"
    assert said.format(*rows) in readme and min(
        distance(row, records) for row in TABLES["2"].rows if row.method
    ) == pytest.approx(rows[2])
    assert np.isfinite(rows).all()
