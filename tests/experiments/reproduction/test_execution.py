"""What one job hands to fine-tuning and to evaluation, and what its record says."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.evaluation.results import METRICS, Results
from experiments.evaluation.scene import Reconstruction
from experiments.finetuning.run import FineTuned
from experiments.reproduction import execution
from experiments.reproduction.execution import Execution, Job
from experiments.reproduction.settings import Settings
from experiments.training.loop import Diverged
from subspace.errors import InputError
from tests.experiments.reproduction.planted import plan
from vggt_jax.parameters import ParameterCount


class MeasuredTable(SimpleNamespace):
    def row(self):
        return {metric.name: 0.123456789 for metric in METRICS}


@pytest.fixture
def calls(monkeypatch):
    """What was trained and evaluated, in the place of doing it."""
    made = []

    def tune(settings, base, data, reporter):
        made.append(settings)
        folder = settings.store / "run"
        return FineTuned(
            folder=folder,
            result=folder / "adapter",
            weights="nano",
            adapter=folder / "adapter",
            parameters=ParameterCount({"depth_head": 7}),
            before={"loss": np.ones(2)},
            after={"loss": np.array([0.25, 0.75])},
            seconds=90.0,
            statistics={"mean_rank_left": 1.5},
        )

    def evaluate(predict, dataset, views, mask):
        made.append((dataset.name, views, mask))
        scenes = {("dataset_00", f"scene_{i:04d}"): MeasuredTable() for i in range(3)}
        return Results(scenes, {}, {"dataset_00": views})

    def dataset(folder):
        manifest = SimpleNamespace(settings=SimpleNamespace(views=8), sha256=f"of {folder}")
        return SimpleNamespace(name=str(folder), manifest=manifest)

    monkeypatch.setattr(execution, "tune", tune)
    monkeypatch.setattr(execution, "evaluate_dataset", evaluate)
    monkeypatch.setattr(execution, "Dataset", dataset)
    monkeypatch.setattr(execution, "Model", lambda *given: SimpleNamespace(at_once=1))
    monkeypatch.setattr(
        execution,
        "read_data",
        lambda folders, held_out, validation: SimpleNamespace(sha256={str(folders[0]): "ab"}, held_out=held_out),
    )
    return made


def make(tmp_path, wanted):
    base = SimpleNamespace(label="nano (ab)", weights="cd")
    return Execution(Settings(store=tmp_path / "store"), base)  # pyright: ignore[reportArgumentType]


def job(run, rate=1e-3):
    wanted = run.subspaces
    subspaces = () if wanted is None else [Path(f"{name}_r{wanted.mined_rank}") for name in wanted.attributes]
    splits = ("test", "cross_domain") if run.task == "humans" else ("test",)
    return Job(
        run,
        None if run.method is None else rate,
        None if run.method is None else Path(run.task, "train"),
        {split: Path(run.task, split) for split in splits},
        tuple(subspaces),
    )


def test_a_rate_that_diverges_is_infinitely_bad(tmp_path, calls, monkeypatch):
    wanted = plan("3")
    lora = job(next(run for run in wanted.runs if run.method == "lora"))
    assert make(tmp_path, wanted).validation_loss(lora) == 0.5
    (settings,) = calls
    assert settings.held_out == wanted.scale.held_out == 16

    def diverging(*_):
        raise Diverged("training stopped at step 12: …")

    monkeypatch.setattr(execution, "tune", diverging)
    assert make(tmp_path, wanted).validation_loss(lora) == np.inf
    with pytest.raises(Diverged, match=r"^glass_lora_16_seed0: training stopped at step 12"):
        make(tmp_path, wanted).record(lora)


@pytest.mark.parametrize(
    ("after", "rate", "given_up"),
    [
        ({2.5e-3: 0.9}, 2.5e-3, ()),  # the base model's is 1
        ({2.5e-3: None, 5e-4: 3.0, 1e-4: 0.5}, 1e-4, (2.5e-3, 5e-4)),  # None: diverges
        ({2.5e-3: 3.0, 5e-4: 0.7}, 5e-4, (2.5e-3,)),
        ({2.5e-3: None, 5e-4: 3.0, 1e-4: 1.1, 2e-5: 1.2, 4e-6: 1.3}, 1e-4, (2.5e-3, 5e-4, 2e-5, 4e-6)),
    ],
)
def test_a_run_that_a_rate_harms_gets_the_next_lower_one(tmp_path, calls, monkeypatch, after, rate, given_up):
    wanted = plan("3")
    lora = job(next(run for run in wanted.runs if run.method == "lora"), rate=2.5e-3)
    tune, tried = execution.tune, []

    def tune_to(settings, *others):
        tried.append(settings.optimizer.peak_rate)
        if (loss := after[tried[-1]]) is None:
            raise Diverged("training stopped at step 12: …")
        return replace(tune(settings, *others), after={"loss": np.full(2, loss)})

    monkeypatch.setattr(execution, "tune", tune_to)
    execute, said = make(tmp_path, wanted), []
    execute.reporter = SimpleNamespace(info=said.append)  # pyright: ignore[reportAttributeAccessIssue]
    record = execute.record(lora)
    assert (record.rate, record.given_up) == (rate, given_up) and tried == list(after)
    assert record.validation["after"] == after[rate]
    follow = [line for line in said if line.endswith("the next lower rate follows")]
    assert len(follow) == len(after) - 1 and all(line.startswith("glass_lora_16_seed0: ") for line in follow)


def test_a_constant_depth_is_the_base_models_cameras_with_the_median_of_its_depth(tmp_path, calls, monkeypatch):
    rng = np.random.default_rng(0)
    predicted = Reconstruction(rng.uniform(1, 2, (3, 4, 5)), rng.normal(size=(3, 3, 4)), rng.normal(size=(3, 3, 3)))
    monkeypatch.setattr(execution, "Model", lambda *given: lambda images: predicted)
    evaluate, found = execution.evaluate_dataset, []

    def predicting(predict, *others):
        found.append(predict(("dataset_00", "scene_0000"), range(3), np.zeros((3, 4, 5, 3), np.uint8)))
        return evaluate(predict, *others)

    monkeypatch.setattr(execution, "evaluate_dataset", predicting)
    wanted = plan("1")
    (constant,) = (run for run in wanted.runs if run.name == "faces_constant_depth")
    record = make(tmp_path, wanted).record(job(constant))
    assert (record.parameters, record.rate, record.validation) == (0, None, {}) and record.run == constant
    (made,) = found
    assert np.unique(made.depths) == np.median(predicted.depths)
    np.testing.assert_array_equal(made.extrinsics, predicted.extrinsics)
    np.testing.assert_array_equal(made.intrinsics, predicted.intrinsics)


def test_sizes_are_the_scales_and_each_method_gets_what_is_its_own(tmp_path, calls):
    wanted = plan("2", "3", "s1")
    execute = make(tmp_path, wanted)
    execute.record(job(next(run for run in wanted.runs if run.method == "subspace" and run.task == "glass")))
    blocks = next(c for c in calls if not isinstance(c, tuple))
    ours = blocks.method
    assert (ours.dim, ours.plain.rank, ours.plain.scale) == (8, 2, 1.0)
    assert ours.matrices == ("aggregator.*",) and ours.plain.matrices == ("camera_head.*", "depth_head.*")
    assert [path.name for path in ours.subspaces] == [f"{a}_r64" for a in ("texture", "geometry", "camera", "lighting")]
    assert blocks.optimizer.peak_rate == 1e-3
    execute.record(job(next(run for run in wanted.runs if run.allocation == "importance")))
    assert calls[-3].method.allocation == "importance" and calls[-3].method.dim == 2


def test_every_test_set_of_the_task_is_evaluated_with_its_views_and_mask(tmp_path, calls):
    wanted = plan("2")
    record = make(tmp_path, wanted).record(job(wanted.runs[0]))
    assert calls == [(f"humans/{split}", tuple(range(8)), "valid") for split in ("test", "cross_domain")]
    assert record.tests["test"]["scene_0001"]["accuracy"] == 0.123457 and record.parameters == 0 and record.rate is None


def test_the_record_has_what_training_found(tmp_path, calls):
    wanted = plan("3")
    run = next(run for run in wanted.runs if run.method == "lora")
    execute = make(tmp_path, wanted)
    record = execute.record(job(run, 3e-4))
    assert (record.parameters, record.rate, record.training_seconds) == (7, 3e-4, 90.0)
    assert record.validation == {"before": 1.0, "after": 0.5} and record.data == {
        "train": "of glass/train", "test": "of glass/test"
    }  # fmt: skip
    assert record.sizes == {"rank": 2} and record.steps > 0
    assert (record.base, record.weights) == ("nano (ab)", "cd")
    assert execute.validation_loss(job(run, 3e-4)) == 0.5


def test_a_record_has_what_was_measured_and_no_scene_at_all_is_an_error(tmp_path, calls, monkeypatch):
    measure = execution.evaluate_dataset
    unmeasured = {"accuracy": np.nan, "completeness": np.nan}

    def partly(*given):
        found = measure(*given)
        scene = next(iter(found.scenes.values()))
        row = scene.row()
        scene.row = lambda: row | unmeasured  # pyright: ignore[reportAttributeAccessIssue]
        return replace(found, skipped={("dataset_00", "scene_0009"): "no pixel counts"})

    wanted, said = plan("1"), []
    execute = make(tmp_path, wanted)
    execute.reporter = SimpleNamespace(info=lambda line: None, warning=said.append)  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(execution, "evaluate_dataset", partly)
    record = execute.record(job(wanted.runs[0]))
    scenes = record.tests["test"]
    assert scenes["scene_0001"].keys() - scenes["scene_0000"].keys() == unmeasured.keys()
    (line,) = said
    assert line.endswith("faces/test, 1 scenes cannot be evaluated, such as scene_0009: no pixel counts")
    monkeypatch.setattr(execution, "evaluate_dataset", lambda *given: replace(partly(*given), scenes={}))
    with pytest.raises(InputError, match=r"^faces_base: of faces/test, 1 scenes .* scene_0009: no pixel counts"):
        execute.record(job(wanted.runs[0]))
