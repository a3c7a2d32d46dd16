"""What is prepared while Blender renders must be what training then needs."""

from dataclasses import fields, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.extraction import Settings, preparation
from experiments.extraction.adapters import AdapterRun, held_out_batches, training_batches
from experiments.extraction.data import Data, rendering_of
from experiments.extraction.preparation import Preparation
from experiments.extraction.prepared import maker_of
from experiments.extraction.recipe import Recipe
from experiments.models import Base
from tests.experiments.finetuning.small import BoxScene, matrices, subspace_folder
from tests.experiments.training import tiny
from vggt_jax.adapters import BaseModel, initialize

SETTINGS = Settings.of("nano", k=2, rank=1, dim=1, images=4, fewest_views=2, most_views=4, held_out=1, held_out_views=2)
SETTINGS = replace(SETTINGS, scenes=3, views=4, resolution=16)


@pytest.mark.parametrize("targets", ["true", "shuffled"])
def test_blank_batches_are_like_those_of_scenes(targets):
    recipe = Recipe.of(replace(SETTINGS, targets=targets))
    scenes = {number: [BoxScene(3 * number), BoxScene(3 * number + 1)] for number in range(2)}
    held_out = {number: [BoxScene(3 * number + 2)] for number in range(2)}
    data = Data(Path("data"), rendering_of(SETTINGS).stored, scenes, held_out)
    blank = preparation._blank_data(SETTINGS)
    assert blank.settings == data.settings
    assert {number: len(sets) for number, sets in blank.training.items()} == {0: 2, 1: 2}
    for count in (2, 4):
        found, expected = (
            replace(training_batches(AdapterRun(None, each, recipe), None), counts=(count,))(0)
            for each in (blank, data)
        )
        assert_alike(found, expected)
    assert_alike(*(held_out_batches(AdapterRun(None, each, recipe), None)[0] for each in (blank, data)))


def assert_alike(found, expected):
    for each in fields(expected):
        one, other = getattr(found, each.name), getattr(expected, each.name)
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.shape, one.dtype) == (other.shape, other.dtype), each.name


@pytest.mark.parametrize("kind", ["lora", "full", "second pass"])
def test_mining_is_compiled_for_updates_of_every_kind(kind, tmp_path):
    graphdef, base = tiny.draw_base(0)
    own = Base(BaseModel.of("tiny", tiny.CONFIG, base), graphdef, base)
    folder = subspace_folder(tmp_path / "first", "lighting", 1, base=own) if kind == "second pass" else None
    recipe = replace(Recipe.of(SETTINGS), updates="full" if kind == "full" else "lora", outputs=folder)
    maker = maker_of(own, recipe)
    params = jax.device_get(initialize(maker, jax.random.key(0), 2, "independent"))
    found = preparation.stacked_updates(maker, params, 1)
    assert found.keys() == matrices().keys()
    for path, matrix in matrices().items():
        assert isinstance(found[path].A, np.ndarray)
        assert found[path].A.shape == (2, *matrix.stack, matrix.n, 1)
        assert found[path].B.shape == (2, *matrix.stack, matrix.m, 1)
        for i in range(2):
            own_update = maker.deltas(jax.tree.map(lambda leaf, i=i: leaf[i], params))[path]
            np.testing.assert_array_equal(found[path].A[i], own_update.A[..., :1])
            np.testing.assert_array_equal(found[path].B[i], own_update.B[..., :1])


def test_it_is_prepared_once_and_beside(monkeypatch):
    go, calls = Event(), []

    def slow(settings, base, abandoned):
        assert go.wait(60)
        calls.append(settings)
        return base

    monkeypatch.setattr(preparation, "prepare_compiled", slow)
    work = Preparation(SETTINGS, "base")
    work.begin()
    work.begin()
    assert calls == [] and work.running and not work.done
    go.set()
    assert work.result() == "base" == work.result() and calls == [SETTINGS]
    assert work.done and not work.running


def test_what_goes_wrong_beside_is_raised_where_it_is_needed(monkeypatch):
    def fail(settings, base, abandoned):
        raise ZeroDivisionError

    monkeypatch.setattr(preparation, "prepare_compiled", fail)
    work = Preparation(SETTINGS, "base")
    work.begin()
    with pytest.raises(ZeroDivisionError):
        work.result()


def test_what_is_abandoned_compiles_no_further(monkeypatch):
    begun, go, compiled = Event(), Event(), []

    def compile_for(prepared, training, held_out):
        begun.set()
        assert go.wait(60)
        compiled.extend(training)

    monkeypatch.setattr(preparation, "prepare", lambda *_: SimpleNamespace(groups=[(0, 1)]))
    monkeypatch.setattr(preparation, "compile_for", compile_for)
    work = Preparation(replace(SETTINGS, training=replace(SETTINGS.training, cache_tokens=False)), None)
    work.begin()
    assert begun.wait(60)
    work.abandon()
    go.set()
    work.result()
    assert compiled == []
