"""Readings of claims on planted figures."""

import pytest
from scipy.stats import false_discovery_control, ttest_rel

from experiments.reproduction.claims import CLAIMS, examine, examine_losses
from experiments.reproduction.paper import printed
from experiments.reproduction.plan import run_of
from experiments.reproduction.records import figure
from experiments.reproduction.rows import BASE, CONTROL, EVERY_TABLE, TABLES, lora, ours
from tests.experiments.reproduction.planted import plan, record

OURS = ours(64, part="blocks")
"""In Table 3."""


def findings(name, levels, seeds=(0,), noise=0.0):
    wanted = plan(name, seeds=seeds)
    records = {}
    for row, level in levels.items():
        for seed in seeds:
            run = run_of(row, TABLES[name], wanted.scale, seed)
            records[run] = record(run, level, noise=noise)
    return examine(wanted.scale, seeds, records, [name])


def readings(found):
    return {(each.split, each.metric): each.reading for each in found}


def test_claims_name_rows_of_their_tables():
    for claim in CLAIMS:
        assert {claim.first, claim.second} <= set(EVERY_TABLE[claim.table].rows), claim
        assert claim.table == "controls" or claim.first in printed()[claim.table], claim


def test_better_means_smaller_distances_and_larger_consistency():
    found = readings(findings("3", {OURS: 0.01, lora(16): 0.02}, seeds=(0, 1)))
    assert found == {
        ("test", "accuracy"): "holds", ("test", "completeness"): "holds", ("test", "chamfer"): "holds",
        ("test", "normal_consistency"): "opposite",
    }  # fmt: skip


def test_what_is_equal_is_undecided():
    found = findings("3", {OURS: 0.01, lora(16): 0.01}, seeds=(0, 1))
    assert set(readings(found).values()) == {"undecided"} and {each.p for each in found} == {1.0}


def test_one_seed_is_neither_yes_nor_no():
    found = findings("3", {OURS: 0.01, lora(16): 0.02})
    assert set(readings(found).values()) == {"one_seed"}
    assert {(each.test, each.p, each.corrected, each.compared, each.decided) for each in found} == {
        (None, None, None, 0, False)
    }


def test_one_scene_is_neither_yes_nor_no():
    wanted = plan("3", seeds=(0, 1))
    runs = [run_of(row, TABLES["3"], wanted.scale, seed) for row in (OURS, lora(16)) for seed in (0, 1)]
    scene = dict.fromkeys(("accuracy", "completeness", "normal_consistency"), 0.1)
    records = {run: record(run, 1.0, tests={"test": {"only": scene}}) for run in runs}
    assert {each.reading for each in examine(wanted.scale, (0, 1), records, ["3"])} == {"one_scene"}


def test_difference_is_the_first_row_minus_the_second_over_scenes():
    (first, *_) = findings("3", {OURS: 0.01, lora(16): 0.02}, seeds=(0, 1))
    assert first.difference < 0 and first.means[1] == pytest.approx(0.02 * 1.055)
    assert first.test is not None and first.test.mean == pytest.approx(first.difference)
    assert (first.scenes, len(first.by_seed)) == (12, 2)
    assert (first.claim.first, first.claim.second) == (OURS, lora(16))


@pytest.mark.parametrize(("ratio", "expected"), [(1.01, "holds"), (1.2, "opposite")])
def test_alike_is_a_claim_about_a_margin(ratio, expected):
    found = readings(findings("s1", {ours(64, allocation="importance"): 0.01 * ratio, ours(64): 0.01}, seeds=(0, 1)))
    assert set(found.values()) == {expected}


def test_the_papers_own_figures_are_read_the_same_way():
    found = {(f.split, f.metric): f.printed for f in findings("2", {ours(64): 1, lora(256): 1, BASE: 1})}
    assert found["test", "accuracy"] == found["cross_domain", "normal_consistency"] == "holds"


def test_what_the_paper_has_no_row_for_is_read_without_its_figures():
    found = findings("3", {OURS: 0.01, CONTROL: 0.02}, seeds=(0, 1))
    assert readings(found)["test", "accuracy"] == "holds" and {each.printed for each in found} == {None}
    assert {each.claim.second for each in found} == {CONTROL}


def test_what_seeds_disagree_about_is_undecided():
    wanted = plan("3", seeds=(0, 1, 2))

    def read(levels):
        records = {}
        for seed, level in enumerate(levels):
            first, second = (run_of(row, TABLES["3"], wanted.scale, seed) for row in (OURS, lora(16)))
            records |= {first: record(first, level), second: record(second, 0.02)}
        (first, *_) = examine(wanted.scale, (0, 1, 2), records, ["3"])
        assert first.by_seed == pytest.approx([1.055 * (level - 0.02) for level in levels])
        assert first.difference == pytest.approx(sum(first.by_seed) / len(levels))
        return first

    assert read([0.0150, 0.0152, 0.0149]).reading == "holds"
    assert read([0.010, 0.015, 0.021]).reading == "undecided"
    assert read([0.012, 0.015, 0.019]).reading == "undecided"  # although all agree


