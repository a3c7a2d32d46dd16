"""Updates that are no LoRAs: what is kept of them, what is mined of that, and what a run of them trains."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.extraction import Settings
from experiments.extraction.adapters import KEPT, load, run, training_batches
from experiments.extraction.recipe import Recipe
from experiments.extraction.report import energy_kept, training_verdict
from experiments.extraction.updates import kept
from experiments.mining.mine import mine, stack_adapters
from experiments.training.loss_function import Seen, judged_by
from subspace import LowRank
from subspace.errors import InputError
from tests.experiments.extraction.test_adapters import RECIPE, job
from tests.experiments.training import tiny
from tests.subspace import oracle
from vggt_jax.adapters import Dense
from vggt_jax.deltas import dotted, low_rank_only
from vggt_jax.parameters import adaptable_matrices

SHAPES = {"wide": (2, 5, 9), "tall": (2, 8, 4)}


def dense_updates(k=3):
    """k adapters whose matrices have their full rank."""
    rng = np.random.default_rng(7)
    return [{path: rng.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()} for _ in range(k)]


@pytest.mark.parametrize("rank", [1, 3, 4096])
def test_kept_is_the_best_approximation_of_a_rank(rank):
    (own,) = dense_updates(1)
    found, share = kept(Dense({}).deltas(own), rank)
    inside = energy = 0.0
    for path, dW in own.items():
        U, sigma, Vt = np.linalg.svd(dW.astype(np.float64), full_matrices=False)
        expected = (U[..., :rank] * sigma[..., None, :rank]) @ Vt[..., :rank, :]
        assert found[path].rank == min(rank, *dW.shape[1:]) and found[path].dtype == np.float32
        np.testing.assert_allclose(found[path].to_dense(), expected, atol=2e-6)
        inside, energy = inside + (sigma[..., :rank] ** 2).sum(), energy + (sigma**2).sum()
    assert share == pytest.approx(inside / energy) and (share == pytest.approx(1)) == (rank == 4096)


def test_all_that_is_zero_is_refused():
    with pytest.raises(InputError, match="all zero"):
        kept({"a": LowRank(np.zeros((3, 2)), np.eye(4, 2))}, 2)


@pytest.mark.parametrize("rank", [2, pytest.param(4096, marks=pytest.mark.slow)])
def test_mining_whole_updates_is_mining_their_dense_matrices(rank):
    updates = dense_updates()
    deltas = {f"geometry_{i:02d}": kept(Dense({}).deltas(own), rank)[0] for i, own in enumerate(updates)}
    mined = mine(stack_adapters(deltas), 3)
    for path in SHAPES:
        for layer in range(2):
            stack = np.stack([own[path][layer].astype(np.float64) for own in deltas_of(updates, rank)])
            expected = oracle.shared_subspace(stack, 3, 1.0, 1e-3, 20)
            found = mined.subspaces[path]
            np.testing.assert_allclose(found.weights[layer], expected.weights, atol=1e-4)
            np.testing.assert_allclose(found.factors[layer].to_dense(), expected.S, atol=1e-4)


def deltas_of(updates, rank):
    """Truncated by NumPy in float64."""

    def cut(dW):
        U, sigma, Vt = np.linalg.svd(dW.astype(np.float64), full_matrices=False)
        return (U[..., :rank] * sigma[..., None, :rank]) @ Vt[..., :rank, :]

    return [{path: cut(dW) for path, dW in own.items()} for own in updates]


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"updates": "full", "init": "shared"}, "init"),
        ({"updates": "gradient", "input_rate": 2.0}, "input_rate"),
        ({"updates": "gradient", "snapshots": True}, "snapshots"),
    ],
)
def test_what_has_no_meaning_without_a_lora_is_refused(changes, argument):
    with pytest.raises(InputError) as error:
        Settings.of("nano", **changes)
    assert error.value.argument == argument


def of(updates, rank=2):
    settings = Settings.of(
        "nano", attribute="lighting", k=2, rank=rank, dim=1, steps=2, images=2, fewest_views=2, most_views=2, held_out=1,
        held_out_views=2, cache_tokens=False, updates=updates,
    )  # fmt: skip
    return Recipe.of(settings)


def test_updates_name_folders_and_validations():
    names = {job(recipe=of(each)).folder(Path("store")) for each in ("lora", "full", "gradient")}
    assert len(names) == 3 and of("gradient").loop.validate_every == 2 and of("full").loop.validate_every == 1
    assert of("gradient").loop.skips_in_a_row == 0 < of("full").loop.skips_in_a_row  # a mean of all steps, or none
    assert of("lora") == replace(RECIPE, training=replace(RECIPE.training, rank=2, alpha=2.0))


@pytest.mark.slow  # the tiny model's step is compiled for another maker, and its gradient in the kernels
def test_a_gradient_run_is_a_step_along_the_mean_gradient_in_the_kernels(tmp_path):
    recipe = of("gradient", rank=4096)
    wanted = job(recipe=recipe)
    run(wanted, tmp_path / "run", tmp_path)
    found = load(tmp_path / "run", wanted.base.identity)
    assert (found.after["loss"] != found.before["loss"]).all()
    batches = [training_batches(wanted, None)(step) for step in range(recipe.training.steps)]
    gradient = jax.jit(jax.grad(lambda kernels, batch: loss(wanted.base, recipe, kernels, batch)))
    flat = {dotted(keys): leaf[...] for keys, leaf in nnx.to_flat_state(wanted.base.parameters)}
    matrices = adaptable_matrices(tiny.CONFIG)
    kernels = {path: flat[f"{path}.kernel"] for path in matrices}
    for number, adapter in enumerate(found.adapters.values()):
        each = [gradient(kernels, jax.tree.map(lambda leaf, i=number: leaf[i], batch)) for batch in batches]
        assert adapter.about[KEPT] == pytest.approx(1, abs=1e-9) and adapter.about["updates"] == "gradient"
        for path, delta in low_rank_only(adapter.deltas).items():
            mean = np.mean([np.asarray(one[path], np.float64) for one in each], axis=0)
            matrix = matrices[path]
            expected = mean.transpose(3, 2, 0, 1).reshape(matrix.n, -1) if matrix.conv else np.swapaxes(mean, -1, -2)
            expected *= -recipe.training.peak_rate
            np.testing.assert_allclose(
                delta.to_dense(), expected, atol=2e-4 * np.abs(expected).max() + 1e-9, err_msg=path
            )


def loss(base, recipe, kernels, batch):
    flat = list(nnx.to_flat_state(base.parameters))
    new = [(keys, leaf.replace(kernels.get(dotted(keys).removesuffix(".kernel"), leaf[...]))) for keys, leaf in flat]
    model = nnx.merge(base.graphdef, nnx.from_flat_state(new))
    return judged_by(recipe.objective)(model(Seen.of(batch).images), batch, None)[0]


def test_how_much_is_kept_is_said_once_where_it_is_the_same():
    assert "keep 99.9% of" in energy_kept([0.9991, 0.9993]) and "keep 12.0% to 50.0% of" in energy_kept([0.5, 0.12])


@pytest.mark.slow  # the tiny model's step is compiled for another rule
def test_full_fine_tuning_leaves_the_best_of_its_changes(tmp_path):
    wanted = job(recipe=of("full"))
    run(wanted, tmp_path / "run", tmp_path)
    found = load(tmp_path / "run", wanted.base.identity)
    assert "keep" in training_verdict(found) and (found.after["loss"] != found.before["loss"]).all()
    for adapter in found.adapters.values():
        assert 0.1 < adapter.about[KEPT] < 1
        for path, delta in low_rank_only(adapter.deltas).items():
            matrix = adaptable_matrices(tiny.CONFIG)[path]
            assert delta.rank == min(2, matrix.n, matrix.m) and jnp.any(delta.A != 0)
