"""Adapters of their own programs, run by threads, against one program of all."""

import jax
import numpy as np
import pytest

from experiments.training.sharding import Placement, make_mesh
from experiments.training.side_by_side import SideBySide
from tests.experiments.training import tiny
from tests.experiments.training.short_run import make_batch, one_matrix
from tests.experiments.training.test_step import assert_close

K = 3


@pytest.fixture
def placement():
    return Placement(make_mesh(devices=jax.devices()[:1]))


def test_it_is_the_step_of_all(placement, quick_jit):
    step, state, frozen = tiny.setup(K)
    together = quick_jit(step)
    apart = placement.compile(step, state, compiler_options=tiny.QUICK)
    assert isinstance(apart, SideBySide)
    expected = found = state
    for seed in range(2):
        batch = tiny.draw_batch(seed, K, 2, 2)
        expected, metrics = together(expected, frozen, batch)
        found, seen = apart(found, frozen, batch)
        assert jax.tree.structure(seen) == jax.tree.structure(metrics)
        assert_close(seen, metrics, 1e-4)
        assert_close(found.optimizer, expected.optimizer, 1e-5)
        assert int(found.step) == seed + 1
    assert [leaf.shape for leaf in jax.tree.leaves(found)] == [leaf.shape for leaf in jax.tree.leaves(state)]


def test_an_adapter_without_a_finite_loss_does_not_hold_up_the_others():
    step, state, frozen = one_matrix()
    apart = SideBySide(jax.jit(step), 2)
    batch = make_batch(0)
    images = np.array(batch.images)
    images[1] = np.nan
    found, metrics = apart(state, frozen, type(batch)(**{**vars(batch), "images": images}))
    assert metrics["skipped"].tolist() == [0, 1] == found.skipped.tolist()

    def factor(state):
        return np.asarray(state.params["weight"].A)

    assert (factor(found)[0] != factor(state)[0]).any() and (factor(found)[1] == factor(state)[1]).all()


def test_it_is_compiled_once_for_each_shape_of_batches():
    step, state, frozen = one_matrix()
    traced = []

    def counted(*arguments):
        traced.append(1)
        return step(*arguments)

    apart = SideBySide(jax.jit(counted), 2)
    for _ in range(3):
        state, _ = apart(state, frozen, make_batch(0))
    assert len(traced) == 1
    apart(state, frozen, tiny.draw_batch(0, 2, 1, 1))
    assert len(traced) == 2


def test_one_adapter_is_one_program(placement):
    step, state, _ = tiny.setup(1)
    assert not isinstance(placement.compile(step, state), SideBySide)