def test_a_table_is_corrected_for_all_that_it_compares():
    found = findings("3", {OURS: 0.01, lora(16): 0.02, CONTROL: 0.0101}, seeds=(0, 1), noise=0.05)
    assert {each.compared for each in found} == {8}
    expected = false_discovery_control([each.p for each in found])
    assert [each.corrected for each in found] == pytest.approx(list(expected))
    wanted = plan("2", "3", seeds=(0, 1))
    assert examine(wanted.scale, (0, 1), {}, ["2", "3"]) == []


def test_the_chamfer_distance_is_the_mean_of_its_halves_here_and_in_print():
    scene = {"accuracy": 0.01, "completeness": 0.04, "normal_consistency": 0.5}
    assert figure(scene, "chamfer") == pytest.approx(0.025) and figure(scene, "accuracy") == 0.01
    row = printed()["1"][ours(16)]
    assert row.figures(TABLES["1"])["test", "chamfer"] == pytest.approx((3.831 + 2.037) / 2)
    assert row.figures(TABLES["1"])["test", "delta"] == 98.92


def test_claims_with_a_row_that_has_not_been_measured_are_left_out():
    assert findings("3", {OURS: 0.01}) == []


def test_only_seeds_that_both_rows_have_are_compared():
    wanted = plan("2", seeds=(0, 1))
    first, second, base = (
        [run_of(row, TABLES["2"], wanted.scale, seed) for seed in (0, 1)] for row in (ours(64), lora(16), BASE)
    )
    records = {first[0]: record(first[0], 0.01), first[1]: record(first[1], 9.0), second[0]: record(second[0], 0.02)}
    (found, *_) = examine(wanted.scale, (0, 1), records, ["2"])
    assert len(found.by_seed) == 1 and found.difference == pytest.approx(-0.01 * 1.055)
    later = {first[1]: records[first[1]], second[0]: records[second[0]]}
    assert examine(wanted.scale, (0, 1), later, ["2"]) == []
    untrained = {first[1]: record(first[1], 0.01), base[0]: record(base[0], 0.02)}  # it is the same for every seed
    assert {each.claim.second for each in examine(wanted.scale, (0, 1), untrained, ["2"])} == {BASE}


def losses(by_row, seeds=(0, 1, 2), name="3"):
    wanted = plan(name, seeds=seeds)
    records = {}
    for row, values in by_row.items():
        for seed, value in zip(seeds, values, strict=True):
            run = run_of(row, TABLES[name], wanted.scale, seed)
            records[run] = record(run, 1.0, loss=value)
    return examine_losses(wanted.scale, seeds, records, [name])


def test_losses_are_compared_between_equal_seeds():
    ours_losses, lora_losses, heads = (1.0, 1.5, 1.2), (1.1, 1.62, 1.29), (1.0, 1.6, 1.1)
    (first, second) = losses({OURS: ours_losses, lora(16): lora_losses, CONTROL: heads})
    expected = [ttest_rel(ours_losses, other).pvalue for other in (lora_losses, heads)]
    assert [first.p, second.p] == pytest.approx(expected)
    assert [first.corrected, second.corrected] == pytest.approx(list(false_discovery_control(expected)))
    assert (first.reading, second.reading) == ("holds", "undecided") and first.compared == 2
    assert first.by_seed == pytest.approx((-0.1, -0.12, -0.09))
    assert (first.split, first.metric, first.claim.second) == ("validation", "validation_loss", lora(16))
    (worse,) = losses({OURS: lora_losses, lora(16): ours_losses})
    assert worse.reading == "opposite"


def test_losses_of_all_tables_are_corrected_together():
    wanted = plan("2", "3", seeds=(0, 1, 2))
    records = {}
    for name in ("2", "3"):
        first, second = (row for row in (ours(64, part="all" if name == "2" else "blocks"), lora(16)))
        for row, values in ((first, (1.0, 1.5, 1.2)), (second, (1.1, 1.62, 1.29))):
            for seed, loss in enumerate(values):
                run = run_of(row, EVERY_TABLE[name], wanted.scale, seed)
                records[run] = record(run, 0.1, loss=loss)
    found = examine_losses(wanted.scale, (0, 1, 2), records, ["2", "3"])
    assert {each.claim.table for each in found} == {"2", "3"} and {each.compared for each in found} == {2}


def test_losses_of_one_seed_are_no_evidence_and_the_base_model_has_none():
    (found,) = losses({OURS: (1.0,), lora(16): (2.0,)}, seeds=(0,))
    assert found.reading == "one_seed" and found.test is None
    assert losses({ours(64): (1.0, 1.1), BASE: (2.0, 2.0)}, seeds=(0, 1), name="2") == []
    assert losses({ours(64, allocation="importance"): (1.0,), ours(64): (1.0,)}, seeds=(0,), name="s1") == []
