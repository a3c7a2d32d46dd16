"""What status says of a store."""

import threading

import pytest

from experiments.storage import leases, shared
from experiments.storage.locks import alone, owner_of
from experiments.storage.overview import overview
from subspace.errors import InputError
from tests.experiments.commands import call

MARKS = {"results.json", "manifest.json"}


@pytest.fixture(params=["folder", "shared"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / "copies"))
    if request.param == "folder":
        (tmp_path / "runs").mkdir()
        return tmp_path / "runs"
    return shared.opened(f"file://{tmp_path}/store")


def finish(store, name, mark):
    (store / name).mkdir(parents=True)
    (store / name / mark).write_text("{}")
    (store / name / "more").write_text("x" * 98)
    shared.publish(store / name, mark)


def states(store):
    return {entry.name: entry.state for entry in overview(store, MARKS)}


def test_what_is_done_and_who_works_at_what(store):
    assert states(store) == {}
    finish(store, "extract/label-1", "results.json")
    finish(store, "data/sets/dataset_00", "manifest.json")
    shared.publish(store / "data" / "sets", "settings.json", [])
    assert states(store) == {"extract/label-1": "done", "data/sets/dataset_00": "done"}
    assert {entry.bytes for entry in overview(store, MARKS)} == {100}
    working, seen = threading.Event(), threading.Event()

    def work():
        with alone(store / "finetune" / "label-2"), alone(store / "data" / "sets", inside=True):
            working.set()
            seen.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        working.wait()
        found = states(store)
        (running,) = [entry for entry in overview(store, MARKS) if entry.name == "finetune/label-2"]
    finally:
        seen.set()
        thread.join()
    assert found["finetune/label-2"] == found["data/sets"] == "running"
    assert found["data/sets/dataset_00"] == "done"
    assert "process" in running.by
    assert states(store) == {"extract/label-1": "done", "data/sets/dataset_00": "done"}


def test_what_failed_and_what_was_lost(store, monkeypatch):
    if not shared.is_shared(store):
        (store / "extract" / "label-1").mkdir(parents=True)
        (store / "extract" / "label-1" / "checkpoint").touch()
        assert states(store) == {"extract/label-1": "unfinished"}
        return
    with pytest.raises(InputError), alone(store / "extract" / "label-1"):
        raise InputError("no scene could be rendered")
    (entry,) = overview(store, MARKS)
    assert (entry.state, entry.reason) == ("failed", "no scene could be rendered")
    with alone(store / "extract" / "label-1"):
        assert states(store) == {"extract/label-1": "running"}
        monkeypatch.setattr(leases, "OVER_S", -1.0)
        assert states(store) == {"extract/label-1": "lost"}


def test_the_command(store, tmp_path):
    place = f"file://{tmp_path}/store" if shared.is_shared(store) else store
    assert call("experiments.status", f"--store={place}").stdout == "nothing yet\n"
    finish(store, "extract/label-1", "results.json")
    done = call("experiments.status", f"--store={place}", "--all")
    assert done.status == 0 and "extract/label-1" in done.stdout and "extract: 1 done" in done.stdout
    assert call("experiments.status", f"--store={tmp_path}/nowhere").status == 2


def test_a_lock_that_nobody_holds_has_no_owner(tmp_path):
    (tmp_path / ".sets.lock").write_text('{"pid": 1, "host": "here", "since": "then"}')
    assert owner_of(tmp_path / "sets") is None


def test_splits_of_tasks_and_results_that_have_names_of_their_own(tmp_path):
    runs = tmp_path / "runs"
    for name in ("tasks/glass/train/dataset_00", "tasks/glass/test/dataset_00", "tasks/faces/test/dataset_00"):
        finish(runs, name, "manifest.json")
    (runs / "tasks" / "faces" / "pictures").mkdir()
    finish(runs, "mine", "results.json")
    (runs / "mine" / "pictures").mkdir()
    assert states(runs) == {
        "tasks/glass/train/dataset_00": "done",
        "tasks/glass/test/dataset_00": "done",
        "tasks/faces/test/dataset_00": "done",
        "mine": "done",
    }
