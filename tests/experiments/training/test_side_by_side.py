"""Adapters of their own programs, run by threads; that a VGGT's are those of one program is in ``test_step``."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from experiments.training.sharding import Placement, make_mesh
from experiments.training.side_by_side import SideBySide, settled
from tests.experiments.training import tiny
from tests.experiments.training.short_run import make_batch, one_matrix


@pytest.fixture
def placement():
    return Placement(make_mesh(devices=jax.devices()[:1]))


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


def test_together_apart_and_alone_they_are_the_same():
    step, first, frozen = one_matrix()
    at_once, together = jax.jit(step), first
    side_by_side, apart = SideBySide(at_once, 2), first
    alone = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1] if leaf.ndim else leaf, first) for i in range(2)]
    for number in range(4):
        batch = make_batch(number)
        together, metrics = at_once(together, frozen, batch)
        apart, same = side_by_side(apart, frozen, batch)
        assert jax.tree.structure((apart, same)) == jax.tree.structure((together, metrics))
        for i in range(2):
            alone[i], own = at_once(alone[i], frozen, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch))
            for name, value in own.items():
                np.testing.assert_allclose(metrics[name][i], value[0], rtol=1e-5)
                np.testing.assert_allclose(same[name][i], value[0], rtol=1e-6)
    for i, (one, other) in enumerate(zip(alone, alone[::-1], strict=True)):
        assert int(one.step) == int(together.step) == int(apart.step) == 4
        for mine, theirs, at, by in zip(
            *map(jax.tree.leaves, (one.params, other.params, together.params, apart.params)), strict=True
        ):
            np.testing.assert_allclose(at[i], mine[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(by[i], mine[0], rtol=1e-6, atol=1e-7)
            assert np.abs(mine - theirs).max() > 1e-3  # they are not all the same anyway


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


def test_one_adapter_is_one_program_and_several_are_not(placement):
    step, state, _ = one_matrix()
    assert isinstance(placement.compile(step, state), SideBySide)
    alone = jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, state)
    assert not isinstance(placement.compile(step, alone), SideBySide)


def test_steps_ahead_end_as_those_that_are_waited_for():
    step, first, frozen = one_matrix()
    apart = SideBySide(jax.jit(step), 2)
    waited, ahead, logged = first, first, []
    for number in range(5):
        waited, expected = apart(waited, frozen, make_batch(number))
        ahead, metrics = apart.ahead(ahead, frozen, make_batch(number))
        logged.append((metrics, expected))
    for metrics, expected in logged:
        jax.tree.map(np.testing.assert_array_equal, settled(metrics), expected)
    jax.tree.map(np.testing.assert_array_equal, settled(ahead), waited)
    assert settled(waited) is waited


def test_what_an_adapter_raises_arrives_and_what_waits_can_be_let_go():
    step, state, frozen = one_matrix()
    release, begun = threading.Event(), threading.Event()

    def held(*arguments):
        begun.set()
        assert release.wait(60)
        raise RuntimeError("the first adapter's")

    apart = SideBySide(jax.jit(step), 2)
    apart.prepare(state, frozen, make_batch(0))
    apart._compiled = dict.fromkeys(apart._compiled, held)
    apart._threads = ThreadPoolExecutor(1)
    first, _ = apart.ahead(state, frozen, make_batch(0))
    second, _ = apart.ahead(first, frozen, make_batch(1))
    assert begun.wait(60)
    apart.cancel()
    release.set()
    with pytest.raises(RuntimeError, match="the first adapter's"):
        first.futures[0].result(60)
    assert all(future.cancelled() for future in (*first.futures[1:], *second.futures))
