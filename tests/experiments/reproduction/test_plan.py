"""What is run: each run once, seeds in turn, one search of a learning rate for each method."""

from dataclasses import replace

import msgspec

from experiments.reproduction.plan import Search, Subspaces, run_of
from experiments.reproduction.rows import CONTROLS, TABLES, gradient, lora, ours
from tests.experiments.reproduction.planted import plan


def test_tables_share_runs_and_names_tell_them_apart():
    everything = plan(*TABLES, seeds=(0, 1))
    rows = sum(len(table.rows) for table in TABLES.values())
    # Ours (d=16, 32, 64) stands in Tables 2, 4, s1 and 5, (d=8) in 4 and 5; nano's main subspaces are those of r = 64.
    assert len(plan(*TABLES).runs) == rows - 3 * 3 - 1 - 1  # the control in 2 and 4
    assert len(everything.runs) == 2 * len(plan(*TABLES).runs) - 6  # what is not trained needs no second seed
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


def test_subspaces_are_mined_where_the_table_says():
    assert plan("1").extractions == [Subspaces((name,), "micro_baseline", 64) for name in ("texture", "geometry")]
    assert len(plan("5").extractions) == 8


def test_rates_are_compared_on_the_smallest_row_whatever_is_asked_for_first():
    for tables in (("2",), ("4",), ("4", "2"), ("2", "5", "s1")):
        for seeds in ((0,), (3, 1)):
            tried = plan(*tables, seeds=seeds).searches[Search("humans", "subspace")]
            assert tried.subspaces is not None
            assert (tried.size, tried.seed, tried.subspaces.mined_rank) == (8, 0, 64)
    assert Search("humans", "psv") not in plan("2").searches


def test_every_row_can_have_a_search_of_its_own():
    each = replace(plan("s1", seeds=(1, 2)), rates_for="row")
    assert len(each.searches) == 6 and {run.seed for run in each.searches.values()} == {0}
    names = {search.variant for search in each.searches}
    assert {"subspace_16_r64", "subspace_16_r64_importance"} < names
    assert {each.search_of(run) for run in each.runs} == each.searches.keys()
    assert {run.search for run in each.runs} == {Search("humans", "subspace")}


def test_seeds_can_have_minings_of_their_own_and_seed_0_has_the_shared_one():
    one, each = (replace(plan("5", seeds=(0, 1)), minings=minings) for minings in ("one", "each"))
    assert one.runs[:8] == each.runs[:8] and len({run.name for run in (*one.runs, *each.runs)}) == 8 * 3
    assert {run.subspaces.mining for run in each.runs if run.subspaces} == {msgspec.UNSET, 1}
    assert "mining" not in str(msgspec.to_builtins(one.runs[-1]))  # records of before stay as they are
    assert len(each.extractions) == 2 * len(one.extractions) and {of.mining for of in each.extractions} == {
        msgspec.UNSET,
        1,
    }
    assert each.searches == one.searches
    assert each.runs[-1].name == "humans_subspace_64_r16_mining1_seed1"


def test_controls_are_no_table_of_the_papers_and_run_only_where_asked_for():
    assert CONTROLS.name not in TABLES
    found = plan("controls")
    sizes = {run.method: run.size for run in found.runs if run.method and run.part == "all"}
    assert sizes == {
        "lora": 16, "subspace": 64, "mean": 64, "pooled": 64, "shuffled": 64, "psv": 256, "gradient": 256, "random": 256
    }  # fmt: skip
    assert {run.name for run in plan("3").runs} & {run.name for run in found.runs} == {
        "glass_base", "glass_constant_depth", "glass_lora_16_seed0", "glass_lora_16_heads_seed0"
    }  # fmt: skip
    others = [run.name for run in found.runs if run.subspaces and len(msgspec.to_builtins(run.subspaces)) > 3]
    assert others == [
        "glass_subspace_64_r64_exact_of128_seed0",
        "glass_subspace_64_r64_gradient_seed0",
        "glass_subspace_64_r64_second_pass_seed0",
        "glass_subspace_64_r64_full_seed0",
    ]
    assert [run.name for run in found.runs][-4:] == others
    assert run_of(gradient(256), CONTROLS, found.scale, 0).subspaces is None
    assert run_of(lora(16), CONTROLS, found.scale, 0) == run_of(lora(16), TABLES["3"], found.scale, 0)
