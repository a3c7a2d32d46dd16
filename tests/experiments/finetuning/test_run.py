"""The one trainer: what it starts from, what it leaves, and that it leaves it once."""

import json
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.finetune import finetune
from experiments.finetuning import run
from experiments.finetuning.results import write_results
from experiments.training.held_out import evenly_spaced
from experiments.training.losses import Objective
from experiments.training.metrics_log import read_metrics
from experiments.training.step import AdaptedBase, adapter_loss
from tests.experiments.finetuning import small
from vggt_jax.adapters import load_adapter, select
from weights_convert import load_vggt

pytestmark = pytest.mark.slow  # three trainings of a tiny model: two minutes, nearly all compilation


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tuned(store):
    """``tuned(method)``: a run of three steps and the lines that it announced; each method is trained once."""
    base = small.base()
    subspaces = [
        str(small.subspace_folder(store / name, name, i, base=base)) for i, name in enumerate(("texture", "camera"))
    ]
    done = {}

    def tune(method):
        needed = {"subspaces": subspaces} if method == "subspace" else {}
        if method not in done:
            lines = []
            found = run.tune(small.choice(method, store, **needed), base, small.data(), lines.append)
            done[method] = base, found, lines
        return done[method]

    return tune


@jax.tree_util.register_static
class Fixed:
    """A maker whose numbers are the updates themselves."""

    def deltas(self, params):
        return params


@pytest.mark.parametrize("method", ["subspace", "adalora"])
def test_an_adapter_starts_at_the_base_model_and_its_file_has_the_loss_it_ends_with(method, tuned):
    base, found, lines = tuned(method)
    assert lines[0].startswith(f"{method} trains {found.count.total:,} parameters (frame_blocks ")
    adapter = load_adapter(found.result, base.identity)
    assert adapter.about["method"] == method and found.before["loss"].shape == (2,)

    @jax.jit
    def loss(deltas, batch):
        frozen = AdaptedBase(base.parameters, Fixed())
        return adapter_loss(base.graphdef, Objective())(deltas, frozen, jax.tree.map(lambda leaf: leaf[0], batch))[0]

    batches = [evenly_spaced([scene], 2, None) for scene in small.data().validation]
    nothing = jax.tree.map(jnp.zeros_like, dict(adapter.deltas))
    before, after = ([float(loss(deltas, batch)) for batch in batches] for deltas in (nothing, dict(adapter.deltas)))
    np.testing.assert_allclose(found.before["loss"], before, rtol=1e-5)
    change = found.after["loss"] - found.before["loss"]
    assert np.abs(change).min() > 1e-3
    np.testing.assert_allclose(change, np.subtract(after, before), rtol=1e-2)


def test_full_fine_tuning_writes_a_model_that_differs_in_what_was_trained(tuned):
    base, found, _ = tuned("full")
    model = load_vggt(found.result)
    assert model.config == base.config
    after = dict(nnx.to_flat_state(nnx.split(model)[1]))
    trained = 0
    for keys, leaf in nnx.to_flat_state(base.parameters):
        name = ".".join(map(str, keys))
        is_same = np.array_equal(after[keys][...], leaf[...])
        if name.startswith(("aggregator.patch_embed", "aggregator.camera_token", "aggregator.register_token")):
            assert is_same, name
        trained += 0 if is_same else leaf.size
    assert 0.9 * found.count.total < trained <= found.count.total  # numbers without gradient may stay


def test_methods_begin_with_the_same_losses_on_the_same_data(tuned, store):
    """PiSSA's and PSV's are not trained here: what they begin with is compared in the makers' own tests."""
    losses = [tuned(method)[1].before["loss"] for method in ("subspace", "adalora", "full")]
    for other in losses[1:]:
        np.testing.assert_allclose(losses[0], other, rtol=1e-4)
    folders = [tuned(method)[1].folder for method in ("subspace", "full")]
    first = [read_metrics(folder / "metrics.jsonl")[0] for folder in folders]
    np.testing.assert_allclose(first[0]["loss"], first[1]["loss"], rtol=1e-4)
    assert first[0]["gradient_norm"] != first[1]["gradient_norm"]


def test_the_same_choice_finds_its_result_and_another_does_not(tuned, store, monkeypatch):
    base, found, _ = tuned("adalora")
    monkeypatch.setattr(run, "train", lambda *_, **__: pytest.fail("trained again"))
    lines = []
    again = run.tune(small.choice("adalora", store), base, small.data(), lines.append)
    assert lines[1:] == [f"found in {found.folder}"] and again.facts == found.facts
    np.testing.assert_array_equal(again.after["loss"], found.after["loss"])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run.tune(small.choice("adalora", store, seed=1), base, small.data(), lines.append)


def test_the_command_says_what_was_trained_and_what_it_wrote(tuned, store, monkeypatch, tmp_path, capsys):
    base, found, _ = tuned("adalora")
    monkeypatch.setattr("experiments.models.load_base", lambda *_: base)
    monkeypatch.setattr("experiments.finetuning.data.read_data", lambda folders, held_out: small.data())
    finetune(small.choice("adalora", store), tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"adalora trains {found.count.total:,} parameters")
    assert "of 2 scenes improved" in lines[-2]
    assert lines[-1].startswith(f"wrote {tmp_path}/out/adapter.safetensors in ")
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())["facts"]
    assert facts["base model"] == base.label and facts["target_rank"] == "1" and facts["mean rank left"] == "1.00"
    assert (
        load_adapter(tmp_path / "out" / "adapter.safetensors").deltas.keys() == load_adapter(found.result).deltas.keys()
    )


def test_pictures_must_fit_the_patches(store):
    data = replace(small.data(), resolution=18)
    with pytest.raises(ValueError, match="--data: patches of 4 pixels do not divide pictures of 18"):
        run.tune(small.choice("lora", store), small.base(), data, print)


def test_adalora_says_what_is_left(tuned):
    facts = tuned("adalora")[1].facts
    chosen = select(small.matrices(), small.MATRICES).values()
    matrices = sum(prod(matrix.stack) for matrix in chosen if matrix.conv is None)
    assert facts["mean rank left"] == "1.00" and facts["triplets left"] == str(matrices)


def test_the_results_are_complete_and_replace_each_other(tuned, tmp_path):
    for method, result in (("full", "model"), ("subspace", "adapter.safetensors")):
        _, found, _ = tuned(method)
        write_results(tmp_path / "out", found, small.data(), {"method": method})
        assert {path.name for path in (tmp_path / "out").iterdir()} == {result, "metrics.jsonl", "summary.json"}
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["parameters"] == {"total": found.count.total, "parts": found.count.parts}
        assert summary["facts"]["method"] == method and summary["validation"]["scenes"] == ["boxes/5", "boxes/6"]
        assert summary["validation"]["after"]["loss"] == found.after["loss"].tolist()
        assert "of 2 scenes improved" in summary["verdict"]
    assert summary["facts"]["mean directions of texture"] == "2.00"
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'mine\.txt'"):
        write_results(tmp_path / "out", found, small.data(), {})
