"""What each method trains: from the base model's own loss, exactly as many numbers as it says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.finetuning.full import joined, split
from experiments.finetuning.methods import allocating, make_trainable, with_penalty
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from tests.experiments.finetuning import small
from vggt_jax import VGGTConfig
from vggt_jax.adapters import RankAllocation, Triplets, orthogonality
from vggt_jax.deltas import dotted
from vggt_jax.parameters import abstract_model, by_part, trainable_parameters


@pytest.fixture(scope="module")
def base():
    return small.base()


@pytest.fixture(scope="module")
def subspaces(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subspaces")
    return [
        str(small.subspace_folder(folder / name, name, i, base=base)) for i, name in enumerate(("texture", "camera"))
    ]


@pytest.fixture(scope="module")
def trainable(base, subspaces, tmp_path_factory):
    """``trainable(method, **flags)`` on all matrices."""

    def make(method, **flags):
        needed = {"psv": {"dim": 4}, "subspace": {"subspaces": subspaces}}.get(method, {})
        choice = small.choice(method, tmp_path_factory.getbasetemp(), matrices=["*"], **needed, **flags)
        return make_trainable(choice, base)

    return make


@pytest.mark.parametrize("method", ["full", "lora", "pissa", "adalora", "psv", "subspace"])
def test_counts_are_those_of_the_tables(method, trainable):
    """D = 4 of two attributes with two directions each, rank 2; the rank of the heads' plain LoRA is the same."""
    found = trainable(method)
    rank = 4 if method in ("psv", "subspace") else 2
    expected = trainable_parameters(small.tiny.CONFIG, method, rank, plain_rank=2)
    assert found.count.parts == {part: count for part, count in expected.parts.items() if count}
    numbers = sum(leaf.size for leaf in jax.tree.leaves(found.params))
    assert numbers == found.count.total


def test_which_matrices_get_an_m_and_which_a_plain_lora_is_a_setting(base, subspaces, tmp_path):
    blocks = ("aggregator.frame_blocks", "aggregator.global_blocks")
    choice = small.choice("subspace", tmp_path, subspaces=subspaces, matrices=["aggregator.*"], plain=["camera_head.*"])
    expected = trainable_parameters(
        small.tiny.CONFIG, "subspace", 4, parts=blocks, plain_parts=["camera_head"], plain_rank=2
    )
    assert make_trainable(choice, base).count == expected
    nothing = replace(choice, plain=())
    assert make_trainable(nothing, base).count.parts.keys() == set(blocks)
    with pytest.raises(ValueError, match=r"no adaptable matrix matches point_head\.\*; names are like aggregator\."):
        make_trainable(replace(choice, plain=("point_head.*",)), base)


def test_full_fine_tuning_trains_the_papers_parameters():
    _, params = nnx.split(abstract_model(VGGTConfig.vggt_1b()))
    trained, frozen = split(params, ["*"])
    sizes = {dotted(keys): int(np.prod(leaf.shape)) for keys, leaf in nnx.to_flat_state(trained)}
    assert by_part(sizes).total == sum(sizes.values()) == 853_558_516
    names = {dotted(keys) for keys, _ in nnx.to_flat_state(frozen)}
    assert all(name.startswith(("aggregator.patch_embed.", "point_head.", "track_head.")) for name in names - {
        "aggregator.camera_token", "aggregator.register_token"
    })  # fmt: skip


def test_split_parameters_join_again(base):
    trained, frozen = split(base.parameters, ["camera_head.*", "aggregator.*.kernel"])
    names = {dotted(keys) for keys, _ in nnx.to_flat_state(trained)}
    assert "aggregator.frame_blocks.mlp.fc1.kernel" in names and not any("patch_embed" in name for name in names)
    whole = joined(trained, frozen)
    assert jax.tree.structure(whole) == jax.tree.structure(base.parameters)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(base.parameters), strict=True):
        assert one is other
    with pytest.raises(
        ValueError, match=r"no parameter to fine-tune matches aggregator\.patch_embed\.\*; names are like aggregator\."
    ):
        split(base.parameters, ["camera_head.*", "aggregator.patch_embed.*"])


def test_the_penalty_is_half_of_the_distance():
    params = {"x": Triplets(jnp.ones((4, 2)), jnp.ones(2), jnp.ones((3, 2)))}
    value, terms = with_penalty(lambda *_: (jnp.float32(2.0), {"loss_depth": jnp.float32(1.0)}))(params, None, None)
    distance = np.mean([np.linalg.norm(n * np.ones((2, 2)) - np.eye(2)) for n in (4, 3)])
    np.testing.assert_allclose(value, 2 + 0.5 * distance, rtol=1e-6)
    assert terms.keys() == {"loss_depth", "loss_orthogonality"}
    np.testing.assert_allclose(terms["loss_orthogonality"], orthogonality(params), rtol=1e-6)


def test_pruned_triplets_stay_out_and_all_other_numbers_move_as_without_pruning():
    """A regression towards a matrix of rank one, in which one of three triplets may stay."""
    rng = np.random.default_rng(0)
    target = jnp.asarray(np.outer(rng.normal(size=5), rng.normal(size=4)), jnp.float32)
    params = {"x": Triplets(*(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((5, 3), (3,), (4, 3))))}
    settings = OptimizerSettings(steps=20, peak_rate=0.05, clip=1e9)
    plain = make_optimizer(settings)
    allocation = RankAllocation(20, initial_rank=3, target_rank=1, warmup=2, final=10)
    pruning = allocating(plain, allocation, settings.clip)

    def loss(params):
        own = params["x"]
        return jnp.sum((own.P * own.Lambda @ own.Q.T - target) ** 2)

    @jax.jit
    def step(params, state, moments):
        gradients = jax.grad(loss)(params)
        updates, state = pruning.update(gradients, state, params)
        alone, moments = plain.update(gradients, moments, params)
        return jax.tree.map(jnp.add, params, updates), jax.tree.map(jnp.add, params, alone), state, moments

    state, moments, left = pruning.init(params), plain.init(params), []
    for _ in range(20):
        params, expected, state, moments = step(params, state, moments)
        kept = np.asarray(params["x"].Lambda) != 0
        left.append(kept.sum())
        np.testing.assert_allclose(params["x"].P, expected["x"].P, rtol=1e-5)
        np.testing.assert_allclose(params["x"].Lambda, np.where(kept, expected["x"].Lambda, 0), rtol=1e-5)
    assert left[:2] == [3, 3] and left[9:] == [1] * 11 and left == sorted(left, reverse=True)
