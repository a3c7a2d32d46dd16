"""Adapters as a stage: what they depend on, and that a run leaves what is read back."""

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.data.manifest import AttributeSettings
from experiments.extraction import Settings
from experiments.extraction.adapters import (
    DONE,
    AdapterRun,
    held_out_batches,
    is_done,
    load,
    run,
    share,
    training_batches,
)
from experiments.extraction.data import Data
from experiments.extraction.groups import RECORD
from experiments.extraction.prepared import compile_for, maker_of, prepare
from experiments.extraction.recipe import Recipe
from experiments.mining.folder import SNAPSHOTS, read_folder, snapshot_folder
from experiments.models import Base
from experiments.presets import PRESETS
from experiments.process.compilation_cache import PROGRAMS, count_programs
from experiments.storage import shared
from experiments.storage.files import everything_below
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT, digest
from experiments.storage.locks import alone
from experiments.training.losses import CameraLoss, Objective
from experiments.training.metrics_log import read_metrics
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from tests.experiments.finetuning.small import BoxScene, subspace_folder
from tests.experiments.training import tiny
from vggt_jax.adapters import BaseModel, initialize, load_adapter
from vggt_jax.deltas import low_rank_only

RENDERED = AttributeSettings(attribute="lighting", setting="object_centric", seed=0, views=4, resolution=16, samples=1)
RECIPE = Recipe.of(
    Settings.of(
        "nano", attribute="lighting", k=2, rank=1, dim=1, steps=2, images=2, fewest_views=2, most_views=2, held_out=1,
        held_out_views=2, cache_tokens=False,
    )
)  # fmt: skip


class Scene(BoxScene):
    @property
    def folder(self):
        return Path(f"scene_{self.number:04d}")


@cache
def base(seed):
    graphdef, params = tiny.draw_base(seed)
    return Base(BaseModel.of("tiny", tiny.CONFIG, params), graphdef, params)


def job(seed=0, recipe=RECIPE, settings=RENDERED, hashes=("aa", "bb"), first=0):
    training = {number: [Scene(first + 3 * number), Scene(first + 3 * number + 1)] for number in range(2)}
    held_out = {number: [Scene(first + 3 * number + 2)] for number in range(2)}
    return AdapterRun(base(seed), Data(Path("data"), settings, training, held_out, dict(enumerate(hashes))), recipe)


def changed(part, **changes):
    return {"recipe": replace(RECIPE, **{part: replace(getattr(RECIPE, part), **changes)})}


