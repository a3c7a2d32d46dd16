"""The one trainer: what it starts from, what it leaves, and that it leaves it once."""

import json
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.finetuning import finetune, run
from experiments.finetuning.pipeline import ready
from experiments.presets import SMALL_MODEL
from experiments.process.reporting import Reporter
from experiments.training.held_out import evenly_spaced
from experiments.training.loop import Diverged
from experiments.training.losses import Objective
from experiments.training.metrics_log import read_metrics
from experiments.training.optimizer import OptimizerSettings
from experiments.training.step import AdaptedBase, adapter_loss
from subspace.errors import InputError
from tests.experiments.finetuning import small
from vggt_jax.adapters import load_adapter, select
from weights_convert import load_vggt

pytestmark = pytest.mark.slow  # three trainings of a tiny model: two minutes, nearly all compilation


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tuned(store):
    """``tuned(method)``: a run of three steps and the lines that it reported; each method is trained once."""
    base = small.base()
    subspaces = [
        str(small.subspace_folder(store / name, name, i, base=base)) for i, name in enumerate(("texture", "camera"))
    ]
    done = {}

    def tune(method):
        needed = {"subspaces": subspaces} if method == "subspace" else {}
        if method not in done:
            lines = Lines()
            found = run.tune(small.settings(method, store, **needed), base, small.data(), lines)
            done[method] = base, found, lines.said
        return done[method]

    return tune


class Lines(Reporter):
    def __init__(self):
        super().__init__()
        self.said = []

    def info(self, line):
        self.said.append(line)


@jax.tree_util.register_static
class Fixed:
    """A maker whose numbers are the updates themselves."""

    def deltas(self, params):
        return params


@pytest.mark.parametrize("method", ["subspace", "adalora"])
def test_an_adapter_starts_at_the_base_model_and_its_file_has_the_loss_it_ends_with(method, tuned):
    base, found, lines = tuned(method)
    assert f"{found.parameters.total:,}" in lines[0] and found.adapter == found.result and found.weights == SMALL_MODEL
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
    assert found.weights == str(found.result) and found.adapter is None
    model = load_vggt(found.weights)
    assert model.config == base.config
    after = dict(nnx.to_flat_state(nnx.split(model)[1]))
    trained = 0
    for keys, leaf in nnx.to_flat_state(base.parameters):
        name = ".".join(map(str, keys))
        is_same = np.array_equal(after[keys][...], leaf[...])
        if name.startswith(("aggregator.patch_embed", "aggregator.camera_token", "aggregator.register_token")):
            assert is_same, name
        trained += 0 if is_same else leaf.size
    assert 0.9 * found.parameters.total < trained <= found.parameters.total  # numbers without gradient may stay


def test_methods_begin_with_the_same_losses_on_the_same_data(tuned, store):
    """PiSSA's and PSV's are not trained here: what they begin with is compared in the makers' own tests."""
    losses = [tuned(method)[1].before["loss"] for method in ("subspace", "adalora", "full")]
    for other in losses[1:]:
        np.testing.assert_allclose(losses[0], other, rtol=1e-4)
    folders = [tuned(method)[1].folder for method in ("subspace", "full")]
    first = [read_metrics(folder / "metrics.jsonl")[0] for folder in folders]
    np.testing.assert_allclose(first[0]["loss"], first[1]["loss"], rtol=1e-4)
    assert first[0]["gradient_norm"] != first[1]["gradient_norm"]


def test_the_same_settings_find_their_result_and_others_do_not(tuned, store, monkeypatch):
    base, found, _ = tuned("adalora")
    monkeypatch.setattr(run, "train", lambda *_, **__: pytest.fail("trained again"))
    lines = Lines()
    again = run.tune(small.settings("adalora", store), base, small.data(), lines)
    assert len(lines.said) == 1 and str(found.folder) in lines.said[0]
    assert (again.statistics, again.seconds, again.parameters) == (found.statistics, found.seconds, found.parameters)
    np.testing.assert_array_equal(again.after["loss"], found.after["loss"])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        run.tune(small.settings("adalora", store, seed=1), base, small.data())
    content = found.result.read_bytes()
    found.result.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"adapter\.safetensors is not as it was written"):
        run.tune(small.settings("adalora", store), base, small.data())
    found.result.write_bytes(content)


