from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.storage.identity import identity
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from subspace import LowRank
from tests.experiments.training.rates import learning_rate


def rate_by_hand(step, steps, peak, end, warmup):
    first = round(warmup * steps)
    if step < first:
        return end + (peak - end) * step / first
    return end + (peak - end) * (1 + np.cos(np.pi * (step - first) / (steps - first))) / 2


@pytest.mark.parametrize("steps", [24_000, 100, 10, 1])
def test_learning_rate(steps):
    rate = learning_rate(OptimizerSettings(steps))
    chosen = sorted(
        {0, 1, steps // 20 - 1, steps // 20, steps // 20 + 1, steps // 2, steps - 1, steps} & set(range(steps + 1))
    )
    for step in chosen:
        expected = rate_by_hand(step, steps, 1e-5, 1e-8, 0.05)
        assert float(rate(step)) == pytest.approx(expected, rel=2e-4, abs=1e-12), step


def test_the_papers_rates():
    rate = learning_rate(OptimizerSettings(24_000))
    assert float(rate(0)) == pytest.approx(1e-8, rel=1e-5)
    assert float(rate(1_200)) == pytest.approx(1e-5, rel=1e-5)
    assert float(rate(24_000)) == pytest.approx(1e-8, rel=1e-3)


def test_the_mean_gradient_is_one_step_at_the_end():
    optimizer = make_optimizer(OptimizerSettings(3, peak_rate=0.5, rule="mean_gradient"))
    gradients = np.random.default_rng(0).normal(size=(3, 7)) * 100  # no clipping
    params = jnp.ones(7)
    state = optimizer.init(params)
    for gradient in gradients:
        np.testing.assert_array_equal(params, np.ones(7))
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, 1 - 0.5 * gradients.mean(axis=0), rtol=1e-5)


def test_clipped_adamw_by_hand():
    settings = OptimizerSettings(10, peak_rate=1e-2, end_rate=1e-3, warmup=0.3, clip=0.5, weight_decay=0.1)
    optimizer = make_optimizer(settings)
    rng = np.random.default_rng(0)
    x = rng.normal(size=7)
    params, state = jnp.asarray(x), optimizer.init(jnp.asarray(x))
    first = second = np.zeros(7)
    update = jax.jit(optimizer.update)
    for step in range(8):
        gradient = rng.normal(size=7) * (0.01 if step % 2 else 3)  # within and beyond the clip
        updates, state = update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)

        gradient = gradient * min(1, 0.5 / np.linalg.norm(gradient))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9 ** (step + 1)) / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        x = x - rate_by_hand(step, 10, 1e-2, 1e-3, 0.3) * (direction + 0.1 * x)
        np.testing.assert_allclose(params, x, rtol=2e-5)


def test_one_compiled_step_serves_all_peak_rates():
    def text(peak_rate):
        optimizer = make_optimizer(OptimizerSettings(10, peak_rate=peak_rate))
        x = jnp.ones(3)
        return jax.jit(optimizer.update).lower(x, optimizer.init(x), x).as_text()

    assert text(1e-3) == text(3e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 5, "peak_rate": 1e-9}, "peak_rate must be at least the rate at the end, 1e-08, got 1e-09"),
        ({"steps": 5, "end_rate": 0.0}, "end_rate must be positive, got 0"),
        ({"steps": 5, "warmup": 1.0}, "warmup"),
        ({"steps": 10, "warmup": 0.99}, "warmup=0.99 leaves none of 10 steps after it"),
        ({"steps": 5, "clip": 0.0}, "clip"),
    ],
)
def test_contradictions_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**wrong)


@pytest.mark.parametrize("name", [field.name for field in fields(OptimizerSettings)])
def test_every_setting_is_part_of_the_identity(name):
    chosen = OptimizerSettings(10, peak_rate=1e-3, input_rate=2.0, rule="mean_gradient")
    assert identity(chosen)[name] == getattr(chosen, name)


def test_input_factors_can_have_a_rate_of_their_own():
    params = {"x": LowRank(jnp.ones((3, 2)), jnp.ones((4, 2)))}
    gradients = {"x": LowRank(jnp.full((3, 2), 0.1), jnp.full((4, 2), -0.1))}
    changes: list[Any] = []
    for rate in (1.0, 16.0):
        optimizer: Any = make_optimizer(OptimizerSettings(10, 1e-2, 1e-3, input_rate=rate))
        changes.append(optimizer.update(gradients, optimizer.init(params), params)[0]["x"])
    plain, faster = changes
    np.testing.assert_allclose(faster.A, plain.A)
    np.testing.assert_allclose(faster.B, 16 * plain.B, rtol=1e-6)
    with pytest.raises(ValueError, match="input_rate must be positive, got 0"):
        OptimizerSettings(10, input_rate=0.0)
