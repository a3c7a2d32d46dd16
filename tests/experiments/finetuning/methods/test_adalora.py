"""AdaLoRA's loss and its pruning; its updates and importance are compared with PEFT's in tests/vggt_jax/adapters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.finetuning.methods.adalora import allocating, with_penalty
from experiments.training.loss_function import LossFunction
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from vggt_jax.adapters import RankAllocation, Triplets, orthogonality


def test_the_penalty_is_half_of_the_distance():
    params = {"x": Triplets(jnp.ones((4, 2)), jnp.ones(2), jnp.ones((3, 2)))}
    plain = LossFunction(lambda *_: None, lambda *_: (jnp.float32(2.0), {"loss_depth": jnp.float32(1.0)}))
    unseen: Any = None
    value, terms = with_penalty(plain).judge(unseen, unseen, params)
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
