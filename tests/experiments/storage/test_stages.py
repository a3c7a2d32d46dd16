from pathlib import Path

from experiments.storage.stages import stage_folder


def test_a_stage_is_named_by_what_it_depends_on():
    store = Path("runs")
    one = stage_folder(store, "adapters", "geometry", {"rank": 8, "data": {"seed": 0, "views": 8}})
    same = stage_folder(store, "adapters", "geometry", {"data": {"views": 8, "seed": 0}, "rank": 8})
    other = stage_folder(store, "adapters", "geometry", {"rank": 8, "data": {"seed": 1, "views": 8}})
    assert one == same != other and one.parent == store / "adapters"
