"""Readings of claims on planted figures."""

import pytest

from experiments.reproduction.claims import CLAIMS, examine
from experiments.reproduction.paper import printed
from experiments.reproduction.plan import run_of
from experiments.reproduction.rows import CONTROL, TABLES
from tests.experiments.reproduction.planted import plan, record


def findings(name, levels, seeds=(0,), noise=0.0):
    wanted = plan(name, seeds=seeds)
    rows = {row.label: row for row in TABLES[name].rows}
    records = {}
    for label, level in levels.items():
        for seed in seeds:
            run = run_of(rows[label], TABLES[name], wanted.scale, seed)
            records[run] = record(run, level, noise=noise)
    return examine(wanted.scale, seeds, records, [name])


def readings(found):
    return {(each.split, each.metric): each.reading for each in found}


def test_claims_name_rows_of_their_tables():
    for claim in CLAIMS:
        rows = {row.label for row in TABLES[claim.table].rows}
        assert {claim.first, claim.second} <= rows and claim.first in printed()[claim.table], claim


def test_better_means_smaller_distances_and_larger_consistency():
    found = readings(findings("3", {"Ours": 0.01, "LoRA (rank=16)": 0.02}))
    assert found == {
        ("test", "accuracy"): "yes", ("test", "completeness"): "yes", ("test", "normal_consistency"): "no, the opposite"
    }  # fmt: skip


def test_what_scenes_disagree_about_is_undecided():
    found = findings("3", {"Ours": 0.01, "LoRA (rank=16)": 0.01}, noise=0.0)
    assert set(readings(found).values()) == {"undecided"}


def test_difference_is_the_first_row_minus_the_second_over_scenes():
    (first, *_) = findings("3", {"Ours": 0.01, "LoRA (rank=16)": 0.02}, seeds=(0, 1))
    assert first.difference.mean < 0 and first.difference.first == pytest.approx(0.02 * 1.055)
    assert (first.scenes, len(first.by_seed), first.rows) == (12, 2, ("Ours (d=8)", "LoRA (rank=2)"))


@pytest.mark.parametrize(("ratio", "expected"), [(1.01, "yes"), (1.2, "no, the opposite")])
def test_alike_is_a_claim_about_the_whole_interval(ratio, expected):
    found = readings(findings("s1", {"Importance (d=64)": 0.01 * ratio, "Uniform (d=64)": 0.01}))
    assert set(found.values()) == {expected}


def test_the_papers_own_figures_are_read_the_same_way():
    found = {(f.split, f.metric): f.printed for f in findings("2", {"Ours (d=64)": 1, "LoRA (rank=256)": 1, "VGGT": 1})}
    assert found["test", "accuracy"] == found["cross_domain", "normal_consistency"] == "yes"


def test_what_the_paper_has_no_row_for_is_read_without_its_figures():
    found = findings("3", {"Ours": 0.01, CONTROL.label: 0.02})
    assert readings(found)["test", "accuracy"] == "yes" and {each.printed for each in found} == {None}
    (line, *_) = found
    assert line.rows == ("Ours (d=8)", "Heads alone (rank=2)")


def test_a_seed_that_says_otherwise_leaves_a_claim_undecided():
    wanted = plan("3", seeds=(0, 1, 2))
    rows = {row.label: row for row in TABLES["3"].rows}

    def read(levels):
        records = {}
        for seed, level in enumerate(levels):
            ours, lora = (run_of(rows[label], TABLES["3"], wanted.scale, seed) for label in ("Ours", "LoRA (rank=16)"))
            records |= {ours: record(ours, level), lora: record(lora, 0.02)}
        (first, *_) = examine(wanted.scale, (0, 1, 2), records, ["3"])
        assert first.by_seed == pytest.approx([1.055 * (level - 0.02) for level in levels])
        assert first.difference.mean == pytest.approx(sum(first.by_seed) / len(levels))
        return first

    assert read([0.015, 0.018, 0.019]).reading == "yes"
    other = read([0.010, 0.015, 0.021])
    assert other.difference.high < 0 and other.reading == "undecided"


def test_claims_with_a_row_that_has_not_been_measured_are_left_out():
    assert findings("3", {"Ours": 0.01}) == []


def test_only_seeds_that_both_rows_have_are_compared():
    wanted = plan("2", seeds=(0, 1))
    rows = {row.label: row for row in TABLES["2"].rows}
    ours, lora, base = (
        [run_of(rows[label], TABLES["2"], wanted.scale, seed) for seed in (0, 1)]
        for label in ("Ours (d=64)", "LoRA (rank=16)", "VGGT")
    )
    records = {ours[0]: record(ours[0], 0.01), ours[1]: record(ours[1], 9.0), lora[0]: record(lora[0], 0.02)}
    (first, *_) = examine(wanted.scale, (0, 1), records, ["2"])
    assert len(first.by_seed) == 1 and first.difference.mean == pytest.approx(-0.01 * 1.055)
    later = {ours[1]: records[ours[1]], lora[0]: records[lora[0]]}
    assert examine(wanted.scale, (0, 1), later, ["2"]) == []
    untrained = {ours[1]: record(ours[1], 0.01), base[0]: record(base[0], 0.02)}  # it is the same for every seed
    assert {found.claim.second for found in examine(wanted.scale, (0, 1), untrained, ["2"])} == {"VGGT"}
