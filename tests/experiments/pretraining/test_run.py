"""Whole runs of a tiny model: compiling its stages takes a minute."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments.pretraining import run
from experiments.pretraining.card import write_model
from experiments.training.metrics_log import read_metrics
from tests.experiments.pretraining import small
from weights_convert import load_vggt

pytestmark = pytest.mark.slow


def leaves(parameters):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((dict(parameters.parts), dict(parameters.helpers)))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    training = run.Pretraining(small.recipe(3), [small.source()], folder / "run")
    parameters, evaluations = training()
    (folder / "model").mkdir()
    write_model(
        folder / "model",
        training.model(parameters),
        training.matcher(parameters),
        training.recipe,
        training.described_data(),
        evaluations,
        None,
    )
    return folder, parameters, evaluations


def test_what_is_written_is_what_was_trained(finished):
    folder, parameters, _ = finished
    model = load_vggt(folder / "model")
    kernel = parameters.parts["aggregator"]["frame_blocks"]["attn"]["qkv"]["kernel"][...]
    np.testing.assert_array_equal(model.aggregator.frame_blocks.attn.qkv.kernel[...], kernel)
    assert (folder / "model" / "README.md").read_text().startswith("# A small VGGT")


def test_both_stages_log_their_terms_and_held_out_metrics(finished):
    folder, _, evaluations = finished
    for stage, term in (("stage_1_matching", "loss_match"), ("stage_2_jointly", "loss_reg_depth")):
        events = read_metrics(folder / "run" / stage / "metrics.jsonl")
        assert [event["step"] for event in events if event["kind"] == "training"] == [1, 2, 3]
        assert all(term in event for event in events if event["kind"] == "training")
    assert events[-1]["kind"] == "validation"
    assert events[-1]["boxes/abs_rel"] == pytest.approx(evaluations["boxes"]["model"]["abs_rel"])


def test_a_stage_is_trained_on_the_scenes_of_its_setting(tmp_path, monkeypatch):
    drawn_from = []

    def train(step, state, frozen, sampler, *_, **__):
        drawn_from.append(list(map(id, sampler.scenes)))
        return state

    monkeypatch.setattr(run, "train", train)
    monkeypatch.setattr(run.Pretraining, "evaluate", lambda self, parameters: {})
    first, second = small.recipe().stages
    recipe = replace(small.recipe(), stages=(replace(first, setting="object_centric"), second))
    rooms, objects = replace(small.source(4, "rooms"), setting="micro_baseline"), small.source(4, "objects")
    objects = replace(objects, setting="object_centric")
    run.Pretraining(recipe, [rooms, objects], tmp_path)()
    trained_on = [list(map(id, source.scenes[:-1])) for source in (rooms, objects)]
    assert drawn_from == [trained_on[1], trained_on[0] + trained_on[1]]


def test_other_data_sets_are_evaluated_whole(finished, tmp_path):
    _, parameters, evaluations = finished
    training = run.Pretraining(small.recipe(3), [small.source()], tmp_path)
    # the held-out scene of the run, as a data set of its own
    other = replace(small.source(), name="others", scenes=small.source().scenes[-1:])
    assert training.evaluate_on(parameters, [other]) == {"others": evaluations["boxes"]}


def test_an_interrupted_run_ends_in_the_same_bits(finished, tmp_path, monkeypatch):
    class Interruption(Exception):
        pass

    monkeypatch.setattr(run, "CHECKPOINT_EVERY", 2)

    sample, interruptions = run.StageSampler.__call__, [None]

    def interrupted(self, step):
        if step == 2 and interruptions:
            interruptions.pop()
            raise Interruption
        return sample(self, step)

    monkeypatch.setattr(run.StageSampler, "__call__", interrupted)
    with pytest.raises(Interruption):
        run.Pretraining(small.recipe(3), [small.source()], tmp_path)()
    parameters, _ = run.Pretraining(small.recipe(3), [small.source()], tmp_path)()
    assert not interruptions
    for found, expected in zip(leaves(parameters), leaves(finished[1]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_folder_with_another_run_is_refused(finished):
    folder, _, _ = finished
    recipe = replace(small.recipe(3), seed=1)
    with pytest.raises(ValueError, match="holds a run with other settings: seed is 0 there and 1 here"):
        run.Pretraining(recipe, [small.source()], folder / "run")()
    stored = json.loads((folder / "run" / "stage_2_jointly" / "run.json").read_text())
    assert [stage["name"] for stage in stored["stages"]] == ["matching", "jointly"]