def test_finished_adapters_are_shared_without_checkpoints(tmp_path, monkeypatch):
    address = f"file://{tmp_path}/shared"
    names = ["a_00.safetensors", "snapshots/step_1/a_00.safetensors", "metrics.jsonl", DONE]
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / "here"))
    folder = shared.opened(address) / "adapters" / "label-1"
    for name in [*names, "checkpoints/2/state"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    share(folder, ["a_00"])
    monkeypatch.setenv("ATTRIBUTE_SUBSPACES_CACHE", str(tmp_path / "there"))
    there = shared.opened(address) / "adapters" / "label-1"
    with alone(there, inside=True):
        assert is_done(there)
    assert sorted(everything_below(there)) == sorted(names)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {
            "settings": AttributeSettings(
                **{name: getattr(RENDERED, name) for name in RENDERED.__struct_fields__} | {"seed": 1}
            )
        },
        {"hashes": ("aa", "cc")},
        {"first": 7},
        {"recipe": replace(RECIPE, init="shared")},
        {"recipe": replace(RECIPE, targets="shuffled")},
        {"recipe": replace(RECIPE, seed=1)},
        {"recipe": replace(RECIPE, version=2)},
        {"recipe": replace(RECIPE, objective=Objective(camera=CameraLoss(weight=1.0)))},
        *[
            changed("optimizer", **{name: value})
            for name, value in {
                "clip": 1.0,
                "weight_decay": 0.0,
                "warmup": 0.1,
                "end_rate": 1e-9,
                "peak_rate": 1e-4,
            }.items()
        ],
        changed("training", alpha=3.0),
        changed("training", dtype="bfloat16"),
        changed("training", head_dtype="bfloat16"),
        changed("loop", skips_in_a_row=3),
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_adapters_depend_on_names_their_folder(change):
    assert job(**change).folder(Path("store")) != job().folder(Path("store"))


def test_a_new_number_of_the_recipe_counts_from_its_first_day():
    content = job().identity["recipe"]
    for of, part in ((RECIPE.training, "training"), (RECIPE.optimizer, "optimizer"), (RECIPE, None)):
        first = {each.name for each in fields(of) if each.metadata not in (NO_EFFECT, NO_EFFECT_BY_DEFAULT)}
        assert set(content if part is None else content[part]) == first


def test_what_has_no_effect_does_not_name_the_folder():
    plain = job()
    assert job(recipe=replace(RECIPE, loop=replace(RECIPE.loop, threads=3, keep=1))).identity == plain.identity
    whole = replace(RECIPE, training=replace(RECIPE.training, alpha=1))  # 1.0 there
    assert digest(job(recipe=whole).identity) == digest(plain.identity)


def test_names_of_folders_change_only_with_a_version():
    """If this fails, adapters that people have are trained again: raise the recipe's version and say so in the changelog."""
    recipe = Recipe.of(Settings.of("nano"))
    assert recipe.training == PRESETS["nano"].training
    assert job(recipe=recipe).folder(Path("store")).name.startswith("lighting_object_centric-")
    assert digest(job(recipe=recipe).identity["recipe"]) == "bddfcebde9fb"


def test_a_folder_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(InputError, match=DONE):
        load(tmp_path)
    (tmp_path / DONE).write_text(json.dumps({"adapters": ["a"]}))
    with pytest.raises(InputError, match=f"{DONE} is damaged"):
        load(tmp_path)


def test_in_the_second_pass_outputs_are_given_and_inputs_begin_at_zero(tmp_path):
    own = base(0)
    folder = subspace_folder(tmp_path / "first", "lighting", 3, base=own)
    maker = maker_of(own, replace(RECIPE, outputs=folder))
    mined = read_folder(folder)
    params = initialize(maker, jax.random.key(0), 2, "independent")
    for path, factors in mined.factors.items():
        given = maker.deltas(jax.tree.map(lambda leaf: leaf[0], params))[path]
        assert not given.B.any() and given.shape == factors.shape
        unit = factors.A / np.linalg.norm(factors.A, axis=-2, keepdims=True)
        np.testing.assert_allclose(given.A, unit, atol=1e-5)
    with pytest.raises(InputError, match=r"the base model of .*first is tiny ") as error:
        maker_of(base(1), replace(RECIPE, outputs=folder))
    assert error.value.argument == "outputs"


@pytest.mark.slow  # a training of the tiny model: a minute, nearly all compilation
def test_a_run_leaves_what_is_read_back(tmp_path):
    wanted = job(recipe=replace(RECIPE, snapshots=True))
    folder = wanted.folder(tmp_path)
    prepared = prepare(wanted.base, wanted.recipe, wanted.data.settings, 2)
    compile_for(prepared, [training_batches(wanted, None)(0)], held_out_batches(wanted, None)[0])
    count_programs()
    before = PROGRAMS.compiled
    run(wanted, folder, tmp_path, prepared=prepared)
    assert PROGRAMS.compiled - before < 9  # neither the step nor the loss, only what puts results together
    found = load(folder, wanted.base.identity)
    assert is_done(folder) and list(found.adapters) == ["lighting_00", "lighting_01"] and found.targets == "true"
    assert found.before["loss"].shape == found.after["loss"].shape == (2, 1)
    assert not np.array_equal(found.before["loss"], found.after["loss"])
    assert [adapter.about["dataset"] for adapter in found.adapters.values()] == [0, 1]
    validations = [event for event in read_metrics(folder / "metrics.jsonl") if event["kind"] == "validation"]
    np.testing.assert_allclose(validations[-1]["loss"], found.after["loss"].mean(axis=1), rtol=1e-6)
    assert json.loads((folder / "run.json").read_text()) == json.loads(json.dumps(wanted.identity))
    kept = {each.name for each in (folder / SNAPSHOTS).iterdir()}
    assert kept == {snapshot_folder(event["step"]) for event in validations}
    last = load_adapter(folder / SNAPSHOTS / max(kept) / "lighting_01.safetensors", wanted.base.identity)
    for path, delta in low_rank_only(last.deltas, "last").items():
        np.testing.assert_array_equal(delta.A, low_rank_only(found.adapters["lighting_01"].deltas, "last")[path].A)
    with pytest.raises(InputError, match="belongs to the model tiny"):
        load(folder, job(seed=1).base.identity)


@pytest.mark.slow  # the tiny model's step is compiled for another maker
def test_a_second_pass_trains_inputs_and_leaves_outputs_alone(tmp_path):
    folder = subspace_folder(tmp_path / "first", "lighting", 3, base=base(0))
    wanted = job(recipe=replace(RECIPE, outputs=folder, outputs_sha256="ab"))
    assert wanted.folder(tmp_path) != job().folder(tmp_path)
    run(wanted, tmp_path / "second", tmp_path)
    given = {path: np.asarray(delta.A) for path, delta in wanted.maker.deltas(initialize_one(wanted.maker)).items()}
    found = load(tmp_path / "second", wanted.base.identity)
    moved = 0
    for name, adapter in found.adapters.items():
        assert adapter.about["outputs"] == "ab"
        for path, delta in low_rank_only(adapter.deltas, name).items():
            np.testing.assert_array_equal(delta.A, given[path])
            moved += bool(np.any(np.asarray(delta.B)))
    assert moved > len(given)


def initialize_one(maker):
    return jax.tree.map(lambda leaf: leaf[0], initialize(maker, jax.random.key(0), 1, "independent"))


@pytest.mark.slow  # the tiny model's step and held-out loss are compiled for two numbers of adapters
def test_groups_leave_what_all_at_once_leave(tmp_path):
    """Adapters that are trained one after the other are those that are trained together, and a group that is done stays."""
    whole = job()
    run(whole, tmp_path / "whole", tmp_path)
    one_by_one = replace(whole, plan=StepPlan(adapters_at_once=1))
    run(one_by_one, tmp_path / "groups", tmp_path)
    found, expected = (load(tmp_path / name) for name in ("groups", "whole"))
    assert list(found.adapters) == list(expected.adapters)
    for name, adapter in expected.adapters.items():
        others = low_rank_only(found.adapters[name].deltas, name)
        for path, delta in low_rank_only(adapter.deltas, name).items():
            one, other = others[path].to_dense(), delta.to_dense()
            np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max(), err_msg=f"{name} {path}")
    for when in ("before", "after"):
        for term, values in getattr(expected, when).items():
            np.testing.assert_allclose(getattr(found, when)[term], values, rtol=1e-4, err_msg=term)
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("groups", "whole")]
    assert [list(event) for event in logs[0]] == [list(event) for event in logs[1]]
    np.testing.assert_allclose(*([event["loss"] for event in log] for log in logs), rtol=1e-4)

    (tmp_path / "groups" / DONE).unlink()
    (tmp_path / "groups" / "groups" / "01" / RECORD).unlink()
    first = tmp_path / "groups" / "groups" / "00" / "metrics.jsonl"
    before = first.stat().st_mtime_ns
    run(one_by_one, tmp_path / "groups", tmp_path)  # the second group finds its checkpoint
    assert first.stat().st_mtime_ns == before
    assert read_metrics(tmp_path / "groups" / "metrics.jsonl") == logs[0]
    assert is_done(tmp_path / "groups")
