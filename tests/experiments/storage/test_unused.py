"""Objects of a store that nothing refers to are counted and deleted, and no others."""

import pytest

from experiments.storage import shared, unused
from experiments.storage.locks import alone
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.experiments.storage.test_begun import machines  # noqa: F401
from tests.experiments.storage.test_shared import read, written


def test_what_was_published_before_goes(machines):  # noqa: F811
    one, two = machines
    written(one / "x", {"a": "first", "b": "same"})
    shared.publish(one / "x", "a")
    written(one / "x", {"a": "second"})
    shared.publish(one / "x", "a")
    store = shared.store_at(two)
    assert unused.unused(store) == {}  # it is not a day old
    (name,) = unused.unused(store, -1.0)
    assert unused.unused(store, -1.0) == {name: len("first")}
    with alone(one / "y"), pytest.raises(InputError, match="nothing was deleted"):
        unused.sweep(store, -1.0)
    assert unused.sweep(store, -1.0) == {name: len("first")} and unused.unused(store, -1.0) == {}
    assert shared.fetch(two / "x") and read(two / "x") == {"a": "second", "b": "same"}


def test_the_command_says_how_many(machines, tmp_path, monkeypatch):  # noqa: F811
    one, _ = machines
    written(one / "x", {"a": "first"})
    shared.publish(one / "x", "a")
    written(one / "x", {"a": "second"})
    shared.publish(one / "x", "a")
    store = f"--store=file://{tmp_path}/store"
    assert call("experiments.status", store, "--unused").stdout.startswith("0 unused objects, ")
    monkeypatch.setattr(unused.sweep, "__defaults__", (-1.0,))
    assert call("experiments.status", store, "--sweep").stdout.startswith("1 unused objects deleted, ")
    refused = call("experiments.status", f"--store={one}", "--sweep")
    assert refused.status == 0  # the folder of copies is the store
    refused = call("experiments.status", f"--store={tmp_path}", "--sweep")
    assert refused.status == 2 and "--sweep" in refused.stderr