def test_training_that_ends_without_a_finite_loss_is_one_line_that_names_the_scene(store):
    settings = replace(small.settings("lora", store), optimizer=OptimizerSettings(3, 1e3))
    for _ in range(2):  # the second time from its last checkpoint
        with pytest.raises(
            Diverged, match=r"the loss on the held-out scene boxes/5 is (nan|inf); a lower learning rate"
        ):
            run.tune(settings, small.base(), small.data())


@pytest.fixture
def from_memory(monkeypatch):
    """``finetune`` of the tiny model and its scenes, which lie nowhere."""
    monkeypatch.setattr("experiments.finetuning.pipeline.read_base", lambda *_, **__: small.base())
    monkeypatch.setattr("experiments.finetuning.pipeline.read_data", lambda *_: small.data())


def test_results_lie_in_a_folder_of_what_they_depend_on(tuned, store, from_memory):
    base, found, _ = tuned("adalora")
    done = finetune(small.settings("adalora", store))
    assert (
        done.output is not None and done.output.parent == store / "finetune" and done.output.name.startswith("adalora-")
    )
    assert done.output.name.removeprefix("adalora-") == done.folder.name.removeprefix("adalora-")
    assert (store / "finetune" / "latest").resolve() == done.output
    summary = json.loads((done.output / "summary.json").read_text())
    assert summary["method"] == "adalora" and summary["settings"]["method"]["target_rank"] == 1
    assert summary["statistics"]["mean_rank_left"] == 1 and summary["seconds"] == found.seconds
    assert summary["base"] == {
        "name": "tiny", "fingerprint": base.identity.fingerprint, "weights": base.weights
    }  # fmt: skip
    names = load_adapter(done.output / "adapter.safetensors").deltas.keys()
    assert names == load_adapter(found.result).deltas.keys()


def test_results_of_other_settings_are_not_replaced_unasked(tuned, store, from_memory, tmp_path):
    for method in ("full", "subspace"):
        tuned(method)
    subspaces = [store / name for name in ("texture", "camera")]
    full, ours = small.settings("full", store), small.settings("subspace", store, subspaces=tuple(subspaces))
    output = tmp_path / "out"
    common = {"metrics.jsonl", "summary.json", "results.json"}
    finetune(replace(full, output=output))
    before = (output / "results.json").read_bytes()
    assert ready(replace(full, output=output)).results.kept
    finetune(replace(full, output=output))  # its own
    assert (output / "results.json").read_bytes() == before
    assert {path.name for path in output.iterdir()} == {"model"} | common
    with pytest.raises(InputError, match="other settings"):
        finetune(replace(ours, output=output, weights="nowhere"))  # before the model is looked for
    assert (output / "model").is_dir()
    done = finetune(replace(ours, output=output, overwrite=True))
    assert {path.name for path in output.iterdir()} == {"adapter.safetensors"} | common
    summary = json.loads((output / "summary.json").read_text())
    assert summary["parameters"] == {"total": done.parameters.total, "parts": done.parameters.parts}
    assert summary["statistics"] == {"mean_directions_texture": 2, "mean_directions_camera": 2}
    assert summary["validation"]["scenes"] == ["boxes/5", "boxes/6"]
    assert summary["validation"]["after"]["loss"] == done.after["loss"].tolist()
    (output / "mine.txt").touch()
    with pytest.raises(InputError, match=r"holds 'mine\.txt'"):
        finetune(replace(ours, output=output, overwrite=True))


def test_pictures_must_fit_the_patches(store):
    data = replace(small.data(), resolution=18)
    with pytest.raises(InputError, match="data: patches of 4 pixels do not divide pictures of 18"):
        run.tune(small.settings("lora", store), small.base(), data)


def test_adalora_says_what_is_left(tuned):
    found = tuned("adalora")[1].statistics
    chosen = select(small.matrices(), small.MATRICES).values()
    matrices = sum(prod(matrix.stack) for matrix in chosen if matrix.conv is None)
    assert found == {"mean_rank_left": 1, "triplets_left": matrices}
