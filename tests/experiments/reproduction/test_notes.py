"""What is said beneath a table depends on what the table is, and on the scale."""

import pytest

from experiments.presets import PRESETS
from experiments.reproduction.notes import notes
from experiments.reproduction.plan import run_of
from experiments.reproduction.rows import EVERY_TABLE, TABLES, ours
from experiments.reproduction.tables import measure
from tests.experiments.reproduction.planted import record


def said(name, preset="nano", seeds=(0,), minings="one"):
    scale, table = PRESETS[preset].scale, EVERY_TABLE[name]
    some = [row for row in table.rows if row in (ours(16), ours(64))][:1]
    runs = [run_of(row, table, scale, seed, minings) for row in some for seed in seeds]
    return notes(measure(table, scale, seeds, {run: record(run, 1.0) for run in runs}, minings))


@pytest.mark.parametrize(("name", "glass"), [("1", 0), ("2", 0), ("3", 1), ("4", 0)])
def test_the_rank_that_is_mined_is_said_where_it_is_not_the_papers(name, glass):
    assert len(said(name)) == len(said(name, "vggt_1b")) + 1 + glass


@pytest.mark.parametrize("name", ["3", "controls"])
def test_glass_in_what_is_mined_from_is_said_where_the_task_is_glass(name):
    assert any("data that Ours is mined from are glass" in each for each in said(name))
    assert not any("mined from are glass" in each for each in (*said(name, "vggt_1b"), *said("2")))


def test_table_5_compares_ranks_and_says_nothing_of_one():
    assert said("5") == said("5", "vggt_1b")


def test_one_mining_for_all_seeds_is_said_where_there_are_several():
    assert len(said("2", seeds=(0, 1))) == len(said("2")) + 1
    assert "All seeds share one mining" in said("2", seeds=(0, 1))[-1]
    assert "Every seed has data sets" in said("2", seeds=(0, 1), minings="each")[-1]


def test_of_the_controls_the_paper_has_no_table():
    assert any("the paper's own tables have 16" in each for each in said("controls"))
    assert any("the paper's own table has 16" in each for each in said("3"))


def test_a_constant_depth_is_explained_where_it_has_a_row():
    assert all(any("“A constant depth” is" in each for each in said(name)) for name in ("1", "2", "3", "controls"))
    assert not any("constant depth" in each for name in ("4", "5", "s1") for each in said(name))


def test_only_the_table_of_allocations_speaks_of_what_they_leave_out():
    assert set(said("s1", "vggt_1b")) > set(said("4", "vggt_1b")) and len(said("s1", "vggt_1b")) == 3


def test_what_allocations_compare_a_layer_with_is_said_where_there_are_some():
    assert all(any("mean over the layers of its kind" in each for each in said(name)) for name in ("s1", "controls"))
    assert not any("mean over the layers" in each for name in ("2", "3", "5") for each in said(name))


def test_the_users_own_recordings_are_called_so_and_ours_no_longer():
    scale, table = PRESETS["nano"].scale, TABLES["1"]
    ours_said = notes(measure(table, scale, (0,), {}))
    own = notes(measure(table, scale, (0,), {}), {("faces", "test"): "7 scenes of phone (captures)"})
    assert "the user's own recordings" in own[0] and "7 scenes of phone (captures)" in own[0]
    assert "Test pictures are rendered prints" in " ".join(ours_said) and "Test pictures are" not in " ".join(own)
    assert "here all are of the same scenes and views" in " ".join(own)
    other = notes(measure(table, scale, (0,), {}), {("glass", "test"): "7 scenes"})
    assert other == ours_said
