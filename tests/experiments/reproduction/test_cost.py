"""What is left of a plan: fine-tunings, searches and subspaces, beside the records that are there."""

from dataclasses import replace

import pytest

from experiments.reproduction.cost import Cost, describe
from experiments.reproduction.rows import BASE, TABLES
from tests.experiments.reproduction.planted import plan


def test_searches_and_extractions_count():
    nano = Cost(plan("1"))
    assert nano.trainings == 13 + 5 * 2 and len(nano.extractions) == 2
    assert nano.hours == pytest.approx((23 * nano.plan.scale.minutes + 10 * nano.plan.scale.adapter_minutes) / 60)
    said = "2 subspaces, 23 fine-tunings for seed(s) 0; 3 learning rates or more for each of 5 methods and tasks"
    assert list(describe(nano))[1:] == [said, "about 40 minutes on two CPU cores, less what the store has of them"]
    paper = Cost(plan("1", preset="vggt_1b"))
    assert paper.trainings == 13  # the paper's learning rate, no search
    assert list(describe(paper))[1] == "2 subspaces, 13 fine-tunings for seed(s) 0"
    assert paper.hours == 13 * 20 + 2 * 5 * 20  # of a fine-tuning, and of an adapter: supplement 1
    assert "about 19 days on one H200" in list(describe(paper))[-1]
    rows = Cost(plan("5", preset="vggt_1b"))
    assert rows.hours == rows.trainings * 20 + 80 * 20  # four attributes, two ranks, ten adapters each


def test_the_smallest_row_of_ours_is_in_table_4_only():
    assert Cost(plan("2")).trainings == 15 + 4 * 2 + 3  # so all three rates are tried on it, none of which is a row's


def test_what_has_a_record_costs_nothing():
    both = replace(plan("2", seeds=(0, 1)), minings="each", rates_for="row")
    first = plan("2")
    half = Cost(both, frozenset(first.runs), frozenset(both.searches))
    assert [run.seed for run in half.runs] == [1] * 15 and half.trainings == 15 and not half.searches
    assert {subspace.mining for subspace in half.extractions} == {1} and len(half.extractions) == 4
    assert list(describe(half))[1:3] == [
        "17 of 32 runs have a record and are not run again",
        "4 subspaces, 15 fine-tunings for seed(s) 0, 1; all learning rates are known",
    ]
    done = Cost(both, frozenset(both.runs))
    assert not (done.trainings or done.extractions or done.searches or done.hours)
    assert list(describe(done))[-1] == "all 32 runs have a record"


def test_rates_are_searched_only_for_runs_that_are_left():
    rows = replace(plan("s1", seeds=(1,)), rates_for="row")
    assert len(Cost(rows).searches) == 6
    last = [run for run in rows.runs if run.method is not None][-1]
    known = next(iter(rows.searches))
    some = Cost(rows, frozenset({last}), frozenset({known}))
    assert len(some.needed) == 5 and len(some.searches) == 4
    assert some.trainings == 5 + 4 * 3  # rates are tried with seed 0, which is not asked for
    assert list(describe(some))[2].endswith("; 3 learning rates or more for each of 4 rows, those of 1 are known")


def test_a_model_that_is_not_trained_needs_no_rates():
    only = replace(plan("1"), tables=(replace(TABLES["1"], rows=(BASE,)),))
    assert list(describe(Cost(only)))[1] == "0 subspaces, 0 fine-tunings for seed(s) 0"
