"""k adapters of a VGGT at once are k adapters in turn; that those of one matrix are, quickly, is in ``test_side_by_side``."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.training.side_by_side import SideBySide
from tests.experiments.training import tiny

K = 3


@pytest.fixture(scope="module")
def together():
    """(compiled step of three adapters, their first state, what they share)"""
    step, state, frozen = tiny.setup(K)
    return jax.jit(step), state, frozen


@pytest.fixture(scope="module")
def batches():
    return [tiny.draw_batch(seed, K, 2, 2) for seed in range(3)]


@pytest.fixture(scope="module")
def trained(together, batches):
    """States and metrics after each of three steps."""
    step, state, frozen = together
    found = []
    for batch in batches:
        state, metrics = step(state, frozen, batch)
        found.append((state, metrics))
    return found


def of_adapter(tree, i):
    return jax.tree.map(lambda leaf: leaf[i : i + 1] if leaf.ndim else leaf, tree)


def assert_close(found, expected, tolerance):
    for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        scale = max(np.abs(other).max(), 1e-6)
        assert np.abs(np.asarray(one) - np.asarray(other)).max() <= tolerance * scale, jax.tree_util.keystr(path)


@pytest.fixture(scope="module")
def alone_step():
    """The step of one adapter, compiled once for both tests that take it."""
    return jax.jit(tiny.setup(1)[0])


@pytest.fixture(scope="module")
def with_tokens(together, batches):
    """The batches with the encoder's tokens."""
    _, _, frozen = together
    encode = jax.jit(lambda images: nnx.merge(tiny.draw_base()[0], frozen.base).aggregator.encode(images))
    return [
        replace(
            batch,
            patch_tokens=np.asarray(encode(batch.images.reshape(-1, *batch.images.shape[2:]))).reshape(K, 2, 2, 16, 8),
        )
        for batch in batches
    ]


@pytest.mark.slow
def test_together_equals_each_alone_on_cached_tokens(together, trained, with_tokens, alone_step):
    """Also: a batch with the encoder's tokens is the batch without them.

    Adam divides a gradient by its own size, so a number whose gradient is nothing but rounding moves as far as any other,
    either way. Its moments are sums of gradients and have no such freedom; those of the third step depend on the adapters
    that the first two made.
    """
    _, state, frozen = together
    for i in range(K):
        alone = of_adapter(state, i)
        for batch, (expected, metrics) in zip(with_tokens, trained, strict=True):
            alone, found = alone_step(alone, frozen, of_adapter(batch, i))
            assert_close(found, of_adapter(metrics, i), 1e-4)
            assert_close(alone.optimizer, of_adapter(expected.optimizer, i), 1e-5)
    first = of_adapter(state.params, 0)
    assert all(
        np.abs(a - b).max() > 1e-4
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(of_adapter(trained[-1][0].params, 0)), strict=True)
    )


@pytest.mark.slow
def test_side_by_side_they_are_the_same(together, trained, with_tokens, alone_step):
    _, state, frozen = together
    step = SideBySide(alone_step, K)
    for batch, (expected, metrics) in zip(with_tokens, trained, strict=True):
        state, found = step(state, frozen, batch)
        assert jax.tree.structure((state, found)) == jax.tree.structure((expected, metrics))
        assert_close(found, metrics, 1e-4)
        assert_close(state.optimizer, expected.optimizer, 1e-5)
        assert int(state.step) == int(expected.step)


def test_gradients_beyond_the_clip_are_seen_before_it(trained):
    assert (np.asarray(trained[0][1]["gradient_norm"]) > tiny.OPTIMIZER.clip).all()


def test_metrics_are_named_and_per_adapter(trained):
    for _, metrics in trained:
        assert {"loss", "loss_T", "loss_R", "loss_FL", "loss_reg_depth", "gradient_norm", "skipped"} <= set(metrics)
        assert all(value.shape == (K,) for value in metrics.values())
        terms = 5 * metrics["loss_camera"] + sum(metrics[f"loss_{x}_depth"] for x in ("conf", "reg", "grad"))
        np.testing.assert_allclose(metrics["loss"], terms, rtol=1e-5)


def test_adapter_without_a_finite_loss_waits_and_the_others_go_on(together, trained, batches):
    step, state, frozen = together
    broken = replace(batches[0], images=batches[0].images.copy())
    broken.images[1, 0, 0] = np.nan
    after, metrics = step(state, frozen, broken)
    assert metrics["skipped"].tolist() == [0, 1, 0]
    for name in ("params", "optimizer"):
        before, now, usual = (getattr(x, name) for x in (state, after, trained[0][0]))
        for i, expected in enumerate((usual, before, usual)):
            for a, b in zip(jax.tree.leaves(of_adapter(now, i)), jax.tree.leaves(of_adapter(expected, i)), strict=True):
                np.testing.assert_array_equal(a, b)
    again, metrics = step(after, frozen, broken)
    assert metrics["skipped_in_a_row"].tolist() == [0, 2, 0]
    assert again.skipped.tolist() == again.skipped_in_a_row.tolist() == [0, 2, 0]
    recovered, _ = step(again, frozen, batches[1])
    assert (recovered.skipped.tolist(), recovered.skipped_in_a_row.tolist()) == ([0, 2, 0], [0, 0, 0])
    assert recovered.step == 3


def test_training_lowers_the_loss(together, trained, batches):
    step, state, frozen = together
    losses = []
    for _ in range(15):
        state, metrics = step(state, frozen, batches[0])
        losses.append(np.asarray(metrics["loss"]))
    assert (losses[-1] < 0.8 * losses[0]).all()
