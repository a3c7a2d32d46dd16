"""What is run: each run once, seeds in turn, one search of a learning rate for each method."""

from experiments.reproduction.plan import Search, describe, run_of
from experiments.reproduction.rows import TABLES, ours
from tests.experiments.reproduction.planted import plan


def test_tables_share_runs_and_names_tell_them_apart():
    everything = plan(*TABLES, seeds=(0, 1))
    rows = sum(len(table.rows) for table in TABLES.values())
    # Ours (d=16, 32, 64) stands in Tables 2, 4, s1 and 5, (d=8) in 4 and 5; nano's main subspaces are those of r = 64.
    assert len(plan(*TABLES).runs) == rows - 3 * 3 - 1 - 1  # the control in 2 and 4
    assert len(everything.runs) == 2 * len(plan(*TABLES).runs) - 3  # the base models need no second seed
    assert len({run.name for run in everything.runs}) == len(everything.runs)
    first = len(plan(*TABLES).runs)
    assert {run.seed for run in everything.runs[:first]} == {0}


def test_rows_of_table_5_and_2_are_the_same_run_only_for_the_adapters_of_the_main_tables():
    scale = plan("2").scale
    (main,) = (run_of(row, TABLES["2"], scale, 0) for row in TABLES["2"].rows if row == ours(16))
    runs = {row: run_of(row, TABLES["5"], scale, 0) for row in TABLES["5"].rows}
    assert main == runs[ours(16, mined_rank=64)] != runs[ours(16, mined_rank=16)]


def test_a_methods_rates_are_compared_on_its_first_row_and_the_controls_on_their_own():
    found = plan("1", "3").searches
    assert {(search.task, search.variant): run.size for search, run in found.items()} == {
        ("faces", "full"): 0, ("faces", "lora"): 16, ("faces", "pissa"): 16, ("faces", "lora_heads"): 16,
        ("faces", "subspace"): 8,
        ("glass", "full"): 0, ("glass", "lora"): 16, ("glass", "adalora"): 16, ("glass", "lora_heads"): 16,
        ("glass", "subspace_blocks"): 64,
    }  # fmt: skip
    assert found[Search("glass", "lora", "heads")].name == "glass_lora_16_heads_seed0"


def test_the_cost_counts_searches_and_extractions():
    nano = plan("1")
    assert nano.trainings() == 13 + 5 * 2 and len(nano.extractions) == 2
    lines = list(describe(nano))
    assert (
        "2 subspaces, 3 learning rates or more for each of 5 methods and tasks, 23 fine-tunings for seed(s) 0" in lines
    )
    assert lines[-1].startswith("about 56 minutes on two CPU cores")
    paper = plan("1", preset="vggt_1b")
    assert paper.trainings() == 13  # the paper's learning rate, no search
    assert "days on one H200" in list(describe(paper))[-1]


def test_subspaces_are_mined_where_the_table_says():
    assert plan("1").extractions == [("texture", "micro_baseline", 64), ("geometry", "micro_baseline", 64)]
    assert len(plan("5").extractions) == 8
