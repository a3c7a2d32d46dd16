"""What the page of results says of faces with nano_2 is what its records say."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reproduction.claim_table import claim_table, p_value
from experiments.reproduction.claims import examine, examine_losses
from experiments.reproduction.crossed import crossed_test
from experiments.reproduction.labels import LOSS, row_label
from experiments.reproduction.plan import make_plan
from experiments.reproduction.record_folder import RecordFolder
from experiments.reproduction.records import figure, read_searches, scene_means
from experiments.reproduction.rows import BASE, CHAMFER, CONSTANT, CONTROL, FULL, TABLES, lora, ours, pissa
from tests.experiments.reproduction.pages import SCALE, line_of_row, of_row, section_of

ROOT = Path(__file__).parents[3]
SEEDS, TABLE = (0, 1, 2, 3), TABLES["1"]
FOLDER = ROOT / "results" / "nano_2_faces" / "records"


@pytest.fixture(scope="module")
def records():
    plan = make_plan(("1",), SEEDS, SCALE, "each", validate_on="test")
    return RecordFolder(plan, "nano_2 (acf2e0b42e61dd5f)", FOLDER).found()


@pytest.fixture(scope="module")
def findings(records):
    return examine(SCALE, SEEDS, records, ["1"], "each")


@pytest.fixture(scope="module")
def section():
    return section_of("Faces with nano_2")


@pytest.fixture(scope="module")
def prose(section):
    return re.sub(r"\s+", " ", section)


def distances(row, records):
    """In mm, of each seed."""
    found = of_row(row, TABLE, SEEDS, records)
    return [1000 * scene_means(record.tests["test"], CHAMFER) for record in found.values()]


@pytest.mark.parametrize("row", TABLE.rows)
def test_the_page_has_every_row(row, records, section):
    line = line_of_row(row, TABLE, SEEDS, records, 1000)
    assert line is not None and line in section


def test_the_page_has_the_claims(findings, records, section):
    assert claim_table(findings, SCALE) in section
    losses = examine_losses(SCALE, SEEDS, records, ["1"], "each")
    assert claim_table(losses, SCALE, LOSS, "validation").rstrip() in section


def test_what_is_said_of_a_constant_depth(records, prose):
    (constant,), (base,) = distances(CONSTANT, records), distances(BASE, records)
    means = {row: np.mean(distances(row, records)) for row in TABLE.rows if row.method}
    best = min(means, key=means.__getitem__)
    assert (
        f"with the cameras of nano_2 has {constant:.2f} mm, and nano_2 itself {base:.2f}. The best row that is trained, "
        f"{row_label(best, TABLE, SCALE)}, has {means[best]:.2f} on average" in prose
    )
    tests = [
        np.array([[figure(test[name], CHAMFER) for name in sorted(test)] for test in tests])
        for tests in (
            [record.tests["test"] for record in of_row(best, TABLE, SEEDS, records).values()],
            [record.tests["test"] for record in of_row(CONSTANT, TABLE, SEEDS, records).values()],
        )
    ]
    test = crossed_test(tests[0] - tests[1])
    interval = f"95 % interval {1000 * test.low:.2f} to {1000 * test.high:.2f}; p = {p_value(test.p)},"
    assert f"{1000 * test.mean:.2f} mm more ({interval}" in prose
    assert constant < min(distance for row in means for distance in distances(row, records))


def test_the_readme_has_the_same_figures(records):
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    (constant,), (base,) = distances(CONSTANT, records), distances(BASE, records)
    best = min(np.mean(distances(row, records)) for row in TABLE.rows if row.method)
    said = f"a Chamfer distance of {constant:.2f} mm, where nano_2 has {base:.2f} and the best row {best:.2f}, PiSSA."
    assert said in readme and "None of 36 comparisons is decided" in readme


def test_what_is_said_of_rows_that_stay(records, prose):
    rows = [*(lora(size) for size in (16, 32, 64, 128)), CONTROL, *(ours(size) for size in (8, 16, 32))]
    found = [distance for row in rows for distance in distances(row, records)]
    assert f"stay where nano_2 is**, between {min(found):.2f} and {max(found):.2f} mm" in prose
    after = [record.validation["after"] for row in rows for record in of_row(row, TABLE, SEEDS, records).values()]
    (before,) = {
        f"{record.validation['before']:.4f}" for row in rows for record in of_row(row, TABLE, SEEDS, records).values()
    }
    assert f"brings the loss from {before} to {min(after):.4f}." in prose
    searches = {each.search.variant: each for each in read_searches(FOLDER)}
    chosen = {name: f"{each.chosen:g}" for name, each in searches.items()}
    rates = f"LoRA {chosen['lora']}, the heads alone {chosen['lora_heads']}, Ours {chosen['subspace']}, the lowest"
    assert rates in prose and chosen["subspace"] == f"{min(SCALE.rates):g}"
    least = min(searches["subspace"].by_rate.values())
    assert f"no rate brings it down with seed 0 ({least:.4f} at best)" in prose and least > float(before) - 5e-5
    assert len({record.data["train"] for record in records.values() if record.run.method}) == 1


def test_what_is_said_of_rows_that_gain(records, findings, prose):
    compared = [each for each in findings if each.test is not None]
    assert not any(each.decided for each in compared)
    assert f"None of {len(compared)} comparisons is decided" in prose
    pairs = [
        (FULL, "accuracy"),
        (pissa(16), "accuracy"),
        (FULL, "normal_consistency"),
        (pissa(16), "normal_consistency"),
    ]
    nearest = [
        next(each for each in findings if (each.claim.first, each.claim.second, each.metric) == (ours(16), row, metric))
        for row, metric in pairs
    ]
    shares = [f"{abs(100 * each.difference / each.means[1]):.1f} %" for each in nearest]
    accuracy = f"in accuracy it is {shares[0]} worse than full fine-tuning and {shares[1]} worse than PiSSA (rank=2)"
    assert f"{accuracy}, in normals {shares[2]} and {shares[3]}" in prose
    after = sorted(each.corrected for each in nearest)
    assert f"(corrected {p_value(after[0])} to {p_value(after[-1])})" in prose
    assert after[-1] <= min(each.corrected for each in compared if each not in nearest)
    losses = examine_losses(SCALE, SEEDS, records, ["1"], "each")
    assert sum(each.decided for each in losses) == 3
    assert f"Three of {len(losses)} losses are decided, against Ours." in prose
    assert {each.reading for each in losses if each.decided} == {"opposite"}
    completeness = [
        1000
        * np.mean([scene_means(x.tests["test"], "completeness") for x in of_row(row, TABLE, SEEDS, records).values()])
        for row in (BASE, *(pissa(size) for size in (16, 32, 64, 128)))
    ]
    base, smallest, *others = completeness
    assert smallest < base < min(others)
    assert f"({min(others):.2f} to {max(others):.2f} mm for {base:.2f})" in prose


def test_what_is_said_of_rates_that_were_given_up(records, prose):
    found = of_row(pissa(128), TABLE, SEEDS, records)
    lowered = [seed for seed, record in found.items() if record.given_up]
    assert {found[seed].given_up for seed in lowered} == {(0.0125,)}
    assert {found[seed].rate for seed in lowered} == {0.0025} and lowered == [0, 1, 3]
    assert "With three of four seeds the rate of 0.0125 was too much for PiSSA (rank=16), which got 0.0025" in prose
    others = [record for row in TABLE.rows for record in of_row(row, TABLE, SEEDS, records).values()]
    assert {record.given_up for record in others if record.run.method in ("full", "subspace")} == {()}
