"""Runs: the same search for every method, a record that is found again, and what does not belong together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.evaluation.results import METRICS, Results
from experiments.finetuning.run import SECONDS, Tuned
from experiments.reproduction import execution
from experiments.reproduction.execution import Execution
from experiments.reproduction.records import RateSearch, read
from experiments.reproduction.results import write_results
from tests.experiments.reproduction.planted import plan
from vggt_jax.parameters import ParameterCount

BEST_RATE = 1e-3
FACTS = {SECONDS: "90.0"}


class Measured(SimpleNamespace):
    def row(self):
        return {metric.name: 0.123456789 for metric in METRICS}


@pytest.fixture
def calls(monkeypatch):
    """What was trained and evaluated, in the place of doing it."""
    made = []

    def tune(choice, base, data, announce):
        made.append(choice)
        rate = choice.preset.peak_rate
        after = np.array([abs(np.log(rate / BEST_RATE))] * 2)
        folder = choice.store / "run"
        return Tuned(
            folder, folder / "adapter", ParameterCount({"depth_head": 7}), {"loss": np.ones(2)}, {"loss": after}, FACTS
        )

    def evaluate(predict, dataset, views, mask):
        made.append((dataset.name, views, mask))
        scenes = {("dataset_00", f"scene_{i:04d}"): Measured() for i in range(3)}
        return Results(scenes, {}, {"dataset_00": views})

    monkeypatch.setattr(execution, "tune", tune)
    monkeypatch.setattr(execution, "evaluate_dataset", evaluate)
    monkeypatch.setattr(execution, "Model", lambda weights, adapter: (weights, adapter))
    monkeypatch.setattr(
        execution,
        "read_data",
        lambda folders, held_out: SimpleNamespace(sha256={str(folders[0]): "ab"}, held_out=held_out),
    )
    return made


class Fake:
    """Materials of no content."""

    def __init__(self, views=8):
        self.views = views

    def dataset(self, task, split):
        manifest = SimpleNamespace(settings=SimpleNamespace(views=self.views))
        return SimpleNamespace(name=f"{task}/{split}", folder=f"{task}/{split}", manifest=manifest)

    def subspaces(self, wanted):
        return tuple(f"{name}_r{wanted.mined_rank}" for name in wanted.attributes)


def make(tmp_path, wanted, label="nano (ab)"):
    base = SimpleNamespace(label=label)
    return Execution(wanted, "nano", "nano", base, Fake(), tmp_path / "store", tmp_path / "records", lambda line: None)  # pyright: ignore[reportArgumentType]


def runs_of(wanted, method):
    return [run for run in wanted.runs if run.method == method]


def test_every_methods_rate_is_the_best_of_the_same_ones_on_validation_scenes(tmp_path, calls):
    wanted = plan("3")
    execute = make(tmp_path, wanted)
    for method in ("lora", "adalora", "full"):
        assert execute(runs_of(wanted, method)[0]).rate == BEST_RATE
        tried = [c.preset.peak_rate for c in calls if not isinstance(c, tuple) and c.method == method]
        assert tried == [*wanted.scale.rates, BEST_RATE]
        found = read(tmp_path / "records" / f"rates_glass_{method}.json", RateSearch)
        assert found is not None and found.chosen == BEST_RATE and found.losses["0.001"] == 0


def test_further_rows_and_seeds_take_the_chosen_rate(tmp_path, calls):
    wanted = plan("3", seeds=(0, 1))
    execute = make(tmp_path, wanted)
    first, *others = runs_of(wanted, "lora")
    execute(first)
    calls.clear()
    for run in others:
        execute(run)
    trained = [c for c in calls if not isinstance(c, tuple)]
    assert [c.preset.peak_rate for c in trained] == [BEST_RATE] * len(others)
    assert {c.seed for c in trained} == {0, 1}


def test_sizes_are_the_scales_and_each_method_gets_what_is_its_own(tmp_path, calls):
    wanted = plan("2", "3", "s1")
    execute = make(tmp_path, wanted)
    execute(next(run for run in runs_of(wanted, "subspace") if run.task == "glass"))
    blocks = next(c for c in calls if not isinstance(c, tuple))
    assert (blocks.dim, blocks.preset.rank, blocks.preset.alpha) == (8, 2, 2.0)
    assert blocks.matrices == ("aggregator.*",) and blocks.plain == ("camera_head.*", "depth_head.*")
    assert [path.name for path in blocks.subspaces] == [
        f"{a}_r64" for a in ("texture", "geometry", "camera", "lighting")
    ]
    execute(next(run for run in wanted.runs if run.allocation == "importance"))
    assert calls[-3].allocation == "importance" and calls[-3].dim == 2


def test_every_test_set_of_the_task_is_evaluated_with_its_views_and_mask(tmp_path, calls):
    wanted = plan("2")
    record = make(tmp_path, wanted)(wanted.runs[0])
    assert calls == [(f"humans/{split}", tuple(range(8)), "valid") for split in ("test", "cross_domain")]
    assert record.tests["test"]["scene_0001"]["accuracy"] == 0.123457 and record.parameters == 0 and record.rate is None


def test_a_record_is_found_again_and_shown_in_the_tables(tmp_path, calls):
    wanted = plan("3")
    execute = make(tmp_path, wanted)
    made = {run: execute(run) for run in wanted.runs[:3]}
    calls.clear()
    again = make(tmp_path, wanted)
    assert again.found() == made and not calls
    assert again(wanted.runs[1]) == made[wanted.runs[1]] and not calls
    write_results(tmp_path, wanted, made, "python -m experiments.reproduce")
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "table_3.md", "table_3.tex", "table_3.csv", "records"
    }  # fmt: skip
    page = (tmp_path / "README.md").read_text()
    assert "3 of 11 runs" in page and "| Full | 7 | 1.5 | " in page and "Which claims hold?" in page


def test_records_of_another_base_or_a_damaged_one_are_refused(tmp_path, calls):
    wanted = plan("3")
    make(tmp_path, wanted)(wanted.runs[0])
    with pytest.raises(ValueError, match=r"glass_base.json is of another base model: nano \(ab\), not other"):
        make(tmp_path, wanted, "other").found()
    path = tmp_path / "records" / "glass_base.json"
    path.write_text('{"run": 1}')
    with pytest.raises(ValueError, match=r"glass_base.json is no record .*delete it to run it again"):
        make(tmp_path, wanted).found()


def test_without_a_choice_of_rates_nothing_is_searched(tmp_path, calls):
    wanted = plan("3")
    wanted = replace(wanted, scale=replace(wanted.scale, rates=(1e-5,)))
    assert make(tmp_path, wanted)(runs_of(wanted, "lora")[0]).rate == 1e-5
    assert len([c for c in calls if not isinstance(c, tuple)]) == 1
